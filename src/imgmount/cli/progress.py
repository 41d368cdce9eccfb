"""A progress bar on stderr, where that is a terminal; otherwise nothing."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from typing import Final

from imgmount.cli.text import complain, human
from imgmount.core.printable import printable

STDERR: Final = 2
INTERVAL: Final = 0.1  # seconds between two drawings
RECENT: Final = 100  # drawings, so about ten seconds, that the rate is taken over
BAR_WIDTH: Final = 24
MIN_NAME: Final = 10
DAY: Final = 86400


class Progress:
    """``advance`` counts; the line is drawn over itself and wiped by ``clear``."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        now = time.monotonic()
        self._points: deque[tuple[float, int]] = deque([(now, 0)], RECENT)  # (when, how much was done)
        self._drawn = now
        self._shown = False

    @staticmethod
    def wanted() -> bool:
        """Whether the bar can be seen: stderr is a terminal."""
        return sys.stderr.isatty()

    def expect(self, size: int) -> None:
        """There are at least ``size`` more bytes to come."""
        self._total = max(self._total, self._done + size)

    def advance(self, size: int, name: str) -> None:
        """``size`` more bytes of ``name`` are done."""
        self._done += size
        now = time.monotonic()
        if now - self._drawn < INTERVAL or not self.wanted():
            return
        self._drawn = now
        head = f"\r\x1b[K{self._text(now)} "
        room = max(MIN_NAME, os.get_terminal_size(STDERR).columns - len(head))
        print(head + printable(name)[-room:], end="", file=sys.stderr, flush=True)
        self._shown = True

    def _text(self, now: float) -> str:
        """The bar, how much is done, how fast, and the time left."""
        self._points.append((now, self._done))
        since, before = self._points[0]
        rate = (self._done - before) / (now - since)
        left = max(0, self._total - self._done)
        share = self._done / (self._done + left) if self._done else 1.0
        bar = "#" * int(share * BAR_WIDTH)
        eta = f", {clock(left / rate)} left" if left and rate else ""
        return f"[{bar:<{BAR_WIDTH}}] {share:4.0%} {human(self._done)}, {human(int(rate))}/s{eta}"

    def problem(self, text: str) -> None:
        """Tell the user, on a line of its own."""
        self.clear()
        complain(text)

    def clear(self) -> None:
        """Leave the line empty for other text."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False


def clock(seconds: float) -> str:
    """``0:05``, ``1:02:03``; days for what takes more than one."""
    if seconds >= DAY:
        return f"{seconds / DAY:.1f} days"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
