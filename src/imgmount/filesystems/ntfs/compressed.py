"""Compressed streams: units of clusters, each stored as it is, as LZNT1 in fewer clusters, or not at all.

Source: "Compressed Runs" in the documentation of the Linux-NTFS project.
"""

from __future__ import annotations

from imgmount.core.cache import Content, ReadCache
from imgmount.core.device import ChunkedDevice, Extent, MappedDevice
from imgmount.errors import FormatError
from imgmount.filesystems.ntfs.boot import NAME
from imgmount.filesystems.ntfs.runs import HOLE, LOST, Disk, Runs


class _Units(ChunkedDevice):
    """All units as if each were compressed; those that are not are never read here."""

    def __init__(self, whole: CompressedDevice, unit_size: int, cache: ReadCache) -> None:
        super().__init__(whole.size, unit_size, cache)
        self._whole = whole

    def _read_chunk(self, index: int) -> Content:
        whole = self._whole
        length = min(self.block_size, self.size - index * self.block_size)
        if not whole.is_coded(index):  # of a read ahead
            return whole.pread(index * self.block_size, length)
        from imgmount.codecs import lznt1  # few volumes have such files

        return lznt1.decode(b"".join(whole.stored(index)), length)


class CompressedDevice(MappedDevice):
    """A stream of ``size`` bytes in ``runs``, compressed ``unit`` clusters at a time."""

    def __init__(self, disk: Disk, runs: Runs, unit: int, size: int) -> None:
        self.size = size
        self.block_size = unit * disk.cluster_size
        self._device = disk.device
        self._runs = runs
        self._cluster = disk.cluster_size
        self._unit = unit
        self._coded = _Units(self, self.block_size, disk.cache)

    def _pieces(self, index: int) -> list[tuple[int, int]]:
        """(place, clusters) of unit ``index``, in order; a stream that ends inside it ends with a hole."""
        at, stop = index * self._unit, (index + 1) * self._unit
        found = []
        while at < stop:
            place, count = self._runs.at(at) if at < self._runs.end else (HOLE, stop - at)
            count = min(count, stop - at)
            found.append((place, count))
            at += count
        return found

    def is_coded(self, index: int) -> bool:
        """Whether a unit has clusters, but not all: then they hold compressed bytes."""
        places = [place for place, _ in self._pieces(index)]
        if LOST in places:
            raise FormatError(NAME, f"where a stream is from byte {index * self.block_size:#x} on is lost")
        return HOLE in places and any(place >= 0 for place in places)

    def stored(self, index: int) -> list[bytes]:
        """The clusters of a compressed unit. Raises ``FormatError`` where they are not at its beginning."""
        pieces = self._pieces(index)
        while pieces and pieces[-1][0] == HOLE:
            pieces.pop()
        if any(place < 0 for place, _ in pieces):
            raise FormatError(
                NAME,
                f"a compressed unit with a hole inside, at byte {index * self.block_size:#x} of its stream",
            )
        size = self._cluster
        return [self._device.read_exactly(place * size, count * size, NAME) for place, count in pieces]

    def _map(self, offset: int) -> Extent:
        index, skip = divmod(offset, self.block_size)
        cluster, inside = divmod(offset, self._cluster)
        if cluster >= self._runs.end and index * self._unit >= self._runs.end:
            raise FormatError(
                NAME, f"a stream of {self.size:#x} bytes has clusters for {self._runs.end * self._cluster:#x}"
            )
        if self.is_coded(index):
            return Extent(self.block_size - skip, self._coded, offset)
        place, count = self._runs.at(cluster)
        stop, unit_end = cluster + count, (index + 1) * self._unit
        # the whole units of this run are alike
        stop = max(stop // self._unit * self._unit, min(stop, unit_end))
        length = (stop - cluster) * self._cluster - inside
        return (
            Extent(length) if place == HOLE else Extent(length, self._device, place * self._cluster + inside)
        )
