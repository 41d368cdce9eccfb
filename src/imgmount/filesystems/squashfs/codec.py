"""The compressors of SquashFS, by their number in the superblock.

A block of data says how long it is once decoded; a block of metadata or of fragments only how long it may be.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from imgmount.codecs import deflate, lz4, lzo, zstd
from imgmount.codecs import lzma as lzma_codec
from imgmount.core.cache import Content
from imgmount.errors import FormatError, UnsupportedError

MEMORY_LIMIT: Final = 64 << 20  # of a decoder: blocks are 1 MiB at most, and so are useful dictionaries

Decode = Callable[[bytes, int], Content]


class Codec(NamedTuple):
    """``exactly`` decodes to so many bytes, ``upto`` to no more than so many. Both raise ``FormatError``."""

    name: str
    exactly: Decode
    upto: Decode


def _stream(name: str, decoder: Any, error: type[Exception], data: bytes, limit: int) -> bytes:
    try:
        chunk: bytes = decoder.decompress(data, limit + 1)
    except (error, EOFError, ValueError) as exc:
        raise FormatError(name, str(exc)) from exc
    if len(chunk) > limit or not decoder.eof:
        raise FormatError(name, f"more than {limit} bytes, or cut short")
    return chunk


def _exact(upto: Decode) -> Decode:
    def exactly(data: bytes, size: int) -> Content:
        chunk = upto(data, size)
        if len(chunk) != size:
            raise FormatError("squashfs", f"a block of {len(chunk)} bytes, {size} expected")
        return chunk

    return exactly


def _gzip(data: bytes, limit: int) -> bytes:
    return _stream("deflate", zlib.decompressobj(), zlib.error, data, limit)


def _lzma(data: bytes, limit: int) -> bytes:
    """LZMA_ALONE with a size in its header, so that no end mark is needed."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY_LIMIT)
    return _stream("lzma", decoder, lzma.LZMAError, data, limit)


def _xz(data: bytes, limit: int) -> bytes:
    return _stream("xz", lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT), lzma.LZMAError, data, limit)


def _zstd(data: bytes, limit: int) -> bytes:
    library = zstd.library()
    return _stream("zstd", library.ZstdDecompressor(), library.ZstdError, data, limit)


def _deflate(data: bytes, size: int) -> Content:
    return deflate.inflate(data, size, wrapper="zlib")


_CODECS: Final = {
    1: Codec("gzip", _deflate, _gzip),
    2: Codec("lzma", _exact(_lzma), _lzma),
    3: Codec("lzo", lzo.decode, lzo.decode_upto),
    4: Codec("xz", lzma_codec.decode_xz, _xz),
    5: Codec("lz4", lz4.decode, lz4.decode_upto),
    6: Codec("zstd", zstd.decode, _zstd),
}


def codec(number: int) -> Codec:
    """Compressor ``number``. Raises ``UnsupportedError``."""
    if number not in _CODECS:
        raise UnsupportedError(f"squashfs: compressor {number}")
    found = _CODECS[number]
    if found.name == "zstd":
        zstd.library()  # an image that no file of can be read had better not open
    return found
