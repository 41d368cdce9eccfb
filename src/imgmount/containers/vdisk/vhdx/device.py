"""The disk in a VHDX file: a table says where each block is, and which of its sectors a delta has."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final
from uuid import UUID

from imgmount.containers.vdisk.parent_search import find_parent
from imgmount.containers.vdisk.vhdx.log import ReplayedFile
from imgmount.containers.vdisk.vhdx.structs import (
    BAT,
    CREATOR_OFFSET,
    CREATOR_SIZE,
    HEADERS,
    METADATA,
    MIB,
    REGION_TABLES,
    Metadata,
    current_header,
    header_at,
    regions,
    regions_at,
)
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.format import Context
from imgmount.core.runs import RUN_BYTES, Bits, equal_run, rising_run
from imgmount.core.slices import beneath
from imgmount.errors import FormatError

CHUNK_SECTORS: Final = 1 << 23  # that one sector bitmap covers
STATE_MASK: Final = 7
OFFSET_MASK: Final = ~(MIB - 1)
NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED = range(4)
FULLY_PRESENT, PARTIALLY_PRESENT = 6, 7
TABLE_PARTS: Final = 256  # kept, of 32 KiB at most
BITMAP_PARTS: Final = 1024  # kept, of 4 KiB
BITMAP_PART: Final = 4096  # sectors looked at for one run
EXTENSIONS: Final = (".vhdx", ".avhdx")
LINKAGES: Final = ("parent_linkage", "parent_linkage2")
PATHS: Final = ("relative_path", "absolute_win32_path", "volume_path")


class VhdxDevice(MappedDevice):
    """The disk in a VHDX file."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._source = file
        self._header = current_header(file)
        self._log: ReplayedFile | None = None
        if any(self._header.log_id):
            self._log = ReplayedFile(file, self._header)
        self._file: BlockDevice = self._log or file
        found = regions(self._file)
        self.metadata = metadata = Metadata.read(self._file, *found[METADATA])
        self.size = metadata.size
        self.block_size = metadata.block_size
        self._ratio = CHUNK_SECTORS * metadata.logical_sector // self.block_size
        self._blocks = -(-self.size // self.block_size)
        self._table_offset, length = found[BAT]
        entries = self._blocks + (self._blocks - 1) // self._ratio
        if metadata.has_parent:
            entries = -(-self._blocks // self._ratio) * (self._ratio + 1)
        if 8 * entries > length or self._table_offset + 8 * entries > self._file.size:
            raise FormatError(
                "vhdx", f"a block table of {length} bytes for {entries} entries", offset=self._table_offset
            )
        self._chunk = lru_cache(TABLE_PARTS)(self._read_chunk)
        self._bits = lru_cache(BITMAP_PARTS)(self._read_bits)
        self._look = max(1, RUN_BYTES // self.block_size)
        self._parent_name = ""
        self._parent = self._find_parent(context) if metadata.has_parent else None

    def _find_parent(self, context: Context) -> BlockDevice:
        locator = self.metadata.locator
        wanted = [linkage.strip("{}").lower() for key in LINKAGES if (linkage := locator.get(key))]
        names = [path for key in PATHS if (path := locator.get(key))]

        def is_parent(file: BlockDevice) -> bool:
            return str(UUID(bytes_le=current_header(file).data_write_id)) in wanted

        self._parent_name = find_parent("vhdx", " or ".join(wanted), names, EXTENSIONS, context, is_parent)
        return context.open_parent(self._parent_name, "vhdx")

    def _read_chunk(self, chunk: int) -> tuple[array[int], int]:
        """The block entries of 4 GiB or 32 GiB of disk, and the sector bitmap's."""
        first = chunk * (self._ratio + 1)
        count = min(self._ratio, self._blocks - chunk * self._ratio)
        offset = self._table_offset + 8 * first
        if not self.metadata.has_parent:
            return table(self._file.read_exactly(offset, 8 * count, "vhdx"), 8, "little"), 0
        entries = table(self._file.read_exactly(offset, 8 * (self._ratio + 1), "vhdx"), 8, "little")
        return entries[:count], entries[self._ratio]

    def _read_bits(self, part: int) -> Bits:
        """Which of the ``BITMAP_PART`` sectors of a part of the disk are its own and not the parent's.

        [MS-VHDX] 2.5.1.2.
        """
        chunk, skip = divmod(part * BITMAP_PART, CHUNK_SECTORS)
        _, entry = self._chunk(chunk)
        if entry & STATE_MASK != FULLY_PRESENT:
            raise FormatError(
                "vhdx", f"no sector bitmap for blocks that are stored in part, in chunk {chunk}"
            )
        offset = (entry & OFFSET_MASK) + skip // 8
        return Bits(self._file.read_exactly(offset, BITMAP_PART // 8, "vhdx"), first_bit="low")

    def _map(self, offset: int) -> Extent:
        block, skip = divmod(offset, self.block_size)
        chunk, index = divmod(block, self._ratio)
        entries, _ = self._chunk(chunk)
        entry = entries[index]
        state, start = entry & STATE_MASK, (entry & OFFSET_MASK) + skip
        if state == FULLY_PRESENT:
            return Extent(
                rising_run(entries, index, self.block_size, self._look) * self.block_size - skip,
                self._file,
                start,
            )
        if state == PARTIALLY_PRESENT and self._parent is not None:
            return self._map_partly(offset, start, self.block_size - skip)
        length = equal_run(entries, index) * self.block_size - skip
        if state == NOT_PRESENT:
            return beneath(self._parent, offset, length)
        if state in (UNDEFINED, ZERO, UNMAPPED):
            return Extent(length)
        raise FormatError("vhdx", f"block {block} is in state {state}", offset=self._table_offset)

    def _map_partly(self, offset: int, start: int, left: int) -> Extent:
        sector, within = divmod(offset, self.metadata.logical_sector)
        part, index = divmod(sector, BITMAP_PART)
        own, sectors = self._bits(part).run(index)
        length = min(left, sectors * self.metadata.logical_sector - within)
        return Extent(length, self._file, start) if own else beneath(self._parent, offset, length)

    def info(self) -> Mapping[str, str]:
        metadata = self.metadata
        creator = (
            self._source.pread(CREATOR_OFFSET, CREATOR_SIZE).decode("utf-16-le", "replace").split("\0")[0]
        )
        facts = {
            "type": "differencing" if metadata.has_parent else "fixed" if metadata.fixed else "dynamic",
            "creator": creator,
            "id": str(metadata.disk_id),
            "blocks": f"{self._blocks} of {self.block_size} bytes",
            "sectors": f"{metadata.logical_sector} bytes logical, {metadata.physical_sector} physical",
        }
        if metadata.has_parent:
            facts["parent"] = self._parent_name
        if self._log is not None:
            facts["log"] = f"replayed in memory ({self._log.entries} entries)"
        return facts

    def verify(self) -> Iterator[str]:
        """Check both headers and region tables and where the blocks are; each yield is one problem."""
        for offset in HEADERS:
            yield from _problem(header_at, self._source, offset)
        for offset in REGION_TABLES:
            yield from _problem(regions_at, self._file, offset)
        for chunk in range(-(-self._blocks // self._ratio)):
            for index, entry in enumerate(self._chunk(chunk)[0]):
                if (
                    entry & STATE_MASK in (FULLY_PRESENT, PARTIALLY_PRESENT)
                    and entry & OFFSET_MASK >= self._file.size
                ):
                    yield f"block {chunk * self._ratio + index} is stored past the end of the file"


def _problem(check: Callable[[BlockDevice, int], object], file: BlockDevice, offset: int) -> Iterator[str]:
    try:
        check(file, offset)
    except FormatError as exc:
        yield f"{exc.reason}, at {offset:#x}"
