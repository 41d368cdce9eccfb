"""One chunk of an EWF set, decoded: zlib, stored with an Adler-32, or a pattern."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from imgmount.codecs.deflate import adler32, inflate, inflate_all
from imgmount.codecs.pieces import blank
from imgmount.containers.evidence.ewf.tables import CHECKSUM_SIZE, CHECKSUMED, COMPRESSED, PATTERN, Chunk
from imgmount.core.cache import Content
from imgmount.errors import ChecksumError, FormatError

Bytes = bytes | memoryview
PATTERN_SIZE: Final = 8
_ZLIB_HEADER: Final = 2
_BLOCK_HEADER: Final = 5  # of a stored deflate block: flags, LEN, NLEN


def decode_run(chunks: Sequence[Chunk], size: int, whole: int) -> Content | None:
    """The ``size`` bytes of chunks that follow each other in a file, decoded at once.

    None where they do not, or one of them does not decode as it should: ``decode`` may know it.
    """
    first, last = chunks[0], chunks[-1]
    span = last.offset + last.size - first.offset
    if any(one.flags & PATTERN or one.size > _limit(whole) for one in chunks):
        return None
    if not _follow_each_other(chunks):
        return None
    raw, out, pieces = first.file.pread(first.offset, span), blank(size), []
    view = memoryview(raw)
    try:
        for number, (_, offset, stored, flags) in enumerate(chunks):
            start, at = offset - first.offset, number * whole
            length = min(whole, size - at)
            if flags & COMPRESSED:
                pieces.append((start, stored, at, length))
            else:
                out[at : at + length] = _stored(chunks[number], view[start : start + stored], length, whole)
        inflate_all(raw, out, pieces, wrapper="zlib")
    except FormatError:
        return None
    return out


def _follow_each_other(chunks: Sequence[Chunk]) -> bool:
    return all(
        one.offset + one.size == other.offset and one.file is other.file for one, other in pairwise(chunks)
    )


def read(chunks: Sequence[Chunk], whole: int) -> list[bytes]:
    """The raw bytes of ``chunks``, in one piece if they follow each other.

    No more is read of each than a sound chunk can have.
    """
    limit = _limit(whole)
    first, last = chunks[0], chunks[-1]
    if (
        not _follow_each_other(chunks)
        or last.offset + last.size - first.offset > limit * len(chunks)
        or any(one.flags & PATTERN for one in chunks)
    ):
        return [
            b"" if one.flags & PATTERN else one.file.pread(one.offset, min(one.size, limit)) for one in chunks
        ]
    raw = first.file.pread(first.offset, last.offset + last.size - first.offset)
    return [raw[one.offset - first.offset : one.offset - first.offset + one.size] for one in chunks]


def _limit(whole: int) -> int:
    """The largest stored size: no program stores a chunk that has grown to twice its size."""
    return 2 * whole + 64


def decode(chunk: Chunk, raw: bytes, size: int, whole: int) -> Content:
    """The ``size`` bytes of a chunk. The last is short, or filled up to ``whole``. Raises ``FormatError``."""
    if chunk.flags & PATTERN:
        return (chunk.offset.to_bytes(PATTERN_SIZE, "little") * -(-size // PATTERN_SIZE))[:size]
    if not chunk.flags & COMPRESSED:
        return bytes(_stored(chunk, raw, size, whole))
    if chunk.size > _limit(whole):
        raise FormatError(
            "ewf",
            f"a chunk is stored in {chunk.size} bytes, of at most {_limit(whole)} for {whole}",
            offset=chunk.offset,
        )
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


def _stored(chunk: Chunk, raw: Bytes, size: int, whole: int) -> Bytes:
    footer = CHECKSUM_SIZE if chunk.flags & CHECKSUMED else 0
    for length in (size, whole):
        data = raw[:length]
        if len(raw) < length + footer:
            break
        if not footer or int.from_bytes(raw[length : length + footer], "little") == adler32(data):
            return data[:size]
    raise ChecksumError("ewf", "a stored chunk disagrees with its checksum", offset=chunk.offset)


def _unchecked_blocks(raw: bytes) -> bytes:
    """A zlib stream of stored blocks whose NLEN is 0, as the Tableau TD3 writes them.

    Empty if it is anything else.
    """
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
    return data if last and int.from_bytes(raw[at : at + CHECKSUM_SIZE], "big") == adler32(data) else b""
