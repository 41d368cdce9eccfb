"""Bitmaps on a volume: what is in use, one bit each, the first bit the lowest of its byte."""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError

_STEP: Final = 1 << 20  # bits looked at together


class Bitmap:
    """``count`` bits in ``content``, of ``unit`` ("clusters"). The first of them is number ``base``."""

    def __init__(self, content: BlockDevice, count: int, fmt: str, unit: str, base: int = 0) -> None:
        self.count = count
        self._content = content
        self._fmt = fmt
        self._unit = unit
        self._base = base

    def part(self, first: int, count: int) -> int:
        """``count`` bits from ``first`` on as a number. Raises ``ImageError``."""
        start, skip = divmod(first - self._base, 8)
        size = -(-(skip + count) // 8)
        raw = int.from_bytes(self._content.read_exactly(start, size, self._fmt), "little")
        return raw >> skip & (1 << count) - 1

    def first_used(self, first: int, count: int) -> int | None:
        """The first of ``count`` bits that is set, if one is. Raises ``ImageError``, also past the end."""
        if first < self._base or first + count > self._base + self.count:
            reason = f"{count} {self._unit} from {first} on, the volume has {self.count}"
            raise FormatError(self._fmt, reason)
        for at in range(first, first + count, _STEP):
            if bits := self.part(at, min(_STEP, first + count - at)):
                return at + lowest(bits)
        return None


def lowest(bits: int) -> int:
    """The position of the lowest bit that is set."""
    return (bits & -bits).bit_length() - 1
