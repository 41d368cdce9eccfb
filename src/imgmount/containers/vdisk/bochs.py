"""Bochs "growing" disks: a catalog of extents, each behind a bitmap of the sectors that were written.

"Undoable" and "volatile" redo logs are changes to another image that they do not name: they are refused.
Source: Bochs user manual, "Appendix: Harddisk Images"; QEMU, ``block/bochs.c`` as the reference for
behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from construct import Bytes, Const, Int32ul, Struct

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table, text
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parse_header
from imgmount.core.runs import Bits, equal_run
from imgmount.errors import FormatError, UnsupportedError

MAGIC: Final = b"Bochs Virtual HD Image"
_HEADER = Struct(  # offset
    "magic" / Const(MAGIC.ljust(32, b"\0")),  # 0x00
    "type" / Bytes(16),  # 0x20
    "subtype" / Bytes(16),  # 0x30
    "version" / Int32ul,  # 0x40
    "header_size" / Int32ul,  # 0x44
    "catalog" / Int32ul,  # 0x48  entries
    "bitmap" / Int32ul,  # 0x4C  bytes
    "extent" / Int32ul,  # 0x50  bytes
    "tail" / Bytes(12),  # 0x54  version 1: u64 disk size; 2: u32 time, u64 disk size
)
HEADER_SIZE: Final = 0x60
SECTOR: Final = 512
V1, V2 = 0x1_0000, 0x2_0000
NOT_STORED: Final = 0xFFFF_FFFF
MAX_EXTENT: Final = 8 << 20
MAX_CATALOG: Final = 1 << 23
MAX_BITMAPS: Final = 1024  # kept


class BochsDevice(MappedDevice):
    """The disk in a growing image."""

    def __init__(self, file: BlockDevice, _: Context) -> None:
        header = parse_header(_HEADER, file, 0, "bochs", "the header")
        kind = f"{text(header.type, 'latin-1')} {text(header.subtype, 'latin-1')}"
        if kind != "Redolog Growing":
            raise UnsupportedError(f"bochs: images of type {kind!r}")
        if header.version not in (V1, V2):
            raise UnsupportedError(f"bochs: version {header.version:#x}")
        self.size = int.from_bytes(header.tail[:8] if header.version == V1 else header.tail[4:], "little")
        self.block_size = header.extent
        if not SECTOR <= self.block_size <= MAX_EXTENT or self.block_size & (self.block_size - 1):
            raise FormatError("bochs", f"extents of {self.block_size} bytes", offset=0x50)
        if not self.block_size // SECTOR <= 8 * header.bitmap <= 8 * MAX_EXTENT:
            raise FormatError("bochs", f"a bitmap of {header.bitmap} bytes", offset=0x4C)
        count = -(-self.size // self.block_size)
        if count > min(header.catalog, MAX_CATALOG):
            raise FormatError(
                "bochs", f"{header.catalog} extents for a disk of {self.size} bytes", offset=0x48
            )
        self._file = file
        self._catalog = table(file.read_exactly(header.header_size, 4 * count, "bochs"), 4, "little")
        self._data: int = header.header_size + 4 * header.catalog
        self._bitmap_size: int = -(-header.bitmap // SECTOR) * SECTOR
        self._bits = lru_cache(MAX_BITMAPS)(self._read_bits)

    def _place(self, index: int) -> int:
        """Where extent ``index`` begins, with its bitmap."""
        return self._data + self._catalog[index] * (self._bitmap_size + self.block_size)

    def _read_bits(self, index: int) -> Bits:
        bitmap = self._file.read_exactly(self._place(index), -(-self.block_size // SECTOR // 8), "bochs")
        return Bits(bitmap, first_bit="low")

    def _map(self, offset: int) -> Extent:
        index, skip = divmod(offset, self.block_size)
        if self._catalog[index] == NOT_STORED:
            return Extent(equal_run(self._catalog, index) * self.block_size - skip)
        sector, within = divmod(skip, SECTOR)
        stored, sectors = self._bits(index).run(sector)
        length = min(sectors * SECTOR - within, self.block_size - skip)
        return (
            Extent(length, self._file, self._place(index) + self._bitmap_size + skip)
            if stored
            else Extent(length)
        )

    def info(self) -> Mapping[str, str]:
        stored = len(self._catalog) - self._catalog.count(NOT_STORED)
        return {"extents": f"{len(self._catalog)} of {self.block_size} bytes, {stored} stored"}


FORMAT: Final = ContainerFormat(
    name="bochs", title="Bochs growing disk", extensions=(".bochs", ".img"), open=BochsDevice, guest=True
)
