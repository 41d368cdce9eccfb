"""FLAC frames decoded in Python: what ``flac`` falls back on where libFLAC is not installed.

16-bit stereo only.

It is some hundred times slower, and ten times faster than the sound plays. The frames' own checksums are not
compared: who stores frames without a stream has checksums of the content. Source: RFC 9639, section 9.
"""

from __future__ import annotations

from array import array
from itertools import accumulate, pairwise
from operator import mul
from typing import Final

from imgmount.errors import FormatError

SYNC: Final = "11111111111110"
BITS: Final = 16  # of a sample
# a negative number: the size follows in that many bits
_SIZES: Final = (0, 192, 576, 1152, 2304, 4608, -8, -16, *(256 << shift for shift in range(8)))
_RATE_BITS: Final = {12: 8, 13: 16, 14: 16}  # a sample rate that follows the frame's number
LEFT_SIDE, SIDE_RIGHT, MID_SIDE = 8, 9, 10  # channel assignments besides two channels as they are
STEREO: Final = 1
MAX_FIXED: Final = 4  # order of a fixed predictor
MAX_DATA: Final = 1 << 20  # bytes decoded at once: bits are kept as text
_CHECKED: Final = 64  # samples after which it is seen whether a predictor has run away
_RUNAWAY: Final = 1 << 40


class _Bits:
    """Bits as text: looking for the next one, and numbers out of a slice, are then done in C."""

    def __init__(self, data: bytes) -> None:
        self.text = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else ""
        self.at = 0

    def number(self, count: int) -> int:
        """``count`` bits, unsigned."""
        if not count:
            return 0
        end = self.at + count
        value = int(self.text[self.at : end], 2)
        self.at = end
        return value

    def signed(self, count: int) -> int:
        """``count`` bits in two's complement."""
        value = self.number(count)
        return value - (value >> count - 1 << count) if count else 0

    def zeros(self) -> int:
        """How many zeros come before the next one, which is passed too."""
        end = self.text.index("1", self.at)
        count = end - self.at
        self.at = end + 1
        return count


def decode(data: bytes, samples: int) -> tuple[memoryview, int]:
    """(interleaved samples in host order, bytes used) of the frames that hold ``samples`` of both channels.

    Raises ``FormatError``.
    """
    if len(data) > MAX_DATA:
        raise FormatError("flac", f"{len(data)} bytes at once are too many without libFLAC")
    bits = _Bits(data)
    out = array("h")
    try:
        while len(out) < 2 * samples:
            left, right = _frame(bits)
            both = array("h", bytes(4 * len(left)))
            both[0::2], both[1::2] = array("h", left), array("h", right)
            out += both
    except (ValueError, IndexError, OverflowError) as exc:  # no bits left, or a sample of more than 16
        raise FormatError("flac", f"{len(out) // 2} of {samples} samples") from exc
    if len(out) != 2 * samples:
        raise FormatError("flac", f"{len(out) // 2} samples, not {samples}")
    return memoryview(out), bits.at // 8


def _frame(bits: _Bits) -> tuple[list[int], list[int]]:
    """The samples of both channels of the frame that begins here, up to its checksum."""
    if bits.text[bits.at : bits.at + len(SYNC)] != SYNC:
        raise ValueError("no frame")
    bits.at += len(SYNC) + 2
    code, rate, channels = bits.number(4), bits.number(4), bits.number(4)
    bits.at += 4  # bits of a sample, reserved
    lead = bits.number(8)
    bits.at += 8 * max(0, 8 - (lead ^ 0xFF).bit_length() - 1)
    size = _SIZES[code] if _SIZES[code] >= 0 else bits.number(-_SIZES[code]) + 1
    bits.at += _RATE_BITS.get(rate, 0) + 8  # and the header's checksum
    if not size or channels not in (STEREO, LEFT_SIDE, SIDE_RIGHT, MID_SIDE):
        raise ValueError("not what is decoded here")
    first = _subframe(bits, size, BITS + (channels == SIDE_RIGHT))
    second = _subframe(bits, size, BITS + (channels in (LEFT_SIDE, MID_SIDE)))
    bits.at = -(-bits.at // 8) * 8 + 16  # the frame's checksum
    if bits.at > len(bits.text):
        raise ValueError("cut")
    if channels == LEFT_SIDE:
        second = [left - side for left, side in zip(first, second, strict=True)]
    elif channels == SIDE_RIGHT:
        first = [side + right for side, right in zip(first, second, strict=True)]
    elif channels == MID_SIDE:
        doubled = [2 * mid + (side & 1) for mid, side in zip(first, second, strict=True)]
        return (
            [value + side >> 1 for value, side in zip(doubled, second, strict=True)],
            [value - side >> 1 for value, side in zip(doubled, second, strict=True)],
        )
    return first, second


def _subframe(bits: _Bits, size: int, width: int) -> list[int]:
    """The samples of one channel, ``width`` bits each."""
    bits.at += 1
    kind = bits.number(6)
    wasted = bits.zeros() + 1 if bits.number(1) else 0
    width -= wasted
    if kind == 0:
        found = [bits.signed(width)] * size
    elif kind == 1:
        found = [bits.signed(width) for _ in range(size)]
    elif 8 <= kind <= 8 + MAX_FIXED:
        found = _fixed(bits, size, width, kind - 8)
    elif kind >= 32:
        found = _predicted(bits, size, width, kind - 31)
    else:
        raise ValueError("a kind of subframe that does not exist")
    return [value << wasted for value in found] if wasted else found


def _fixed(bits: _Bits, size: int, width: int, order: int) -> list[int]:
    """A polynomial of degree ``order - 1`` foretells each sample.

    Its differences are summed up again, ``order`` times.
    """
    first = [bits.signed(width) for _ in range(order)]
    starts = []
    # the first value, first difference, second difference... where the residual begins
    for _ in range(order):
        starts.append(first[-1])
        first = [after - before for before, after in pairwise(first)]
    values = _residual(bits, size, order)
    for start in reversed(starts):
        values = list(accumulate(values, initial=start))[1:]
    return _warm(starts) + values


def _warm(starts: list[int]) -> list[int]:
    """The samples whose last differences are ``starts``."""
    differences, found = list(starts), []
    for _ in starts:
        found.append(differences[0])
        for at in range(len(differences) - 1):  # a step back: each difference less the one above it
            differences[at] -= differences[at + 1]
    return found[::-1]


def _predicted(bits: _Bits, size: int, width: int, order: int) -> list[int]:
    """A weighted sum of the last ``order`` samples foretells each."""
    found = [bits.signed(width) for _ in range(order)]
    precision = bits.number(4) + 1
    shift = bits.signed(5)
    if precision > 15 or shift < 0:
        raise ValueError("a predictor that does not exist")
    weights = [bits.signed(precision) for _ in range(order)][::-1]
    add = found.append
    residual = _residual(bits, size, order)
    for start in range(0, len(residual), _CHECKED):
        for at, value in enumerate(residual[start : start + _CHECKED], start):
            add(value + (sum(map(mul, weights, found[at:])) >> shift))
        if abs(found[-1]) > _RUNAWAY:
            raise ValueError("a predictor that runs away")
    return found


def _residual(bits: _Bits, size: int, order: int) -> list[int]:
    """What the predictor of ``order`` misses.

    Rice codes, in partitions that each have a width of their own.
    """
    method = bits.number(2)
    if method > 1:
        raise ValueError("a kind of residual that does not exist")
    width = 4 + method
    partitions = 1 << bits.number(4)
    found: list[int] = []
    for number in range(partitions):
        count = size // partitions - (0 if number else order)
        low = bits.number(width)
        if low == (1 << width) - 1:
            raw = bits.number(5)
            found += [bits.signed(raw) for _ in range(count)]
        else:
            found += _rice(bits, count, low)
    if len(found) != size - order:
        raise ValueError("partitions that do not add up")
    return found


def _rice(bits: _Bits, count: int, low: int) -> list[int]:
    text, at, find = bits.text, bits.at, bits.text.index
    found = []
    for _ in range(count):
        end = find("1", at) + 1
        high = end - at - 1
        at = end + low
        value = high << low | int(text[end:at], 2) if low else high
        found.append(value >> 1 ^ -(value & 1))
    bits.at = at
    return found
