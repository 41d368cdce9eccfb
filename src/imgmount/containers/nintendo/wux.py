"""Wii U disc images with equal sectors stored once (WUX). The raw view needs no key.

Layout, little endian: a 32-byte header, an index of one u32 per sector, and from the next multiple of the
sector size the stored sectors. Source: WudCompress by Exzap, which defined the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from construct import Bytes, Const, Int32ul, Int64ul, Padding, Struct

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parse_header, within
from imgmount.core.runs import equal_run, rising_run
from imgmount.errors import FormatError

_HEADER = Struct(  # offset
    "magic" / Const(b"WUX0\x2e\xd0\x99\x10"),  # 0x00
    "sector_size" / Int32ul,  # 0x08  0x8000 in every known file
    Padding(4),  # 0x0C
    "size" / Int64ul,  # 0x10  of the disc
    "flags" / Int32ul,  # 0x18  meaning unknown, ignored by every reader
    "reserved" / Bytes(4),  # 0x1C
)
HEADER_SIZE: Final = 32
MIN_SECTOR: Final = 0x100
MAX_SECTOR: Final = 0x800_0000
MAX_SECTORS: Final = 1 << 21  # a 25 GB disc has 763,704 sectors of 32 KiB
MAX_RUN: Final = 64  # sectors looked at for one extent: 2 MiB, more than any request


class WuxDevice(MappedDevice):
    """The disc inside a WUX file."""

    def __init__(self, file: BlockDevice, _: Context) -> None:
        header = parse_header(_HEADER, file, 0, "wux", "the header")
        self.block_size = within(
            "wux", "sector size", header.sector_size, MIN_SECTOR, MAX_SECTOR, power_of_two=True, offset=8
        )
        self.size = within("wux", "disc size", header.size, 1, MAX_SECTORS * self.block_size, offset=0x10)
        count = -(-self.size // self.block_size)
        self._zero = -1  # the stored sector that is found to be all zeros
        self._file = file
        self._index = table(file.read_exactly(HEADER_SIZE, 4 * count, "wux"), 4, "little")
        self._data = -(-(HEADER_SIZE + 4 * count) // self.block_size) * self.block_size

    def _map(self, offset: int) -> Extent:
        first, skip = divmod(offset, self.block_size)
        stored = self._index[first]
        repeated = equal_run(self._index, first, MAX_RUN)
        if repeated > 1 and self._is_zero(stored):
            return Extent(repeated * self.block_size - skip)
        run = rising_run(self._index, first, 1, MAX_RUN)
        start = self._data + stored * self.block_size + skip
        if start >= self._file.size:
            raise FormatError(
                "wux",
                f"sector {first} is said to lie past the end of the file",
                offset=HEADER_SIZE + 4 * first,
            )
        return Extent(run * self.block_size - skip, self._file, start)

    def _is_zero(self, stored: int) -> bool:
        """Whether ``stored``, which is repeated, holds only zeros: then its repetitions are a hole."""
        if self._zero < 0:
            start = self._data + stored * self.block_size
            if start + self.block_size <= self._file.size and not any(
                self._file.pread(start, self.block_size)
            ):
                self._zero = stored
        return stored == self._zero

    def info(self) -> Mapping[str, str]:
        stored = max(0, self._file.size - self._data) // self.block_size
        return {"sectors": f"{len(self._index)} of {self.block_size} bytes, {stored} stored"}


FORMAT: Final = ContainerFormat(
    name="wux", title="Wii U disc image, deduplicated", extensions=(".wux",), open=WuxDevice
)
