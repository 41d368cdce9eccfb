"""One chunk of an EWF set, decoded: zlib, stored with an Adler-32, or a pattern."""

from __future__ import annotations

import zlib
from typing import Final

from imgmount.codecs.deflate import inflate
from imgmount.containers.ewf.tables import CHECKSUM_SIZE, CHECKSUMED, COMPRESSED, PATTERN, Chunk
from imgmount.errors import ChecksumError, FormatError

PATTERN_SIZE: Final = 8
_ZLIB_HEADER: Final = 2
_BLOCK_HEADER: Final = 5  # of a stored deflate block: flags, LEN, NLEN


def decode(chunk: Chunk, size: int, whole: int) -> bytes:
    """The ``size`` bytes of a chunk. The last is short, or filled up to ``whole``. Raises ``FormatError``."""
    if chunk.flags & PATTERN:
        return (chunk.offset.to_bytes(PATTERN_SIZE, "little") * -(-size // PATTERN_SIZE))[:size]
    if not chunk.flags & COMPRESSED:
        return _stored(chunk, size, whole)
    if chunk.size > 2 * whole + CHECKSUM_SIZE + 64:
        raise FormatError("ewf", f"a chunk of {chunk.size} bytes for {whole}", offset=chunk.offset)
    raw = chunk.file.pread(chunk.offset, chunk.size)
    try:
        return inflate(raw, size, wrapper="zlib")
    except FormatError as exc:
        if size < whole:
            try:
                return inflate(raw, whole, wrapper="zlib")[:size]
            except FormatError:
                pass
        data = _unchecked_blocks(raw)
        if len(data) in (size, whole):
            return data[:size]
        raise FormatError("ewf", f"a chunk does not decompress: {exc.reason}", offset=chunk.offset) from exc


def _stored(chunk: Chunk, size: int, whole: int) -> bytes:
    footer = CHECKSUM_SIZE if chunk.flags & CHECKSUMED else 0
    for length in dict.fromkeys((size, min(whole, chunk.size - footer))):  # others fill the last chunk
        if not size <= length <= chunk.size - footer:
            continue
        raw = chunk.file.pread(chunk.offset, length + footer)
        data = raw[:length]
        stored = int.from_bytes(raw[length:], "little")
        if not footer or stored == zlib.adler32(data):
            return data[:size]
    raise ChecksumError("ewf", "checksum of a stored chunk", offset=chunk.offset)


def _unchecked_blocks(raw: bytes) -> bytes:
    """A zlib stream of stored blocks whose NLEN is 0, as the Tableau TD3 writes them; empty if it is anything else."""
    pieces: list[bytes] = []
    at, last = _ZLIB_HEADER, 0
    while not last and at + _BLOCK_HEADER <= len(raw):
        last = raw[at] & 1
        length = int.from_bytes(raw[at + 1 : at + 3], "little")
        if raw[at] > 1 or raw[at + 3 : at + 5] != b"\0\0":
            return b""
        pieces.append(raw[at + _BLOCK_HEADER : at + _BLOCK_HEADER + length])
        at += _BLOCK_HEADER + length
    data = b"".join(pieces)
    return data if last and int.from_bytes(raw[at : at + CHECKSUM_SIZE], "big") == zlib.adler32(data) else b""
