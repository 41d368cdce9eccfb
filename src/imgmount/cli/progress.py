"""A progress bar on stderr, where that is a terminal; otherwise nothing."""

from __future__ import annotations

import os
import sys
import time
from typing import Final

from imgmount.cli.text import complain, human
from imgmount.core.printable import printable

STDERR: Final = 2
INTERVAL: Final = 0.1  # seconds between two drawings
BAR_WIDTH: Final = 24
MIN_NAME: Final = 10


class Progress:
    """``advance`` counts; the line is drawn over itself and wiped by ``clear``."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._started = self._drawn = time.monotonic()
        self._shown = False

    @staticmethod
    def wanted() -> bool:
        """Whether the bar can be seen: stderr is a terminal."""
        return sys.stderr.isatty()

    def expect(self, size: int) -> None:
        """There are ``size`` more bytes to come."""
        self._total += size

    def advance(self, size: int, name: str) -> None:
        """``size`` more bytes of ``name`` are done."""
        self._done += size
        now = time.monotonic()
        if now - self._drawn < INTERVAL or not self.wanted():
            return
        self._drawn = now
        share = min(1.0, self._done / self._total) if self._total else 1.0
        bar = "#" * round(share * BAR_WIDTH)
        rate = human(int(self._done / (now - self._started)))
        head = f"\r\x1b[K[{bar:<{BAR_WIDTH}}] {share:4.0%} {human(self._done)}, {rate}/s "
        room = max(MIN_NAME, os.get_terminal_size(STDERR).columns - len(head))
        print(head + printable(name)[-room:], end="", file=sys.stderr, flush=True)
        self._shown = True

    def problem(self, text: str) -> None:
        """Tell the user, on a line of its own."""
        self.clear()
        complain(text)

    def clear(self) -> None:
        """Leave the line empty for other text."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False
