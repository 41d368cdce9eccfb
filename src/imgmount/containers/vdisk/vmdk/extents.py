"""The sparse extents of a VMware disk: a directory of tables of grains, in three dialects.

Offsets in them are sectors.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from functools import lru_cache
from typing import Any, Final

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.header import parsed
from imgmount.core.layout import Bytes, Const, Int8ul, Int16ul, Int32ul, Int64ul, Padding, Struct
from imgmount.core.runs import RUN_BYTES, equal_run, rising_run
from imgmount.core.slices import beneath
from imgmount.errors import FormatError, UnsupportedError

_SPARSE = Struct(  # offset
    "magic" / Const(b"KDMV"),  # 0x00
    "version" / Int32ul,  # 0x04
    "flags" / Int32ul,  # 0x08
    "capacity" / Int64ul,  # 0x0C  sectors
    "grain" / Int64ul,  # 0x14  sectors
    "descriptor_offset" / Int64ul,  # 0x1C  sectors
    "descriptor_size" / Int64ul,  # 0x24  sectors
    "entries" / Int32ul,  # 0x2C  of a grain table
    "redundant_directory" / Int64ul,  # 0x30  sectors
    "directory" / Int64ul,  # 0x38  sectors
    "overhead" / Int64ul,  # 0x40  sectors before the first grain
    "unclean" / Int8ul,  # 0x48
    "newlines" / Bytes(4),  # 0x49
    "compression" / Int16ul,  # 0x4D
)
_COWD = Struct(  # offset
    "magic" / Const(b"COWD"),  # 0x00
    "version" / Int32ul,  # 0x04
    "flags" / Int32ul,  # 0x08
    "capacity" / Int32ul,  # 0x0C  sectors
    "grain" / Int32ul,  # 0x10  sectors
    "directory" / Int32ul,  # 0x14  sectors
    "tables" / Int32ul,  # 0x18
)
_SESPARSE = Struct(  # offset
    "magic" / Const(0xCAFEBABE, Int64ul),  # 0x00
    "version" / Int64ul,  # 0x08
    "capacity" / Int64ul,  # 0x10  sectors
    "grain" / Int64ul,  # 0x18  sectors
    "table_size" / Int64ul,  # 0x20  sectors
    "flags" / Int64ul,  # 0x28
    Padding(32),  # 0x30
    "volatile_header" / Int64ul,  # 0x50  sectors
    Padding(40),  # 0x58  journal
    "directory" / Int64ul,  # 0x80  sectors
    "directory_size" / Int64ul,  # 0x88  sectors
    "tables" / Int64ul,  # 0x90  sectors
    Padding(40),  # 0x98  free bitmap, back map
    "grains" / Int64ul,  # 0xC0  sectors
)
SECTOR: Final = 512
HEADER_SIZE: Final = 512
MAX_TABLES: Final = 1 << 23  # a directory of 32 MiB: 256 TiB with the usual grains of 64 KiB
MAX_GRAIN: Final = 1 << 17  # sectors: 64 MiB
MAX_ENTRIES: Final = 1 << 16
TABLE_BYTES: Final = 16 << 20  # of grain tables kept

NEWLINE_TEST: Final = 1 << 0  # flags
ZERO_GRAINS: Final = 1 << 2
COMPRESSED: Final = 1 << 16
MARKERS: Final = 1 << 17
NEWLINES: Final = b"\n \r\n"
AT_END: Final = (1 << 64) - 1  # the directory's place is in the footer

COWD_ENTRIES: Final = 4096

SE_VERSION: Final = 0x2_0000_0001
SE_VOLATILE_MAGIC: Final = 0xCAFECAFE
SE_VOLATILE = Struct("magic" / Int64ul, "free" / Int64ul, "sequence" / Int64ul, "replay" / Int8ul)
SE_VOLATILE_SIZE: Final = 25
SE_TABLE: Final = 0x1000_0000  # the upper half of a directory entry
SE_KIND: Final = 60  # shift of a grain's state
SE_FREE, SE_UNMAPPED, SE_ZERO, SE_STORED = range(4)
SE_NEXT: Final = 1 << 48  # a grain's number is split: its low 12 bits are bits 48-59 of the entry
SE_HIGH_MASK: Final = SE_NEXT - 1


class Beneath:
    """What shows through where an extent stores nothing.

    The parent disk, seen from the extent's place in it.
    """

    def __init__(self, parent: BlockDevice | None = None, start: int = 0) -> None:
        self._parent = parent
        self._start = start

    def extent(self, offset: int, length: int) -> Extent:
        """Up to ``length`` bytes at ``offset`` of the extent."""
        return beneath(self._parent, self._start + offset, length)


class SparseExtent(MappedDevice):
    """Two levels of tables. Subclasses read a table and say what an entry that is not 0 means."""

    def __init__(self, file: BlockDevice, capacity: int, grain: int, entries: int, below: Beneath) -> None:
        """``capacity`` and ``grain`` in sectors, ``entries`` of a table."""
        if not 0 < grain <= MAX_GRAIN or grain & (grain - 1):
            raise FormatError("vmdk", f"grains of {grain} sectors")
        if not 0 < entries <= MAX_ENTRIES:
            raise FormatError("vmdk", f"{entries} entries a grain table")
        self.file = file
        self.size = capacity * SECTOR
        self.block_size = grain * SECTOR
        self.entries = entries
        self.count = -(-capacity // (grain * entries))
        if self.count > MAX_TABLES:
            raise FormatError("vmdk", f"a disk of {capacity} sectors in grains of {grain}")
        self.look = max(1, RUN_BYTES // self.block_size)
        self._below = below
        self.table = lru_cache(max(4, TABLE_BYTES // (8 * entries)))(self._read_table)

    @abstractmethod
    def _directory(self) -> array[int]:
        """One entry a table, 0 where there is none."""

    @abstractmethod
    def _read_table(self, index: int) -> array[int]:
        """Grain table ``index``, which the directory says there is.

        An entry a grain, 0 where none is stored.
        """

    @abstractmethod
    def _map_stored(self, entries: array[int], index: int, offset: int) -> Extent:
        """The extent at ``offset``, for which ``entries[index]``, not 0, stands."""

    def _map(self, offset: int) -> Extent:
        grain, skip = divmod(offset, self.block_size)
        table_index, index = divmod(grain, self.entries)
        directory = self._directory()
        if not directory[table_index]:
            grains = equal_run(directory, table_index) * self.entries - index
            return self._below.extent(offset, grains * self.block_size - skip)
        entries = self.table(table_index)
        if not entries[index]:
            return self._below.extent(offset, equal_run(entries, index) * self.block_size - skip)
        return self._map_stored(entries, index, offset)


class HostedExtent(SparseExtent):
    """KDMV, uncompressed: the extents of Workstation and of exported disks."""

    def __init__(self, file: BlockDevice, header: Any, below: Beneath) -> None:
        super().__init__(file, header.capacity, header.grain, header.entries, below)
        self._zeros = bool(header.flags & ZERO_GRAINS)
        self._tables = table(
            file.read_exactly(header.directory * SECTOR, 4 * self.count, "vmdk"), 4, "little"
        )

    @staticmethod
    def header(file: BlockDevice, offset: int = 0) -> Any:
        """The header at ``offset``, checked as far as all KDMV files are alike. Raises ``FormatError``."""
        header = parsed(_SPARSE, file.read_exactly(offset, HEADER_SIZE, "vmdk"), offset, "vmdk", "the header")
        if header.version not in (1, 2, 3):
            raise UnsupportedError(f"vmdk: version {header.version}")
        if header.flags & NEWLINE_TEST and header.newlines != NEWLINES:
            raise FormatError(
                "vmdk", "a transfer as text has changed the newlines: the data is lost", offset=0x49
            )
        return header

    def _directory(self) -> array[int]:
        return self._tables

    def _read_table(self, index: int) -> array[int]:
        return table(
            self.file.read_exactly(self._tables[index] * SECTOR, 4 * self.entries, "vmdk"), 4, "little"
        )

    def _map_stored(self, entries: array[int], index: int, offset: int) -> Extent:
        skip = offset % self.block_size
        if entries[index] == 1 and self._zeros:
            return Extent(equal_run(entries, index) * self.block_size - skip)
        count = rising_run(entries, index, self.block_size // SECTOR, self.look)
        return Extent(count * self.block_size - skip, self.file, entries[index] * SECTOR + skip)


class CowdExtent(HostedExtent):
    """COWD, VMFS sparse: the snapshots of ESX. Tables of 4096 grains, usually of one sector."""

    def __init__(self, file: BlockDevice, below: Beneath) -> None:
        header = parsed(_COWD, file.read_exactly(0, HEADER_SIZE, "vmdk"), 0, "vmdk", "the header")
        if header.version != 1:
            raise UnsupportedError(f"vmdk: COWD version {header.version}")
        header.entries = COWD_ENTRIES
        super().__init__(file, header, below)
        if self.count > header.tables:
            raise FormatError(
                "vmdk", f"{header.tables} grain tables for {header.capacity} sectors", offset=0x18
            )
        self._zeros = False


class SeSparseExtent(SparseExtent):
    """SESparse, space-efficient: the snapshots of ESXi 6.5 and later. Entries are 64 bits wide."""

    def __init__(self, file: BlockDevice, below: Beneath) -> None:
        header = parsed(_SESPARSE, file.read_exactly(0, HEADER_SIZE, "vmdk"), 0, "vmdk", "the header")
        if header.version != SE_VERSION:
            raise UnsupportedError(f"vmdk: SESparse version {header.version:#x}")
        if header.flags:
            raise UnsupportedError(f"vmdk: SESparse flags {header.flags:#x}")
        if header.table_size > MAX_ENTRIES * 8 // SECTOR:
            raise FormatError("vmdk", f"grain tables of {header.table_size} sectors", offset=0x20)
        super().__init__(file, header.capacity, header.grain, header.table_size * SECTOR // 8, below)
        place = header.volatile_header * SECTOR
        raw = file.read_exactly(place, SE_VOLATILE_SIZE, "vmdk")
        volatile = parsed(SE_VOLATILE, raw, place, "vmdk", "the volatile header")
        if volatile.magic != SE_VOLATILE_MAGIC:
            raise FormatError("vmdk", "no volatile header", offset=place)
        if volatile.replay:
            raise UnsupportedError("vmdk: SESparse with a journal to replay: open the disk with ESXi once")
        self._tables = table(
            file.read_exactly(header.directory * SECTOR, 8 * self.count, "vmdk"), 8, "little"
        )
        self._first_table = header.tables * SECTOR
        self._first_grain = header.grains * SECTOR

    def _directory(self) -> array[int]:
        return self._tables

    def _read_table(self, index: int) -> array[int]:
        kind, number = divmod(self._tables[index], 1 << 32)
        if kind != SE_TABLE:
            raise FormatError("vmdk", f"entry {index} of the grain directory is {self._tables[index]:#x}")
        offset = self._first_table + number * self.entries * 8
        return table(self.file.read_exactly(offset, 8 * self.entries, "vmdk"), 8, "little")

    def _map_stored(self, entries: array[int], index: int, offset: int) -> Extent:
        entry, skip = entries[index], offset % self.block_size
        kind = entry >> SE_KIND
        if kind in (SE_UNMAPPED, SE_ZERO):  # what the guest has trimmed reads as zeros, not as the parent
            return Extent(equal_run(entries, index) * self.block_size - skip)
        if kind != SE_STORED:
            raise FormatError("vmdk", f"grain {offset // self.block_size} is stored as {entry:#x}")
        grain = (entry & SE_HIGH_MASK) << 12 | entry >> 48 & 0xFFF
        count = rising_run(entries, index, SE_NEXT, self.look)
        return Extent(
            count * self.block_size - skip, self.file, self._first_grain + grain * self.block_size + skip
        )
