"""The compressors of SquashFS, by their number in the superblock.

A block of data says how long it is once decoded; a block of metadata or of fragments only how long it may be.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from typing import Final, NamedTuple

from imgmount.codecs import deflate, lz4, lzo, zstd
from imgmount.codecs import lzma as lzma_codec
from imgmount.core.cache import Content
from imgmount.errors import FormatError, UnsupportedError

LZMA_FIRST: Final = b"\x5d"  # properties lc 3, lp 0, pb 2
BARE_FIRST: Final = b"\0"  # of the range coder
MEMORY_LIMIT: Final = 64 << 20  # of a decoder: blocks are 1 MiB at most, and so are useful dictionaries

Decode = Callable[[bytes, int], Content]


class Codec(NamedTuple):
    """``exactly`` decodes to so many bytes, ``upto`` to no more than so many. Both raise ``FormatError``."""

    name: str
    exactly: Decode
    upto: Decode


def _stream(
    name: str, decoder: lzma.LZMADecompressor, data: bytes, limit: int, *, full: bool = False
) -> bytes:
    """What the decoder makes of ``data``, to its end; with ``full``, ``limit`` bytes are an end as well."""
    try:
        chunk = decoder.decompress(data, limit + 1)
    except (lzma.LZMAError, EOFError, ValueError) as exc:
        raise FormatError(name, str(exc)) from exc
    if full and len(chunk) >= limit:
        return chunk[:limit]
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


def _lzma(data: bytes, limit: int) -> bytes:
    """LZMA_ALONE with a size in its header, so that no end mark is needed."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY_LIMIT)
    return _stream("lzma", decoder, data, limit)


def _xz(data: bytes, limit: int) -> bytes:
    return _stream("xz", lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT), data, limit)


def _deflate(data: bytes, size: int) -> Content:
    return deflate.inflate(data, size, wrapper="zlib")


def _gzip(data: bytes, limit: int) -> Content:
    return deflate.inflate_upto(data, limit, wrapper="zlib")


def old_codec(block_size: int) -> Codec:
    """Before version 4 nothing names the compressor, but its first byte does: zlib, LZMA with a header, LZMA without."""
    bare = {"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": max(4096, block_size)}

    def exactly(data: bytes, size: int) -> Content:
        if data[:1] == LZMA_FIRST:
            return _exact(_lzma)(data, size)
        return lzma_codec.decode_raw(data, size, bare) if data[:1] == BARE_FIRST else _deflate(data, size)

    def upto(data: bytes, limit: int) -> Content:
        if data[:1] == LZMA_FIRST:
            return _lzma(data, limit)
        if data[:1] == BARE_FIRST:
            return _stream(
                "lzma", lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[bare]), data, limit, full=True
            )
        return _gzip(data, limit)

    return Codec("gzip", exactly, upto)


_CODECS: Final = {
    1: Codec("gzip", _deflate, _gzip),
    2: Codec("lzma", _exact(_lzma), _lzma),
    3: Codec("lzo", lzo.decode, lzo.decode_upto),
    4: Codec("xz", lzma_codec.decode_xz, _xz),
    5: Codec("lz4", lz4.decode, lz4.decode_upto),
    6: Codec("zstd", zstd.decode, zstd.decode_upto),
}


def codec(number: int) -> Codec:
    """Compressor ``number``. Raises ``UnsupportedError``."""
    if number not in _CODECS:
        raise UnsupportedError(f"squashfs: compressor {number}")
    found = _CODECS[number]
    if found.name == "zstd":
        zstd.library()  # an image that no file of can be read had better not open
    return found
