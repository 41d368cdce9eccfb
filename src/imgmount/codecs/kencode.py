"""KenCode, Disk Copy's "Smaller (KC)" compression of NDIF chunks: LZ77 in fixed prefix codes.

Literal runs and copies alternate; how wide a distance is grows with the bytes already there. Source: the
ClassicMac project's ``codecs/kencode.md``, from Disk Copy 6.3.3.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from imgmount.codecs.bits import BitReader
from imgmount.codecs.match import copy
from imgmount.errors import FormatError

# by the number of leading ones, from 3 on: how many bits follow, and what is added to them
_LENGTHS: Final = ((3, 11), (3, 19), (5, 27), (6, 59), (7, 123), (8, 251), (9, 507), (10, 1019))
_CLASSES: Final = (0x0B, 0x15, 0x29, 0x51, 0xA1, 0x2A1, 0x3E9, 0xA81, 0x1501, 0x2A01)
MOST_ONES: Final = 10
LONGEST_RUN: Final = 63  # after a literal run of that length another may follow
QUIRK: Final = {0x680: 0x66C}  # a threshold at which Disk Copy differs from the rule
SLACK: Final = 16  # bits behind the end: more, and the data are cut


def decode(data: bytes, size: int) -> bytes:
    """The ``size`` bytes that a stream stands for; what a last code makes beyond them is dropped."""
    return bytes(decode_head(data, size)[:size])


def decode_head(data: bytes, least: int) -> bytearray:
    """The first ``least`` bytes that a stream stands for, and the rest of a code. Raises ``FormatError``."""
    bits, out, after_run = BitReader(data), bytearray(), False
    while len(out) < least:
        length = _length(bits)
        if length or after_run:
            copy(out, _distance(bits, len(out)), length + (3 if after_run else 2), "kencode")
            after_run = False
        else:
            count = _run(bits)
            out += bytes([bits.take(8) for _ in range(count)])
            after_run = count < LONGEST_RUN
        if bits.beyond > SLACK:
            raise FormatError("kencode", f"the data ends after {len(out)} bytes of {least}")
    return out


def _length(bits: BitReader) -> int:
    ones = 0
    while ones < MOST_ONES and bits.take(1):
        ones += 1
    if ones == 0:
        return bits.take(1)
    if ones == 1:
        return 3 + bits.take(1) if bits.take(1) else 2
    if ones == 2:
        return 7 + bits.take(2) if bits.take(1) else 5 + bits.take(1)
    width, base = _LENGTHS[ones - 3]
    return base + bits.take(width)


def _distance(bits: BitReader, total: int) -> int:
    """How far back a copy begins, after ``total`` bytes."""
    width = bisect_right(_CLASSES, total)
    if not bits.take(1):
        return bits.take(width) + 1
    if not bits.take(1):
        return (1 << width) + bits.take(width + 2) + 1
    base = 5 << width
    return base + bits.take(_far_width(base, width, total)) + 1


def _far_width(base: int, width: int, total: int) -> int:
    """Bits of the farthest distances: no more than the bytes that are there need."""
    if total <= base + 2:
        return 1
    if total <= base + 4:
        return 2
    threshold, step, bits = base + 4, 4, 3
    while True:
        threshold += step
        if total <= QUIRK.get(threshold, threshold) or bits == width + 4:
            return bits
        step *= 2
        bits += 1


def _run(bits: BitReader) -> int:
    """How many literal bytes follow."""
    if not bits.take(1):
        return 1
    kind = bits.take(2)
    if kind < 2:
        return 2 + kind
    if kind == 2:
        return 4 + bits.take(2)
    count = bits.take(4)
    if count <= 7:
        return count + 8
    if count <= 11:
        return 4 * count + bits.take(2) - 16
    return 8 * count + bits.take(3) - 64
