"""The Wii backup file system: GameCube and Wii discs without unused sectors, in a file or on a disk.

Layout, big endian: a header of one disk sector with a byte for each slot, then for each slot a copy of the
disc's first 256 bytes and a u16 for each WBFS sector of the disc: where that one is stored, 0 if it is not.
The size of a disc is not stored: it is taken to end with its last stored sector. Source: libwbfs.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Final, NamedTuple, Self

from construct import Const, Int8ub, Int32ub, Padding, Struct

from imgmount.core.device import BlockDevice, Extent
from imgmount.core.fields import table, text
from imgmount.core.header import one_of, parse_header
from imgmount.core.runs import rising_run
from imgmount.errors import FormatError
from imgmount.families.nintendo.nkit import SparseDisc

_HEADER = Struct(  # offset
    "magic" / Const(b"WBFS"),  # 0x00
    "hd_sectors" / Int32ub,  # 0x04  of the whole file system
    "hd_shift" / Int8ub,  # 0x08  log2 of the disk's sectors
    "wbfs_shift" / Int8ub,  # 0x09  log2 of the WBFS sectors
    "version" / Int8ub,  # 0x0A
    Padding(1),
)
HEADER_SIZE: Final = 12
DISC_COPY: Final = 0x100
WII_SHIFT: Final = 15
WII_SECTORS: Final = 143432 * 2  # 32 KiB sectors of a dual layer disc
HD_SHIFTS: Final = range(9, 17)
WBFS_SHIFTS: Final = range(WII_SHIFT, 28)
MAX_DISCS: Final = 1 << 10  # a disk with sectors of 512 bytes has room for 500
MAX_INDEX: Final = 32 << 20  # of all discs
MAX_RUN: Final = 64  # sectors looked at for one extent


class Wbfs(NamedTuple):
    """The file system. ``slots`` are those that are used."""

    hd_sector: int
    sector: int
    slots: list[int]

    @classmethod
    def read(cls, file: BlockDevice) -> Self:
        """Raises ``FormatError``."""
        header = parse_header(_HEADER, file, 0, "wbfs", "the header")
        one_of(
            "wbfs", "binary logarithm of the disk's sector size", header.hd_shift, tuple(HD_SHIFTS), offset=8
        )
        one_of(
            "wbfs",
            "binary logarithm of the WBFS sector size",
            header.wbfs_shift,
            tuple(WBFS_SHIFTS),
            offset=9,
        )
        hd_sector = 1 << header.hd_shift
        used = file.read_exactly(HEADER_SIZE, hd_sector - HEADER_SIZE, "wbfs")
        slots = [slot for slot, byte in enumerate(used) if byte]
        if not slots:
            raise FormatError("wbfs", "no slot for a disc is in use", offset=HEADER_SIZE)
        found = cls(hd_sector, 1 << header.wbfs_shift, slots)
        if len(slots) > MAX_DISCS or 2 * len(slots) * found.sectors_per_disc > MAX_INDEX:
            discs = f"{len(slots)} discs of up to {found.sectors_per_disc} sectors"
            reason = f"{discs} are more than {MAX_DISCS} or too large"
            raise FormatError("wbfs", reason, offset=HEADER_SIZE)
        return found

    @property
    def sectors_per_disc(self) -> int:
        """WBFS sectors of the largest disc: entries in the index of each."""
        return (WII_SECTORS << WII_SHIFT) // self.sector

    def place(self, slot: int) -> int:
        """Where the description of the disc in ``slot`` is."""
        size = DISC_COPY + 2 * self.sectors_per_disc
        return self.hd_sector + slot * (-(-size // self.hd_sector) * self.hd_sector)

    def disc(self, file: BlockDevice, slot: int) -> WbfsDisc:
        """The disc in ``slot``. Raises ``FormatError``."""
        raw = file.read_exactly(self.place(slot), DISC_COPY + 2 * self.sectors_per_disc, "wbfs")
        stored = raw[DISC_COPY:].rstrip(b"\0")
        index = table(stored + bytes(len(stored) % 2), 2, "big")
        if not index:
            raise FormatError("wbfs", f"the disc in slot {slot} has no sectors", offset=self.place(slot))
        return WbfsDisc(file, self.sector, index, f"{text(raw[:6])} {text(raw[0x20:0x60], 'cp932')}".strip())


class WbfsDisc(SparseDisc):
    """A disc: sector n is stored as sector ``index[n]`` of ``file``, or zeros."""

    def __init__(self, file: BlockDevice, sector: int, index: array[int], name: str) -> None:
        self.name = name  # id and title
        self._file = file
        self._index = index
        self.block_size = sector
        self.size = len(index) * sector

    def _map(self, offset: int) -> Extent:
        first, skip = divmod(offset, self.block_size)
        stored = self._index[first]
        length = rising_run(self._index, first, 1 if stored else 0, MAX_RUN) * self.block_size - skip
        if not stored:
            return Extent(length)
        start = stored * self.block_size + skip
        if start >= self._file.size:
            raise FormatError("wbfs", f"sector {first} is said to lie past the end of the file")
        return Extent(min(length, self._file.size - start), self._file, start)

    def is_stored(self, block: int) -> bool:
        return block < len(self._index) and self._index[block] != 0

    def info(self) -> Mapping[str, str]:
        stored = sum(1 for entry in self._index if entry)
        return {
            "disc": self.name,
            "sectors": f"{len(self._index)} of {self.block_size} bytes, {stored} stored",
        }
