"""LZBITMAP, with which Apple's systems since 2022 compress files: eight bytes a step, literals or copies.

A stream is ``ZBM`` and a tab, then chunks: u24 bytes coded, u24 bytes decoded (0 ends it), and stored bytes,
or three u24 offsets from the chunk's start (distances, bitmaps, tokens) and the literals. Tokens are nibbles,
low ones first.

Source: the format as eafer's libzbitmap describes it. No file of Apple's is among the tests' samples; what
the tests' own writer makes decodes alike here and in dissect.util.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from imgmount.errors import FormatError

NAME: Final = "lzbitmap"
MAGIC: Final = b"ZBM\t"
STORED: Final = 6  # bytes of the header of a chunk
LITERALS: Final = 15  # where they begin in a coded chunk
MAP: Final = 17  # bytes at the end of a coded chunk: what tokens 3 to 14 mean, in 10 bits each
FIRST_MAPPED: Final = 3
REPEAT: Final = 15  # a token: how often the one before it counts
FIRST_DISTANCE: Final = 8
STEP: Final = 8  # bytes a token


def decode(data: bytes, size: int) -> bytes:
    """The ``size`` bytes of one stream. Raises ``FormatError``."""
    if data[:4] != MAGIC:
        raise FormatError(NAME, f"data that begin with {data[:4]!r}, {MAGIC!r} expected")
    out = bytearray()
    at = len(MAGIC)
    try:
        while plain := _u24(data, at + 3):
            coded = _u24(data, at)
            if coded < STORED or at + coded > len(data) or len(out) + plain > size:
                raise FormatError(NAME, f"a chunk of {coded} bytes for {plain}", offset=at)
            chunk = data[at : at + coded]
            if coded == plain + STORED:
                out += chunk[STORED:]
            else:
                _expand(chunk, out, len(out) + plain)
            at += coded
    except (IndexError, StopIteration) as exc:
        raise FormatError(NAME, f"the data end after {len(out)} of {size} bytes") from exc
    if len(out) != size:
        raise FormatError(NAME, f"{len(out)} bytes, {size} expected")
    return bytes(out)


def _u24(data: bytes, at: int) -> int:
    if at + 3 > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + 3], "little")


def _expand(chunk: bytes, out: bytearray, end: int) -> None:
    """Append one decoded chunk to ``out``, up to ``end`` bytes in all. ``IndexError``: it is too short."""
    far, maps, tokens = (_u24(chunk, at) for at in (6, 9, 12))
    literal, distance = LITERALS, FIRST_DISTANCE
    meanings = _meanings(chunk)
    for token in _tokens(chunk[tokens:-MAP]):
        bitmap, action = meanings[token]
        if token < FIRST_MAPPED:
            bitmap = chunk[maps]
            maps += 1
        if action:
            distance = chunk[far] if action == 1 else chunk[far] | chunk[far + 1] << 8
            far += action
        literal = _step(chunk, out, bitmap, literal, distance)
        if len(out) >= end:
            break
    if len(out) < end:
        raise IndexError
    del out[end:]


def _step(chunk: bytes, out: bytearray, bitmap: int, literal: int, distance: int) -> int:
    """Eight bytes; the result is where the next literal is."""
    if bitmap != 0xFF and not 0 < distance <= len(out) + STEP:
        raise FormatError(NAME, f"a copy from {distance} bytes back, {len(out)} are there")
    if bitmap == 0xFF and literal + STEP <= len(chunk):
        out += chunk[literal : literal + STEP]
        return literal + STEP
    if bitmap == 0 and STEP <= distance <= len(out):
        start = len(out) - distance
        out += out[start : start + STEP]
        return literal
    for bit in range(STEP):
        if bitmap >> bit & 1:
            out.append(chunk[literal])
            literal += 1
        else:
            out.append(out[-distance])
    return literal


def _meanings(chunk: bytes) -> list[tuple[int, int]]:
    """(bitmap, action) of tokens 0 to 14; an action of 1 or 2 is a new distance of as many bytes."""
    bits = int.from_bytes(chunk[-MAP:], "little")
    mapped = [(bits >> 10 * n & 0xFF, bits >> 10 * n + 8 & 3) for n in range(REPEAT - FIRST_MAPPED)]
    if any(action == 3 for _, action in mapped):
        raise FormatError(NAME, "a token without a meaning")
    return [*((0, token) for token in range(FIRST_MAPPED)), *mapped]


def _tokens(packed: bytes) -> Iterator[int]:
    """The tokens, each as often as it is repeated."""
    nibbles = iter([nibble for byte in packed for nibble in (byte & 15, byte >> 4)])
    token = next(nibbles, None)
    while token is not None:
        if token == REPEAT:
            raise FormatError(NAME, "a repeat of nothing")
        following = next(nibbles, None)
        if following != REPEAT:
            yield token
            token = following
            continue
        count = 4
        while True:
            more = next(nibbles, 0)
            count += more
            if more != REPEAT:
                break
        for _ in range(count):
            yield token
        token = next(nibbles, None)
