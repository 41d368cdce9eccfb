"""Runs of clusters: the mapping pairs of a non-resident attribute, and the device they make.

Source: "Data Runs" in the documentation of the Linux-NTFS project.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.slices import Concat, MemoryDevice, Slice, ZeroDevice
from imgmount.errors import FormatError
from imgmount.filesystems.ntfs.boot import MAX_CLUSTERS, NAME

HOLE: Final = -1  # instead of a cluster: nothing is stored
LOST: Final = -2  # instead of a cluster: the record that holds it is damaged or gone
MAX_RUNS: Final = 1 << 22  # of one attribute: a file of 16 TiB in pieces of 4 MiB


class Runs:
    """Which clusters a stream has: ``places[n]`` of ``starts[n]`` on.

    ``end`` is the cluster after the last.
    """

    __slots__ = ("end", "places", "starts")

    def __init__(self) -> None:
        self.starts = array("q")
        self.places = array("q")
        self.end = 0

    def add(self, length: int, place: int) -> None:
        """``length`` clusters more, from ``place`` on. Raises ``FormatError`` where no volume has so many."""
        if (
            length <= 0
            or self.end + length > MAX_CLUSTERS
            or place + length > MAX_CLUSTERS
            or len(self.starts) >= MAX_RUNS
        ):
            raise FormatError(NAME, f"a run of {length} clusters, from cluster {place} on")
        starts, places = self.starts, self.places
        if starts and (
            place == places[-1]
            if place < 0
            else places[-1] >= 0 and places[-1] + self.end - starts[-1] == place
        ):
            self.end += length  # it goes on where the last one ended
            return
        starts.append(self.end)
        places.append(place)
        self.end += length

    @property
    def stored(self) -> int:
        """How many clusters take up space."""
        return sum(count for count, place in self if place >= 0)

    def at(self, cluster: int) -> tuple[int, int]:
        """(place, clusters from there to the end of the run) of a cluster before ``end``."""
        index = bisect_right(self.starts, cluster) - 1
        stop = self.starts[index + 1] if index + 1 < len(self.starts) else self.end
        place = self.places[index]
        return (place + cluster - self.starts[index] if place >= 0 else place), stop - cluster

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(clusters, place) of each run."""
        for index, start in enumerate(self.starts):
            stop = self.starts[index + 1] if index + 1 < len(self.starts) else self.end
            yield stop - start, self.places[index]


def add_pairs(runs: Runs, raw: bytes) -> None:
    """Decode mapping pairs and add what they say to ``runs``. Raises ``FormatError``."""
    at, place, end = 0, 0, len(raw)
    while at < end and raw[at]:
        sizes = raw[at]
        after = at + 1 + (sizes & 15)
        stop = after + (sizes >> 4)
        if stop > end:
            raise FormatError(NAME, f"runs of an attribute that end past it, at {at:#x} of {end:#x} bytes")
        length = int.from_bytes(raw[at + 1 : after], "little", signed=True)
        if stop == after:
            runs.add(length, HOLE)
        else:
            place += int.from_bytes(raw[after:stop], "little", signed=True)
            if place < 0:
                raise FormatError(NAME, f"a run from cluster {place} on, at {at:#x} of the runs")
            runs.add(length, place)
        at = stop


class Disk(NamedTuple):
    """What a stream lies on."""

    device: BlockDevice
    cluster_size: int
    cache: ReadCache


class RunDevice(MappedDevice):
    """``size`` bytes in ``runs`` of clusters of ``device``."""

    def __init__(self, device: BlockDevice, runs: Runs, cluster: int, size: int) -> None:
        self.size = size
        self.block_size = max(cluster, 512)
        self._device = device
        self._runs = runs
        self._cluster = cluster

    def _pread(self, offset: int, size: int) -> bytes:
        index, skip = divmod(offset, self._cluster)
        if index < self._runs.end:  # records and index blocks mostly are in one run: without detour then
            place, count = self._runs.at(index)
            start = place * self._cluster + skip
            if place >= 0 and skip + size <= count * self._cluster and start + size <= self._device.size:
                return self._device.pread(start, size)
        return super()._pread(offset, size)

    def _map(self, offset: int) -> Extent:
        index, skip = divmod(offset, self._cluster)
        if index >= self._runs.end:
            raise FormatError(
                NAME, f"a stream of {self.size:#x} bytes has clusters for {self._runs.end * self._cluster:#x}"
            )
        place, count = self._runs.at(index)
        length = count * self._cluster - skip
        if place >= 0:
            return Extent(length, self._device, place * self._cluster + skip)
        if place == LOST:
            raise FormatError(NAME, f"where a stream is from byte {index * self._cluster:#x} on is lost")
        return Extent(length)


def run_device(device: BlockDevice, runs: Runs, cluster: int, size: int) -> BlockDevice:
    """``size`` bytes in ``runs``; a plain slice of ``device`` where they are one run that is long enough."""
    if len(runs.places) == 1 and runs.places[0] >= 0 and runs.end * cluster >= size:
        return Slice(device, runs.places[0] * cluster, size)
    return RunDevice(device, runs, cluster, size)


def valid_until(content: BlockDevice, valid: int, size: int) -> BlockDevice:
    """The first ``valid`` bytes of ``content``, then zeros up to ``size``: what was never written."""
    if valid >= size:
        return content
    if valid <= 0:
        return ZeroDevice(size) if size else MemoryDevice(b"")
    return Concat([Extent(valid, content), Extent(size - valid)])
