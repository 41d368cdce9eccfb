"""Reads devices to their ends, for errors and for checksums; no byte of an image twice.

``extents`` tells where the bytes of a device come from: what a disk has given is not read again for the files
that lie in it. What cannot be read is tried again, so that it is told of everything that it belongs to.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from imgmount.core.checks import Sum
from imgmount.core.device import BlockDevice, Buffer
from imgmount.core.holes import stretches
from imgmount.core.read_through import advance
from imgmount.errors import ImageError

STEP: Final = 1 << 20
GRAIN: Final = 512  # bytes: the precision of an unreadable range
MAX_UNREADABLE: Final = 4 << 20  # tried in full
MAX_PIECES: Final = 1024
MAX_RUNS: Final = 1 << 17  # remembered: what lies in more pieces may be read again


class Unreadable(NamedTuple):
    """A range of a device; of a very long one not ``all`` was tried."""

    start: int
    end: int
    reason: str
    all: bool = True

    def __str__(self) -> str:
        some = "" if self.all else " (not all of it was tried)"
        return f"unreadable {self.start:#x} to {self.end:#x}{some}: {self.reason}"


class Reader:
    """Remembers what it has read, where it is told to ``keep`` that: of disks, in which files lie."""

    def __init__(self) -> None:
        self._read: dict[BlockDevice, _Ranges] = {}
        self._left = MAX_RUNS

    def unreadable(self, device: BlockDevice, name: str, *, keep: bool = False) -> Iterator[Unreadable]:
        """What of ``device`` cannot be read. Where a very long range ends is found by few reads."""
        found: Unreadable | None = None
        at = 0
        while at < device.size:
            for offset, size in stretches(device, STEP, at):
                at = offset + size
                for start, end, reason in self._try(device, offset, at, keep=keep):
                    if found is not None and start == found.end:  # other reasons differ in an offset
                        found = found._replace(end=end)
                        continue
                    if found is not None:
                        yield found
                    found = Unreadable(start, end, reason)
                advance(size, name)
                if found is not None and found.end == at and at - found.start >= MAX_UNREADABLE:
                    at = _end_of_damage(device, at)
                    yield found._replace(end=at, all=False)
                    found = None
                    break
            else:
                break
        if found is not None:
            yield found

    def compute(self, device: BlockDevice, sums: Sequence[Sum], name: str, *, keep: bool = False) -> None:
        """Give all of ``device`` to ``sums``, each in a thread of its own. Raises ``ImageError``."""
        with ThreadPoolExecutor(len(sums)) as threads:
            waiting: list[Future[None]] = []
            for pieces, size in self._portions(device, keep=keep):
                for one in waiting:
                    one.result()
                waiting = [threads.submit(_take, sum_, pieces) for sum_ in sums]
                advance(size, name)
            for one in waiting:
                one.result()

    def _portions(self, device: BlockDevice, *, keep: bool) -> Iterator[tuple[list[Buffer | int], int]]:
        """(buffers, and the lengths of holes, in order; bytes in them) of all of ``device``."""
        pieces: list[Buffer | int] = []
        size = 0
        for run in device.extents(0, device.size):
            step = STEP if run.device is not None else run.length
            for at in range(0, run.length, step):
                length = min(step, run.length - at)
                if run.device is None:
                    pieces.append(length)
                else:
                    pieces += run.device.buffers(run.offset + at, length)
                    if keep:
                        self._remember(run.device, run.offset + at, length)
                size += length
                if size >= STEP or len(pieces) >= MAX_PIECES:
                    yield pieces, size
                    pieces, size = [], 0
        yield pieces, size

    def _try(
        self, device: BlockDevice, start: int, end: int, *, keep: bool
    ) -> Iterator[tuple[int, int, str]]:
        """Read a part, and where that fails its halves: (start, end, why) of pieces that cannot be read."""
        try:
            for run in device.extents(start, end - start):
                if run.device is None or self._is_read(run.device, run.offset, run.length):
                    continue
                deque(run.device.buffers(run.offset, run.length), 0)
                if keep:
                    self._remember(run.device, run.offset, run.length)
        except ImageError as exc:
            if end - start <= GRAIN:
                yield start, end, str(exc)
                return
        else:
            return
        middle = -(-(start + end) // (2 * GRAIN)) * GRAIN
        if middle >= end:
            middle = (start + end) // 2
        yield from self._try(device, start, middle, keep=keep)
        yield from self._try(device, middle, end, keep=keep)

    def _remember(self, device: BlockDevice, offset: int, length: int) -> None:
        if self._left > 0:
            self._left -= self._read.setdefault(device, _Ranges()).add(offset, offset + length)

    def _is_read(self, device: BlockDevice, offset: int, length: int) -> bool:
        ranges = self._read.get(device)
        return ranges is not None and ranges.cover(offset, offset + length)


def _end_of_damage(device: BlockDevice, start: int) -> int:
    """Where bytes can be read again from ``start`` on: looked for in steps that grow, then between two."""
    bad, good, step = start, start, STEP
    while not _reads(device, good):
        bad, good, step = good, good + step, 2 * step
        if good >= device.size:
            return device.size
    while good - bad > GRAIN:
        middle = (bad + good) // 2
        bad, good = (bad, middle) if _reads(device, middle) else (middle, good)
    return good


def _reads(device: BlockDevice, offset: int) -> bool:
    try:
        device.pread(offset, 1)
    except ImageError:
        return False
    return True


class _Ranges:
    """Ranges that do not touch each other, in order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> int:
        """Add a range; the result is how many more there are now."""
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]
        return 1 - (last - first)

    def cover(self, start: int, end: int) -> bool:
        """Whether one of them holds all from ``start`` to ``end``."""
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and end <= self._ends[index]


def _take(sum_: Sum, pieces: Sequence[Buffer | int]) -> None:
    for piece in pieces:
        if isinstance(piece, int):
            sum_.zeros(piece)
        else:
            sum_.update(piece)
