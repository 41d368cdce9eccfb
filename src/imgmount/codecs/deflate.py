"""Deflate (RFC 1951), bare or in a zlib (RFC 1950) or gzip (RFC 1952) wrapper, whole chunks of known size.

libdeflate does it where PyPI ``deflate`` is installed, about twice as fast as zlib.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, Literal

from imgmount.core.cache import Content
from imgmount.errors import FormatError

Wrapper = Literal["raw", "zlib", "gzip"]
_WBITS: Final[dict[Wrapper, int]] = {"raw": -15, "zlib": 15, "gzip": 31}

_Decode = Callable[[bytes, int], bytearray]
_LIBDEFLATE: dict[Wrapper, _Decode] = {}
adler32: Callable[[bytes], int] = zlib.adler32  # four times as fast in libdeflate
try:
    import deflate
except ImportError:
    pass
else:
    adler32 = deflate.adler32
    _LIBDEFLATE = {"raw": deflate.deflate_decompress, "zlib": deflate.zlib_decompress, "gzip": deflate.gzip_decompress}


def inflate(data: bytes, size: int, *, wrapper: Wrapper = "raw") -> Content:
    """The ``size`` bytes that one complete deflate stream holds; a wrapper's checksum is checked. Raises ``FormatError``."""
    if not _LIBDEFLATE or not size:  # for size 0 it decodes nothing and calls that right
        return _inflate_zlib(data, size, wrapper)
    try:
        chunk = _LIBDEFLATE[wrapper](data, size)
    except deflate.DeflateError as exc:
        raise FormatError("deflate", f"{len(data)} bytes do not decode to {size}") from exc
    return chunk if len(chunk) == size else _exactly(chunk, size)


def _inflate_zlib(data: bytes, size: int, wrapper: Wrapper) -> Content:
    stream = zlib.decompressobj(_WBITS[wrapper])
    try:
        chunk = stream.decompress(data, size + 1)  # a limit of 0 would be none, and the end of the stream follows the last byte
    except zlib.error as exc:
        raise FormatError("deflate", str(exc)) from exc
    if not stream.eof and len(chunk) <= size:
        raise FormatError("deflate", f"the data ends after {len(chunk)} of {size} bytes")
    return _exactly(chunk, size)


def _exactly(chunk: Content, size: int) -> Content:
    if len(chunk) != size:
        raise FormatError("deflate", f"{len(chunk)} bytes or more, {size} expected")
    return chunk
