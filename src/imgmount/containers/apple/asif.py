"""Apple Sparse Image Format (ASIF) of macOS 26: chunks behind a directory of tables; holes within chunks too.

Source: huven/asif-format (2026), of what diskutil writes; Apple published no specification. Big endian.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final
from uuid import UUID

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import within
from imgmount.core.runs import MAX_EQUAL, RUN_BYTES, equal_run, rising_run
from imgmount.errors import FormatError, UnsupportedError

NAME: Final = "asif"
MAGIC: Final = b"shdw"
HEADER: Final = struct.Struct(">4s3I2Q16s2QI2HQ")
VERSION: Final = 1
MIN_CHUNK, MAX_CHUNK = 1 << 16, 1 << 26
BLOCKS: Final = (512, 4096)  # the smallest and the largest
MAX_SECTORS: Final = 1 << 50
MAX_TABLES: Final = 1 << 20
TABLES_KEPT: Final = 8  # each maps about 126 GiB and takes 1 MiB
BITMAPS_KEPT: Final = 16
CHUNK_BITS: Final = (1 << 55) - 1
EMPTY, WHOLE, PARTIAL = 0, 1, 3  # the top two bits of an entry
UNWRITTEN, WRITTEN = 0, 1  # the two bits of a sector in a bitmap
PER_BYTE: Final = 4


class AsifDevice(MappedDevice):
    """The disk in an ASIF image. What was never written is a hole, down to single sectors."""

    def __init__(self, file: BlockDevice, _: Context) -> None:
        raw = HEADER.unpack(file.read_exactly(0, HEADER.size, NAME))
        _, version, _, _, *directories, identifier, sectors, most, chunk, block, _, _ = raw
        if version != VERSION:
            raise UnsupportedError(f"{NAME}: version {version}")
        within(NAME, "chunk size", chunk, MIN_CHUNK, MAX_CHUNK, power_of_two=True, offset=0x40)
        within(NAME, "sector size", block, *BLOCKS, power_of_two=True, offset=0x44)
        within(NAME, "largest number of sectors", most, 0, MAX_SECTORS, offset=0x38)
        within(NAME, "number of sectors", sectors, 0, most, offset=0x30)
        self._file = file
        self._identifier = identifier
        self._most = most * block
        self.size = sectors * block
        self.block_size = chunk
        self._sector = block
        self._group = PER_BYTE * block  # chunks that share a bitmap
        groups = chunk // (8 * (self._group + 1))
        if not groups:
            raise FormatError(NAME, f"chunks of {chunk} bytes are too small for their tables", offset=0x40)
        self._span = groups * self._group  # chunks that a table maps
        self._look = max(1, RUN_BYTES // chunk)
        self._directory = self._newest(directories)
        self._table = lru_cache(TABLES_KEPT)(self._read_table)
        self._bitmap = lru_cache(BITMAPS_KEPT)(self._read_bitmap)

    def _newest(self, places: list[int]) -> array[int]:
        """The entries of the directory with the higher number, as far as the disk needs them."""
        count = -(-self.size // (self._span * self.block_size))
        if count > MAX_TABLES:
            raise FormatError(NAME, f"a disk of {count} tables", offset=0x30)
        size = 8 * (count + 1)
        sound = [place for place in places if place > 0 and place + size <= self._file.size]
        found = [table(self._file.read_exactly(place, size, NAME), 8, "big") for place in sound]
        if not found:
            raise FormatError(NAME, f"no directory at {places[0]:#x} or {places[1]:#x}", offset=0x10)
        self.generation = max(one[0] for one in found)
        return next(one[1:] for one in found if one[0] == self.generation)

    def _read_table(self, index: int) -> array[int]:
        start = (self._directory[index] & CHUNK_BITS) * self.block_size
        return table(self._file.read_exactly(start, self.block_size, NAME), 8, "big")

    def _read_bitmap(self, chunk: int) -> bytes:
        return self._file.read_exactly(chunk * self.block_size, self.block_size, NAME)

    def _map(self, offset: int) -> Extent:
        chunk, skip = divmod(offset, self.block_size)
        index, inside = divmod(chunk, self._span)
        if not self._directory[index]:
            empty = equal_run(self._directory, index)
            return Extent((index + empty) * self._span * self.block_size - offset)
        entries = self._table(index)
        group, place = divmod(inside, self._group)
        at = group * (self._group + 1) + place
        entry = entries[at]
        left = self._group - place  # entries up to the one of the bitmap
        state, stored = entry >> 62, entry & CHUNK_BITS
        if entry == 0:
            return Extent(equal_run(entries, at, min(left, MAX_EQUAL)) * self.block_size - skip)
        if state == WHOLE and stored:
            count = rising_run(entries, at, 1, min(left, self._look))
            return Extent(count * self.block_size - skip, self._file, stored * self.block_size + skip)
        if state == PARTIAL and stored:
            return self._partial(offset, stored, entries[at + left] & CHUNK_BITS)
        raise UnsupportedError(
            f"{NAME}: chunk {chunk} in state {state} at {stored}: what that means is not known"
        )

    def _partial(self, offset: int, stored: int, bitmap: int) -> Extent:
        """Sectors that are alike, in a chunk of which only some have been written."""
        if not bitmap:
            raise FormatError(
                NAME, f"chunk {offset // self.block_size} is in part written, and has no bitmap"
            )
        states = self._bitmap(bitmap)
        sector, skip = divmod(offset, self._sector)
        first = sector % (self.block_size // self._sector * self._group)
        left = (self.block_size - offset % self.block_size + skip) // self._sector
        state = _state(states, first)
        count = 1
        while count < left and _state(states, first + count) == state:
            count += 1
        length = count * self._sector - skip
        if state == UNWRITTEN:
            return Extent(length)
        if state != WRITTEN:
            raise UnsupportedError(f"{NAME}: sector {sector} in state {state}: what that means is not known")
        return Extent(length, self._file, stored * self.block_size + offset % self.block_size)

    def info(self) -> Mapping[str, str]:
        return {
            "chunks": f"{self.block_size} bytes",
            "sectors": f"{self._sector} bytes",
            "largest size": f"{self._most} bytes",
            "directory": f"generation {self.generation}",
            "identifier": str(UUID(bytes=self._identifier)),
        }

    def verify(self) -> Iterator[str]:
        """Tables and chunks that lie outside the file, or are stored twice."""
        seen: set[int] = set()
        for index, entry in enumerate(self._directory):
            if not entry:
                continue
            if ((entry & CHUNK_BITS) + 1) * self.block_size > self._file.size:
                yield f"table {index} lies past the end of the file"
                continue
            for value in self._table(index)[: self._span + self._span // self._group]:
                stored = value & CHUNK_BITS
                if stored and stored * self.block_size >= self._file.size:
                    yield f"a chunk of table {index} lies past the end of the file"
                elif stored and stored in seen:
                    yield f"chunk {stored} of the file is used twice"
                seen.add(stored)


def _state(bitmap: bytes, sector: int) -> int:
    """The two bits of a sector; the first of a byte are the low ones."""
    return bitmap[sector // PER_BYTE] >> sector % PER_BYTE * 2 & 3


FORMAT: Final = ContainerFormat(
    name=NAME,
    title="Apple sparse image format (ASIF)",
    extensions=(".asif",),
    checks="that tables and chunks lie in the file, each once",
    open=AsifDevice,
    guest=True,
)
