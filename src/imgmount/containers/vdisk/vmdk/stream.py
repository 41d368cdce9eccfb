"""VMware disks compressed for streaming: each grain a zlib stream behind a marker, the tables at the end.

A download that was cut has lost the tables; the markers are enough to rebuild them as far as the file goes.
"""

from __future__ import annotations

import struct
from array import array
from typing import Any, Final

from imgmount.codecs import deflate
from imgmount.containers.vdisk.vmdk.extents import AT_END, COMPRESSED, MARKERS, SECTOR, Beneath, HostedExtent
from imgmount.core.cache import Content, ReadCache
from imgmount.core.device import BlockDevice, ChunkedDevice, Extent
from imgmount.errors import FormatError, ImageError, UnsupportedError

# grain: first sector, bytes of data, data...; else: sectors that follow, 0, type
_MARKER = struct.Struct("<QII")
GRAIN_MARKER: Final = 12
END_OF_STREAM, GRAIN_TABLE, GRAIN_DIRECTORY, FOOTER = range(4)
FOOTER_FROM_END: Final = 1024
DEFLATE: Final = 1
MAX_GROWTH: Final = (
    2  # a grain that does not compress is a little longer than it was; QEMU allows twice its size
)
MAX_REBUILT: Final = 1 << 24  # grains: 1 TiB of 64 KiB


class StreamExtent(HostedExtent):
    """KDMV with compressed grains."""

    def __init__(self, file: BlockDevice, header: Any, below: Beneath, cache: ReadCache) -> None:
        if header.compression != DEFLATE:
            raise UnsupportedError(f"vmdk: compression {header.compression}")
        self.problem = ""
        self._lost_from: int | None = None  # the first byte about which a cut file says nothing
        self._has_markers = bool(header.flags & MARKERS)
        found = _with_directory(file, header)
        if found is not None:
            super().__init__(file, found, below)
        else:
            self._rebuild(file, header, below)
        self._decoded = _Grains(self, cache)

    def _rebuild(self, file: BlockDevice, header: Any, below: Beneath) -> None:
        """Find the grains by their markers.

        Grains come in order, so that what follows the last one is lost.
        """
        super(HostedExtent, self).__init__(file, header.capacity, header.grain, header.entries, below)
        if not self._has_markers or self.count * self.entries > MAX_REBUILT:
            raise FormatError("vmdk", "the footer is missing, and the tables cannot be rebuilt without it")
        grains = array("I", bytes(4 * self.count * self.entries))
        offset, last, complete = header.overhead * SECTOR, -1, False
        while offset + SECTOR <= file.size:
            value, size, kind = _MARKER.unpack(file.pread(offset, _MARKER.size))
            if not size:
                complete = kind in (END_OF_STREAM, GRAIN_DIRECTORY, FOOTER)
                if complete or kind != GRAIN_TABLE or value > self.entries:
                    break
                offset += SECTOR + value * SECTOR
                continue
            index, rest = divmod(value, header.grain)
            if rest or index >= len(grains) or size > MAX_GROWTH * self.block_size:
                raise FormatError("vmdk", "no marker where the next grain should be", offset=offset)
            if offset + GRAIN_MARKER + size > file.size:
                break
            grains[index] = offset // SECTOR
            last = max(last, index)
            offset += -(-(GRAIN_MARKER + size) // SECTOR) * SECTOR
        self._tables = array("I", [1]) * self.count
        self._grains = grains
        self._zeros = False
        self._lost_from = None if complete else (last + 1) * self.block_size
        self.problem = "the tables are lost: rebuilt from the grains' markers"
        if not complete:
            self.problem += f"; the file is cut: nothing is known from byte {self._lost_from:#x} on"

    def _read_table(self, index: int) -> array[int]:
        if not self.problem:
            return super()._read_table(index)
        return self._grains[index * self.entries : (index + 1) * self.entries]

    def _map(self, offset: int) -> Extent:
        if self._lost_from is None:
            return super()._map(offset)
        if offset >= self._lost_from:
            raise ImageError(f"vmdk: the file was cut before the data of {offset:#x}")
        extent = super()._map(offset)
        return extent._replace(length=min(extent.length, self._lost_from - offset))

    def _map_stored(self, entries: array[int], index: int, offset: int) -> Extent:
        if entries[index] == 1 and self._zeros:
            return super()._map_stored(entries, index, offset)
        count = 1
        for entry in entries[index + 1 : index + self.look]:
            if entry <= 1:
                break
            count += 1
        length = count * self.block_size - offset % self.block_size
        return Extent(min(length, self.size - offset), self._decoded, offset)

    def decode(self, grain: int) -> Content:
        """Grain ``grain``, whole, or as long as the disk is."""
        table_index, index = divmod(grain, self.entries)
        entry = self.table(table_index)[index] if self._tables[table_index] else 0
        if entry <= 1:
            raise FormatError("vmdk", f"grain {grain} is not compressed")
        offset = entry * SECTOR
        size = MAX_GROWTH * self.block_size
        if self._has_markers:
            sector, size, _ = _MARKER.unpack(self.file.read_exactly(offset, _MARKER.size, "vmdk"))
            if sector * SECTOR != grain * self.block_size or not 0 < size <= MAX_GROWTH * self.block_size:
                raise FormatError(
                    "vmdk", f"grain {grain} is marked as {size} bytes for sector {sector}", offset=offset
                )
            offset += GRAIN_MARKER
        return self._inflate(
            self.file.pread(offset, size), min(self.block_size, self.size - grain * self.block_size), offset
        )

    def _inflate(self, data: bytes, needed: int, offset: int) -> Content:
        """The last grain of a disk is stored whole by some writers and cut to the disk's end by others."""
        try:
            grain = deflate.inflate(data, self.block_size, wrapper="zlib")
            return grain if len(grain) == needed else grain[:needed]
        except FormatError as exc:
            if needed < self.block_size:
                return deflate.inflate(data, needed, wrapper="zlib")
            raise FormatError("vmdk", f"a compressed grain: {exc.reason}", offset=offset) from exc


def _with_directory(file: BlockDevice, header: Any) -> Any:
    """``header``, or the footer if that has the directory's place; None if neither leads to one."""
    if header.directory == AT_END:
        try:
            header = (
                HostedExtent.header(file, file.size - FOOTER_FROM_END)
                if file.size >= FOOTER_FROM_END
                else None
            )
        except (FormatError, UnsupportedError):
            return None
    if header is None or not header.flags & COMPRESSED or header.directory * SECTOR >= file.size:
        return None
    return header


class _Grains(ChunkedDevice):
    """The compressed grains, at their places in the extent; nothing else of it can be read here."""

    def __init__(self, extent: StreamExtent, cache: ReadCache) -> None:
        super().__init__(extent.size, extent.block_size, cache)
        self._extent = extent

    def _read_chunk(self, index: int) -> Content:
        return self._extent.decode(index)
