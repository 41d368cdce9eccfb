"""LZMS, the codec of ESD files: decoded by libwim, and by nothing else that is free to use.

Chunks of 32 KiB to 64 MiB.
"""

from __future__ import annotations

from typing import Final

from imgmount.codecs import libwim
from imgmount.core.cache import Content
from imgmount.errors import FormatError, UnsupportedError

MAX_SIZE: Final = 1 << 26


def check() -> None:
    """Raise ``UnsupportedError`` where the library is not installed."""
    if libwim.library() is None:
        raise UnsupportedError(
            "lzms: libwim, which decodes it, is not installed: 'apt install libwim15' brings it"
        )


def decompress(data: bytes, size: int, largest: int) -> Content:
    """The ``size`` bytes of one chunk, of those of ``largest`` bytes at most.

    Raises ``FormatError``, ``UnsupportedError``.
    """
    check()
    if not 0 <= size <= largest <= MAX_SIZE:
        raise FormatError("lzms", f"a chunk of {size} bytes of {largest}, at most {MAX_SIZE} are possible")
    return libwim.decompress(libwim.Kind.LZMS, data, size, largest)
