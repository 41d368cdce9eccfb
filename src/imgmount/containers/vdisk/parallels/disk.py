"""One expanding Parallels disk: a table of u32, in sectors (version 1) or in blocks (version 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from construct import Bytes, Int32ul, Int64ul, Struct

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.header import parse_header
from imgmount.core.runs import RUN_BYTES, equal_run, rising_run
from imgmount.core.slices import beneath
from imgmount.errors import FormatError, UnsupportedError

_HEADER = Struct(  # offset
    "magic" / Bytes(16),  # 0x00
    "version" / Int32ul,  # 0x10
    "heads" / Int32ul,  # 0x14
    "cylinders" / Int32ul,  # 0x18
    "tracks" / Int32ul,  # 0x1C  sectors of a block
    "entries" / Int32ul,  # 0x20
    "sectors" / Int64ul,  # 0x24  32 bits in version 1
    "in_use" / Int32ul,  # 0x2C
    "data_offset" / Int32ul,  # 0x30  sectors
    "flags" / Int32ul,  # 0x34
)
V1, V2 = MAGICS = (b"WithoutFreeSpace", b"WithouFreSpacExt")
HEADER_SIZE: Final = 64
SECTOR: Final = 512
VERSION: Final = 2
IN_USE: Final = 0x746F_6E59
MAX_TRACKS: Final = 1 << 21  # blocks of 1 GiB
MAX_BLOCKS: Final = 1 << 24


class ParallelsDevice(MappedDevice):
    """The disk in an expanding file, over ``parent`` if it is a snapshot's."""

    def __init__(self, file: BlockDevice, parent: BlockDevice | None) -> None:
        header = parse_header(_HEADER, file, 0, "parallels", "the header")
        if header.magic not in MAGICS:
            raise FormatError("parallels", "not an expanding disk", offset=0)
        if header.version != VERSION:
            raise UnsupportedError(f"parallels: version {header.version}")
        if not 0 < header.tracks <= MAX_TRACKS:
            raise FormatError("parallels", f"blocks of {header.tracks} sectors", offset=0x1C)
        sectors = header.sectors if header.magic == V2 else header.sectors & 0xFFFF_FFFF
        self.size = sectors * SECTOR
        self.block_size = header.tracks * SECTOR
        self.blocks = count = -(-self.size // self.block_size)
        if count > min(header.entries, MAX_BLOCKS):
            raise FormatError(
                "parallels", f"{header.entries} blocks for a disk of {self.size} bytes", offset=0x20
            )
        self._file = file
        self._header = header
        self._parent = parent
        self._table = table(file.read_exactly(HEADER_SIZE, 4 * count, "parallels"), 4, "little")
        self._unit: int = self.block_size if header.magic == V2 else SECTOR
        self._step = self.block_size // self._unit
        self._look = max(1, RUN_BYTES // self.block_size)

    def _map(self, offset: int) -> Extent:
        block, skip = divmod(offset, self.block_size)
        entry = self._table[block]
        if not entry:
            return beneath(self._parent, offset, equal_run(self._table, block) * self.block_size - skip)
        count = rising_run(self._table, block, self._step, self._look)
        return Extent(count * self.block_size - skip, self._file, entry * self._unit + skip)

    def info(self) -> Mapping[str, str]:
        stored = len(self._table) - self._table.count(0)
        facts = {
            "version": "2" if self._header.magic == V2 else "1",
            "blocks": f"{len(self._table)} of {self.block_size} bytes, {stored} stored",
        }
        if self._header.in_use == IN_USE:
            facts["warning"] = "not closed properly"
        return facts

    def verify(self) -> Iterator[str]:
        """What is wrong with the block table, a line each."""
        for block, entry in enumerate(self._table):
            if entry and entry * self._unit >= self._file.size:
                yield f"block {block} is stored past the end of the file"
