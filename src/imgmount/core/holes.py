"""Where a device has data and where it has holes, down to what the host file has stored: for lseek and st_blocks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, Protocol, runtime_checkable

from imgmount.core.device import BlockDevice, Extent
from imgmount.errors import ImageError

MAX_RUNS: Final = 1 << 17  # looked at for one answer; a device in more pieces is taken for data from there on
MEASURED_RUNS: Final = 1 << 13  # the same for a size, which is asked for at every mount: 50 ms


@runtime_checkable
class Sparse(Protocol):
    """A device at the bottom that knows its own holes: a host file."""

    def next_data(self, offset: int) -> int:
        """The first stored byte at or after ``offset``; the size if there is none."""

    def next_hole(self, offset: int) -> int:
        """The first byte at or after ``offset`` that is not stored; the size if there is none."""


def next_data(device: BlockDevice, offset: int) -> int:
    """The first position at or after ``offset`` that is not in a hole; ``device.size`` if only a hole follows."""
    for position, run in _runs(device, offset):
        if run.device is None:
            continue
        skip = run.device.next_data(run.offset) - run.offset if isinstance(run.device, Sparse) else 0
        if skip < run.length:
            return position + skip
    return device.size


def next_hole(device: BlockDevice, offset: int) -> int:
    """The first position at or after ``offset`` that is in a hole; ``device.size`` if there is none (the end is one)."""
    for position, run in _runs(device, offset):
        if run.device is None:
            return position
        if isinstance(run.device, Sparse) and (skip := run.device.next_hole(run.offset) - run.offset) < run.length:
            return position + skip
    return device.size


def allocated(device: BlockDevice) -> int:
    """Bytes that are not holes. What is mapped to nowhere counts: it has yet to fail when it is read."""
    total = seen = 0
    budget = MEASURED_RUNS
    try:
        for position, run in _runs(device, 0, MEASURED_RUNS):
            seen = position + run.length
            if run.device is None:
                continue
            stored, pieces = _stored(run, budget) if isinstance(run.device, Sparse) else (run.length, 0)
            total += stored
            budget -= pieces
    except ImageError:
        return total + device.size - seen
    return total


def _stored(run: Extent, budget: int) -> tuple[int, int]:
    """(bytes of ``run`` that the host has stored, pieces that they are in); after ``budget`` pieces all is taken for stored."""
    device, position, end, total = run.device, run.offset, run.offset + run.length, 0
    assert isinstance(device, Sparse)
    for pieces in range(max(0, budget)):
        start = device.next_data(position)
        if start >= end:
            return total, pieces
        position = min(end, device.next_hole(start))
        total += position - start
    return total + end - position, budget


def _runs(device: BlockDevice, offset: int, limit: int = MAX_RUNS) -> Iterator[tuple[int, Extent]]:
    """(position, extent) from ``offset`` on."""
    for run in islice(device.extents(offset, device.size - offset), limit):
        yield offset, run
        offset += run.length
    if offset < device.size:
        yield offset, Extent(device.size - offset, device, offset)
