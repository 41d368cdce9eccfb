"""The compressions of WIA and RVZ.

All are asked for "at most so many bytes": a group's exception lists have no stated size.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from hashlib import sha1
from struct import Struct
from typing import Any, Final

from imgmount.codecs import zstd
from imgmount.codecs.lzma import lzma1_filter, lzma2_filter
from imgmount.core.cache import Content
from imgmount.errors import ChecksumError, FormatError
from imgmount.families.nintendo import junk

SEGMENT: Final = Struct(">II")  # offset, size
DIGEST_SIZE: Final = 20
JUNK: Final = 0x8000_0000  # flag of a size in a pack stream: a seed follows, not data
_MIN_DICTIONARY: Final = 4096

# (stored, most bytes that may come out)
Decoder = Callable[[bytes, int], Content]


def decoder(fmt: str, compression: str, extra: bytes) -> Decoder:
    """The decoder of a compression that works on streams; ``extra`` is LZMA's properties.

    Raises ``FormatError``.
    """
    if compression == "none":
        return lambda data, limit: data[:limit]
    if compression == "bzip2":
        return lambda data, limit: _decode(
            fmt, bz2.BZ2Decompressor(), (OSError, ValueError, EOFError), data, limit
        )
    if compression == "zstd":
        return zstd.decode_upto
    lzma_filter(fmt, compression, extra, _MIN_DICTIONARY)  # that they are valid

    def decode(data: bytes, limit: int) -> bytes:
        filters = [lzma_filter(fmt, compression, extra, limit)]
        return _decode(
            fmt,
            lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters),
            (lzma.LZMAError, EOFError),
            data,
            limit,
        )

    return decode


def lzma_filter(fmt: str, compression: str, extra: bytes, most: int) -> dict[str, Any]:
    """LZMA's properties for ``most`` bytes: a dictionary beyond them would only be allocated.

    Raises ``FormatError``.
    """
    if not extra:
        raise FormatError(fmt, f"{compression} without properties", offset=0x48 + 0xD4)
    found = lzma1_filter(extra) if compression == "lzma" else lzma2_filter(extra[0])
    return {**found, "dict_size": min(found["dict_size"], max(most, _MIN_DICTIONARY))}


def _decode(fmt: str, stream: Any, errors: tuple[type[Exception], ...], data: bytes, limit: int) -> bytes:
    try:
        decoded: bytes = stream.decompress(data, limit)
    except errors as exc:
        raise FormatError(fmt, "the compressed data is damaged") from exc
    return decoded


def purge(fmt: str, lists: bytes, data: bytes, size: int) -> bytes:
    """``size`` bytes: ``data`` has the pieces that are not zeros, then the SHA-1 of ``lists`` and pieces."""
    end = len(data) - DIGEST_SIZE
    if end < 0 or sha1(lists + data[:end]).digest() != data[end:]:
        raise ChecksumError(fmt, "purged data does not match its SHA-1")
    out = bytearray(size)
    at = 0
    while at < end:
        if at + SEGMENT.size > end:
            raise FormatError(fmt, "a purged segment is cut short")
        start, length = SEGMENT.unpack_from(data, at)
        at += SEGMENT.size
        if start + length > size or at + length > end:
            raise FormatError(fmt, f"a purged segment of {length} bytes at {start:#x}")
        out[start : start + length] = data[at : at + length]
        at += length
    return bytes(out)


def unpack(fmt: str, packed: bytes | memoryview, place: int, size: int) -> bytes:
    """``size`` bytes from an RVZ pack stream, which begin at ``place`` of the disc or of the partition."""
    pieces: list[bytes | memoryview] = []
    at = done = 0
    while done < size:
        head = int.from_bytes(packed[at : at + 4], "big")
        length = head & ~JUNK
        stored = junk.SEED_SIZE if head & JUNK else length
        at += 4
        if not length or done + length > size or at + stored > len(packed):
            raise FormatError(fmt, f"packed data of {len(packed)} bytes does not make {size}")
        if head & JUNK:
            pieces.append(
                junk.generate(bytes(packed[at : at + stored]), (place + done) % junk.SECTOR, length)
            )
        else:
            pieces.append(packed[at : at + length])
        at += stored
        done += length
    return b"".join(pieces)
