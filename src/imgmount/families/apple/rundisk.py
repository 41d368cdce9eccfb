"""The disk that runs describe: zeros, raw ones served from where they lie, compressed ones."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.slices import Slice, Unreadable
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.apple.layout import HOLE, flatten
from imgmount.families.apple.runs import DAMAGED, IGNORE, RAW, SECTOR, ZERO, Codec, Run, RunsDevice


class RunDisk(MappedDevice):
    """``sectors`` of a disk; offsets of ``runs`` count in ``data``."""

    fmt: str
    codecs: Mapping[int, Codec]

    def __init__(self, runs: Sequence[Run], data: BlockDevice, sectors: int, cache: ReadCache) -> None:
        self.runs = runs
        self.size = sectors * SECTOR
        self.block_size = SECTOR
        self._data = data
        self._cache = cache
        self._starts, self._owners = flatten(runs, sectors)
        coded = {owner for owner in self._owners if owner != HOLE and runs[owner].kind in self.codecs}
        order = sorted(coded, key=lambda owner: runs[owner].first)
        self._places = {owner: index for index, owner in enumerate(order)}
        self._decoded = RunsDevice(self.fmt, self.codecs, [runs[owner] for owner in order], data, cache)

    def _map(self, offset: int) -> Extent:
        index = bisect_right(self._starts, offset // SECTOR) - 1
        end = self._starts[index + 1] * SECTOR if index + 1 < len(self._starts) else self.size
        owner = self._owners[index]
        if owner == HOLE:
            return Extent(end - offset)
        run = self.runs[owner]
        skip = offset - run.first * SECTOR
        if run.kind in self.codecs:
            return Extent(end - offset, self._decoded, self._decoded.start(self._places[owner]) + skip)
        return self.plain(run, skip, end - offset)

    def _reason(self, run: Run, skip: int) -> ImageError:
        """Why a byte of a run cannot be read."""
        sector = run.first + skip // SECTOR
        if run.kind == RAW:
            return FormatError(self.fmt, f"the raw run of sector {sector} is cut", offset=run.offset + skip)
        if run.kind == DAMAGED:
            return FormatError(self.fmt, f"a damaged table: where sector {sector} is cannot be told")
        return UnsupportedError(f"{self.fmt}: runs of type {run.kind:#x}, as of sector {sector}")

    def run_device(self, run: Run) -> BlockDevice:
        """``run`` alone, whatever lies over it on the disk."""
        index = bisect_right(self._starts, run.first) - 1
        end = self._starts[index + 1] if index + 1 < len(self._starts) else self.size // SECTOR
        owner = self._owners[index] if index >= 0 else HOLE
        if owner != HOLE and self.runs[owner] == run and end == run.first + run.sectors:
            return Slice(self, run.first * SECTOR, run.sectors * SECTOR)
        if run.kind in self.codecs:
            return RunsDevice(self.fmt, self.codecs, [run], self._data, self._cache)
        return _Alone(self, run)

    def plain(self, run: Run, skip: int, length: int) -> Extent:
        """An extent of a run that is not compressed, from ``skip`` on. A raw run ends with its file."""
        if run.kind in (ZERO, IGNORE):
            return Extent(length)
        if run.kind == RAW:
            place = run.offset + skip
            there = min(run.stored - skip, self._data.size - place)
            if there > 0:
                return Extent(min(length, there), self._data, place)
        return Extent(length, Unreadable(length, self._reason(run, skip)))

    def about_runs(self) -> str:
        """How many runs there are of each kind, for people."""
        count = dict.fromkeys(self.codecs, 0)
        raw = empty = 0
        for run in self.runs:
            if run.kind in count:
                count[run.kind] += 1
            raw += run.kind == RAW
            empty += run.kind in (ZERO, IGNORE)
        counts = [f"{number} {self.codecs[kind].name}" for kind, number in count.items() if number]
        counts += [f"{number} {what}" for number, what in ((raw, "raw"), (empty, "empty")) if number]
        return ", ".join(counts) or "none"


class _Alone(MappedDevice):
    """One run of a disk that is not compressed, whatever lies over it."""

    def __init__(self, disk: RunDisk, run: Run) -> None:
        self._disk = disk
        self._run = run
        self.size = run.sectors * SECTOR

    def _map(self, offset: int) -> Extent:
        return self._disk.plain(self._run, offset, self.size - offset)
