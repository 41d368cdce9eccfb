"""Forks in extents: a few in the file's record, the others in the extents overflow tree.

An extent is {first allocation block, blocks}. Extents of 0 blocks end a list. Source: TN1150, "Fork Data
Structure" and "Extents Overflow File"; Inside Macintosh: Files, "Extents Overflow Files".
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import FormatError

Run = tuple[int, int]  # (first allocation block, blocks)
Overflow = Callable[[], Iterable[tuple[int, list[Run]]]]  # (block of the fork, the extents from there on)


class Blocks(NamedTuple):
    """The allocation blocks of a volume: block n begins at ``base + n * size`` of ``device``."""

    fmt: str
    device: BlockDevice
    base: int
    size: int
    total: int

    def fork(self, length: int, runs: list[Run], name: str, overflow: Overflow | None = None) -> BlockDevice:
        """The fork of ``length`` bytes that ``runs`` begin; ``name`` is for errors, which reading tells."""
        if length == 0:
            return MemoryDevice(b"")
        first, blocks = runs[0] if runs else (0, 0)
        if blocks * self.size >= length and first + blocks <= self.total:
            return Slice(self.device, self.base + first * self.size, length)
        return Fork(self, length, runs, name, overflow)


class _Table(NamedTuple):
    """Where extents begin in the fork and on the volume, and how many blocks there are in all."""

    starts: array[int]
    places: array[int]
    end: int


class Fork(MappedDevice):
    """A fork in several extents. The overflow tree is looked up when a read goes past the others."""

    def __init__(
        self, blocks: Blocks, length: int, runs: list[Run], name: str, overflow: Overflow | None
    ) -> None:
        self.size = length
        self.block_size = blocks.size
        self._blocks = blocks
        self._name = name
        self._overflow = overflow
        self._problem = "it lies in no extent"
        self._table = self._grown(_Table(array("Q"), array("Q"), 0), runs)

    def _grown(self, table: _Table, runs: Iterable[Run]) -> _Table:
        """``table`` with ``runs`` behind it; those that continue each other on the volume are joined."""
        starts, places, end = table
        for first, count in runs:
            if count == 0:
                break
            if first + count > self._blocks.total or end + count > self._blocks.total:
                self._problem = f"{count} blocks at {first} of the volume's {self._blocks.total}"
                break
            if not starts or places[-1] + end - starts[-1] != first:
                starts.append(end)
                places.append(first)
            end += count
        return _Table(starts, places, end)

    def _whole(self) -> _Table:
        """The table with what the overflow tree has. Raises ``ImageError``."""
        table = self._table
        if self._overflow is not None:
            table = _Table(table.starts[:], table.places[:], table.end)  # others may be using the old one
            for block, runs in self._overflow():
                if block == table.end:
                    table = self._grown(table, runs)
                elif block > table.end:
                    break  # a gap, which is told when it is read
            self._table = table
            self._overflow = None
        return table

    def _map(self, offset: int) -> Extent:
        size = self.block_size
        block = offset // size
        table = self._table if block < self._table.end else self._whole()
        if block >= table.end:
            reason = f"{self._name}: byte {offset} of {self.size}: {self._problem}"
            raise FormatError(self._blocks.fmt, reason)
        index = bisect_right(table.starts, block) - 1
        stop = table.starts[index + 1] if index + 1 < len(table.starts) else table.end
        place = self._blocks.base + (table.places[index] - table.starts[index]) * size + offset
        return Extent(stop * size - offset, self._blocks.device, place)
