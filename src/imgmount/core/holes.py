"""Where a device has data and where it has holes, down to what the host file has stored.

For lseek and st_blocks. A range that cannot be mapped counts as data: reading it fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, Protocol, runtime_checkable

from imgmount.core.device import BlockDevice, Extent
from imgmount.errors import ImageError

MAX_RUNS: Final = 1 << 17  # looked at for one answer; a device in more pieces is taken for data from there on


@runtime_checkable
class KnowsHoles(Protocol):
    """A device at the bottom that knows its own holes: a host file."""

    def next_data(self, offset: int) -> int:
        """The first stored byte at or after ``offset``; the size if there is none."""

    def next_hole(self, offset: int) -> int:
        """The first byte at or after ``offset`` that is not stored; the size if there is none."""


def next_data(device: BlockDevice, offset: int) -> int:
    """The first position at or after ``offset`` that is not in a hole.

    ``device.size`` if only a hole follows.
    """
    for position, run in _runs(device, offset, device.size):
        if run.device is None:
            continue
        skip = run.device.next_data(run.offset) - run.offset if isinstance(run.device, KnowsHoles) else 0
        if skip < run.length:
            return position + skip
    return device.size


def next_hole(device: BlockDevice, offset: int, end: int | None = None) -> int:
    """The first position at or after ``offset`` that is in a hole.

    ``end``, by default the device's, if none is before that.
    """
    end = device.size if end is None else end
    for position, run in _runs(device, offset, end):
        if run.device is None:
            return position
        if (
            isinstance(run.device, KnowsHoles)
            and (skip := run.device.next_hole(run.offset) - run.offset) < run.length
        ):
            return position + skip
    return end


def stretches(device: BlockDevice, most: int, offset: int = 0) -> Iterator[tuple[int, int]]:
    """(offset, size) of all from ``offset`` on that is no hole, ``most`` bytes at a time."""
    while (offset := next_data(device, offset)) < device.size:
        limit = min(offset + most, device.size)
        end = next_hole(device, offset, limit)
        if end <= offset:  # the host file has changed since
            end = limit
        yield offset, end - offset
        offset = end


def allocated(device: BlockDevice) -> int:
    """Bytes that are not holes."""
    stored = _Stored()
    return sum(stored.bytes_in(run) for _, run in _runs(device, 0, device.size) if run.device is not None)


class _Stored:
    """How much of each run the host has stored.

    Most runs follow each other in one stretch of a file, which is remembered.
    """

    def __init__(self) -> None:
        self._device: BlockDevice | None = None
        self._file: KnowsHoles | None = None  # the same, if it is one: asking is slow
        self._start = self._end = 0
        self._left = MAX_RUNS

    def bytes_in(self, run: Extent) -> int:
        """How many bytes of ``run``, which is no hole in the image, the host has stored."""
        if run.device is not self._device:
            self._device, self._start, self._end = run.device, 0, 0
            self._file = run.device if isinstance(run.device, KnowsHoles) else None
        file = self._file
        if file is None:
            return run.length
        total, at, end = 0, run.offset, run.offset + run.length
        while at < end:
            if not self._start <= at < self._end:
                if self._left == 0:
                    return total + end - at
                self._left -= 1
                self._start = file.next_data(at)
                self._end = file.next_hole(self._start)
                at = self._start
                continue
            upto = min(end, self._end)
            total += upto - at
            at = upto
        return total


def _runs(device: BlockDevice, offset: int, end: int) -> Iterator[tuple[int, Extent]]:
    """(position, extent) from ``offset`` up to ``end``."""
    try:
        for run in islice(device.extents(offset, end - offset), MAX_RUNS):
            yield offset, run
            offset += run.length
    except ImageError:
        pass
    if offset < end:
        yield offset, Extent(end - offset, device, offset)
