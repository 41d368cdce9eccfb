"""LZFSE, and LZVN, which is one of its block types, of known size: by PyPI ``lzfse``, Apple's reference code.

A stream is a row of blocks ``bvx-`` (stored), ``bvx1``, ``bvx2`` (LZFSE), ``bvxn`` (LZVN), then ``bvx$``. The
reference decoder does not look at the sizes that blocks state, and the module's own function grows its output
for as long as the data say: 100 MB out of 60 KB. So the decoder inside the module is called with a buffer of
the right size, wherever it can be reached.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_char_p, c_size_t, c_void_p
from functools import cache
from struct import Struct
from typing import Any, Final

from imgmount.core.cache import Content
from imgmount.errors import FormatError, UnsupportedError

NAME: Final = "lzfse"
END: Final = b"bvx$"
_LZVN: Final = Struct("<4sII")  # magic, bytes decoded, bytes coded
_SIZES: Final = Struct("<4sI")  # magic, bytes decoded
MAX_BLOCKS: Final = 1 << 16


def decode(data: bytes, size: int) -> Content:
    """The ``size`` bytes of an LZFSE stream. Raises ``FormatError``; ``UnsupportedError``: no decoder."""
    module, function = _decoder()
    chunk = _bounded(function, data, size) if function is not None else _unbounded(module, data, size)
    if len(chunk) != size:
        more = "more than " if len(chunk) > size else ""
        raise FormatError(NAME, f"{more}{min(len(chunk), size)} bytes, {size} expected")
    return chunk


def decode_lzvn(data: bytes, size: int) -> Content:
    """The ``size`` bytes of bare LZVN. Raises ``FormatError``; ``UnsupportedError``: no decoder."""
    return decode(_LZVN.pack(b"bvxn", size, len(data)) + data + END, size)


@cache
def _decoder() -> tuple[Any, Any]:
    """(module, the decoder inside it or None). Raises ``UnsupportedError``."""
    try:
        import lzfse
    except ImportError as exc:
        raise UnsupportedError("lzfse: no decoder here: pip install imgmount[apple]") from exc
    try:
        function = ctypes.CDLL(lzfse.__file__).lzfse_decode_buffer
    except (OSError, AttributeError):  # a build that hides it
        return lzfse, None
    function.argtypes = [c_void_p, c_size_t, c_char_p, c_size_t, c_void_p]
    function.restype = c_size_t
    return lzfse, function


def _bounded(function: Any, data: bytes, size: int) -> bytearray:
    """What the data hold, ``size + 1`` bytes at most; nothing where they are damaged."""
    out = bytearray(size + 1)
    place = (c_char * len(out)).from_buffer(out)
    length = function(place, len(out), data, len(data), None)
    del place  # which forbids to shorten the buffer
    del out[length:]
    return out


def _unbounded(module: Any, data: bytes, size: int) -> bytes:
    told = stated_size(data)
    if told != size:
        raise FormatError(NAME, f"blocks of {told} bytes, {size} expected")
    try:
        chunk: bytes = module.decompress(data)
    except (module.error, MemoryError) as exc:
        raise FormatError(NAME, "damaged data") from exc
    return chunk


def stated_size(data: bytes) -> int:
    """How many bytes the blocks of a stream say that they hold. Raises ``FormatError``."""
    at = total = 0
    for _ in range(MAX_BLOCKS):
        if data[at : at + 4] == END:
            return total
        raw = data[at : at + 32].ljust(32, b"\0")
        magic, size = _SIZES.unpack_from(raw)
        total += size
        at += _block_size(magic, size, raw)
    raise FormatError(NAME, "a stream without an end")


def _block_size(magic: bytes, size: int, raw: bytes) -> int:
    """Bytes of a coded block. lzfse_internal.h, the headers of blocks."""
    if magic == b"bvx-":
        return 8 + size
    if magic == b"bvxn":
        return _LZVN.size + int.from_bytes(raw[8:12], "little")
    if magic == b"bvx1":
        return 772 + int.from_bytes(raw[20:24], "little") + int.from_bytes(raw[24:28], "little")
    if magic == b"bvx2":
        first, second, third = (int.from_bytes(raw[at : at + 8], "little") for at in (8, 16, 24))
        return (third & 0xFFFF_FFFF) + (first >> 20 & 0xFFFFF) + (second >> 40 & 0xFFFFF)
    raise FormatError(NAME, f"a block called {magic!r}")
