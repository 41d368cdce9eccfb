"""Deflate whose block types are written as other numbers than in RFC 1951, which zlib does not take.

It is decoded block by block.

A block is moved to the start of a byte and given its own number and the mark of the last one; zlib decodes it
with what came before as its dictionary. Where in its last byte it ends, zlib does not tell: as many bits are
not part of it as can be inverted without a change.
"""

from __future__ import annotations

import zlib
from typing import Final

from imgmount.errors import FormatError

STORED, FIXED, DYNAMIC = range(3)  # block types (RFC 1951, 3.2.3)
MAX_BLOCKS: Final = 1 << 14
SPAN: Final = 1 << 16  # bytes in which the end of a block is looked for first
WINDOW: Final = 1 << 15
_HEADER: Final = 3  # bits: the mark of the last block, the type
_LENGTHS: Final = 4  # bytes ahead of a stored block's content


def inflate_exchanged(data: bytes, size: int, types: bytes) -> bytes:
    """``size`` bytes from ``data``, where ``types[t]`` is the number that stands for type ``t``.

    Raises ``FormatError``.
    """
    out = bytearray()
    at = 0  # in bits
    for _ in range(MAX_BLOCKS):
        head = int.from_bytes(data[at >> 3 : (at >> 3) + 2], "little") >> (at & 7)
        kind = types.find(head >> 1 & 3)
        at += _HEADER
        if kind == STORED:
            piece, at = _stored(data, at)
        elif kind in (FIXED, DYNAMIC):
            piece, at = _coded(data, at, kind, bytes(out[-WINDOW:]), size - len(out))
        else:
            raise FormatError("deflate", f"block type {head >> 1 & 3}")
        out += piece
        if len(out) > size or at > 8 * len(data):
            break
        if head & 1:
            if len(out) != size:
                break
            return bytes(out)
    raise FormatError("deflate", f"{len(out)} bytes where {size} should be")


def _stored(data: bytes, at: int) -> tuple[bytes, int]:
    start = (at + 7 >> 3) + _LENGTHS
    length, inverted = (int.from_bytes(data[start + skip : start + skip + 2], "little") for skip in (-4, -2))
    if length ^ inverted != 0xFFFF:
        raise FormatError("deflate", "a stored block with wrong lengths")
    return data[start : start + length], 8 * (start + length)


def _coded(data: bytes, at: int, kind: int, before: bytes, limit: int) -> tuple[bytes, int]:
    """The content of the block whose codes begin at bit ``at``, and the bit after it."""
    first, span = at >> 3, SPAN
    while True:
        window = data[first : first + span]
        bits = 8 * len(window) - (at & 7) + _HEADER
        codes = int.from_bytes(window, "little") >> (at & 7)
        alone = (codes << _HEADER | kind << 1 | 1).to_bytes(-(-bits // 8), "little")
        piece, used = _decoded(alone, before, limit)
        length = 8 * used - _spare(alone[:used], before, piece) if piece is not None else bits + 1
        if piece is not None and length <= bits:
            return piece, at + length - _HEADER
        if first + span >= len(data):
            raise FormatError("deflate", "a block does not end")
        span *= 4


def _decoded(alone: bytes, before: bytes, limit: int) -> tuple[bytes | None, int]:
    """(content, bytes used) of the one block in ``alone``; None where it does not end.

    Raises ``FormatError``.
    """
    stream = zlib.decompressobj(-15, zdict=before)
    try:
        piece = stream.decompress(alone, limit + 1)
    except zlib.error as exc:
        raise FormatError("deflate", "the compressed data is damaged") from exc
    return (piece if stream.eof else None), len(alone) - len(stream.unused_data)


def _spare(alone: bytes, before: bytes, piece: bytes) -> int:
    """How many bits of the last byte of ``alone`` come after the block."""
    for spare in range(7, 0, -1):
        changed = alone[:-1] + bytes([alone[-1] ^ 0xFF << 8 - spare & 0xFF])
        try:
            if _decoded(changed, before, len(piece))[0] == piece:
                return spare
        except FormatError:
            continue
    return 0
