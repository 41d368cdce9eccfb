"""The compressors of SquashFS, by their number in the superblock.

A block of data says how long it is once decoded; a block of metadata or of fragments only how long it may be.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from imgmount.codecs import deflate, lz4, lzo, zstd
from imgmount.codecs import lzma as lzma_codec
from imgmount.codecs.lzma import Filter
from imgmount.codecs.pieces import DecodeAll
from imgmount.core.cache import Content
from imgmount.errors import FormatError, UnsupportedError

LZMA_FIRST: Final = b"\x5d"  # properties lc 3, lp 0, pb 2
_PROPERTIES: Final = 5  # bytes before LZMA data: lc, lp and pb, and the size of the dictionary
_ALONE: Final = 13  # and the size of what is decoded
_UNKNOWN: Final = (1 << 64) - 1  # of that size
BARE_FIRST: Final = b"\0"  # of the range coder
MEMORY_LIMIT: Final = 64 << 20  # of a decoder: blocks are 1 MiB at most, and so are useful dictionaries

Decode = Callable[[bytes, int], Content]


class Codec(NamedTuple):
    """``exactly`` decodes to so many bytes, ``upto`` to no more than so many. Both raise ``FormatError``.

    ``run`` decodes many blocks at once, where that is quicker; what it refuses, ``exactly`` may know.
    """

    name: str
    exactly: Decode
    upto: Decode
    run: DecodeAll | None = None


def _stream(
    name: str, decoder: lzma.LZMADecompressor, data: bytes, limit: int, *, full: bool = False
) -> bytes:
    """What the decoder makes of ``data``, to its end; with ``full``, ``limit`` bytes are an end as well."""
    try:
        chunk = decoder.decompress(data, limit + 1)
    except (lzma.LZMAError, EOFError, ValueError) as exc:
        raise FormatError(name, "the data is damaged") from exc
    if full and len(chunk) >= limit:
        return chunk[:limit]
    if len(chunk) > limit or not decoder.eof:
        raise FormatError(name, f"a block decodes to more than {limit} bytes, or is cut short")
    return chunk


def _exact(upto: Decode) -> Decode:
    def exactly(data: bytes, size: int) -> Content:
        chunk = upto(data, size)
        if len(chunk) != size:
            raise FormatError("squashfs", f"a block decodes to {len(chunk)} bytes, not {size}")
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


def _is_zlib(data: bytes) -> bool:
    """Whether ``data`` begins as RFC 1950 says: method 8, a window it allows, a check that fits."""
    return data[0] & 0x8F == 8 and not int.from_bytes(data[:2], "big") % 31 if len(data) > 1 else False


def _is_alone(data: bytes, limit: int) -> bool:
    """Whether LZMA data has the header of 13 bytes, with a size that is known and small, or none."""
    size = int.from_bytes(data[_PROPERTIES:_ALONE], "little")
    return len(data) > _ALONE and data[_ALONE] == 0 and (size <= limit or size == _UNKNOWN)


def guessing_codec(block_size: int) -> Codec:
    """What nothing names: zlib, LZMA with a header of 13 bytes, with 5 bytes of properties, or without any.

    Such are all images before version 4, and those of device makers that write LZMA where zlib is declared.
    """
    bare = {"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": max(4096, block_size)}

    def raw_filter(data: bytes) -> tuple[Filter, bytes]:
        if data[:1] == BARE_FIRST:
            return bare, data
        return lzma_codec.lzma1_filter(data[:_PROPERTIES]), data[_PROPERTIES:]

    def exactly(data: bytes, size: int) -> Content:
        if _is_zlib(data):
            return _deflate(data, size)
        if _is_alone(data, size):
            return _exact(_lzma)(data, size)
        chosen, rest = raw_filter(data)
        return lzma_codec.decode_raw(rest, size, chosen)

    def upto(data: bytes, limit: int) -> Content:
        if _is_zlib(data):
            return _gzip(data, limit)
        if _is_alone(data, limit):
            return _lzma(data, limit)
        chosen, rest = raw_filter(data)
        window = {**chosen, "dict_size": min(chosen["dict_size"], max(4096, block_size, limit))}
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[window])
        return _stream("lzma", decoder, rest, limit, full=True)

    return Codec("gzip", exactly, upto, partial(deflate.inflate_all, wrapper="zlib"))


_CODECS: Final = {
    1: Codec("gzip", _deflate, _gzip),
    2: Codec("lzma", _exact(_lzma), _lzma),
    3: Codec("lzo", lzo.decode, lzo.decode_upto),
    4: Codec("xz", lzma_codec.decode_xz, _xz),
    5: Codec("lz4", lz4.decode, lz4.decode_upto),
    6: Codec("zstd", zstd.decode, zstd.decode_upto, zstd.decode_all),
}


_OFTEN_WRONG: Final = (1, 2)  # device makers write LZMA with their own headers


def codec(number: int, block_size: int) -> Codec:
    """Compressor ``number``. Raises ``UnsupportedError``."""
    if number not in _CODECS:
        raise UnsupportedError(f"squashfs: compressor {number} is not from 1 to {max(_CODECS)}")
    if number in _OFTEN_WRONG:
        return guessing_codec(block_size)._replace(name=_CODECS[number].name)
    found = _CODECS[number]
    if found.name == "zstd":
        zstd.library()  # an image that no file of can be read had better not open
    return found
