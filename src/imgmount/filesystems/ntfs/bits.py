"""Bitmaps of clusters and records: what is in use."""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError
from imgmount.filesystems.ntfs.boot import NAME

_STEP: Final = 1 << 20  # bits looked at together
PAGE: Final = 1 << 16  # bits counted together


class Bitmap:
    """A bitmap on the volume; its first bit is the lowest."""

    def __init__(self, content: BlockDevice, count: int) -> None:
        self.count = count
        self._content = content

    def part(self, first: int, count: int) -> int:
        """``count`` bits from ``first`` on as a number. Raises ``ImageError``."""
        start, skip = divmod(first, 8)
        size = -(-(skip + count) // 8)
        raw = int.from_bytes(self._content.read_exactly(start, size, NAME), "little")
        return raw >> skip & (1 << count) - 1

    def first_used(self, first: int, count: int) -> int | None:
        """The first of ``count`` bits that is set, if one is. Raises ``ImageError``, also past the end."""
        if first < 0 or first + count > self.count:
            raise FormatError(NAME, f"{count} clusters from {first} on, the volume has {self.count}")
        for at in range(first, first + count, _STEP):
            if bits := self.part(at, min(_STEP, first + count - at)):
                return at + lowest(bits)
        return None


class Tally:
    """Which of many things are in use, one bit each. Memory is taken for the parts where one is."""

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}

    def add(self, first: int, count: int) -> bool:
        """Set ``count`` bits from ``first`` on; whether one of them was set before."""
        twice = False
        while count:
            page, shift = divmod(first, PAGE)
            here = min(count, PAGE - shift)
            wanted = (1 << here) - 1 << shift
            found = self._pages.get(page, 0)
            twice = twice or bool(found & wanted)
            self._pages[page] = found | wanted
            first += here
            count -= here
        return twice

    def page(self, number: int) -> int:
        """The bits from ``number * PAGE`` on as a number."""
        return self._pages.get(number, 0)


def lowest(bits: int) -> int:
    """The position of the lowest bit that is set."""
    return (bits & -bits).bit_length() - 1
