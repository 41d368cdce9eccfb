"""What is in use, counted in memory as it is found."""

from __future__ import annotations

from typing import Final

PAGE: Final = 1 << 16  # bits counted together


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
