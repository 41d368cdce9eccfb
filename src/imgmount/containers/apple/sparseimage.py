"""Sparse disk images of Mac OS X in one file (``.sparseimage``): bands of equal size, stored in any order.

Slot n of an index holds the number of the band in place n behind it, counted from 1; 0 is a free slot. An
index that is full names the next one. Source: libmodi's documentation; the second index as apfs-fuse and
mac_apt read it. Big endian.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.header import within
from imgmount.errors import FormatError, UnsupportedError

MAGIC: Final = b"sprs"
VERSION: Final = 3
HEADER: Final = struct.Struct(">4s4I2Q")  # magic, version, sectors a band, flags, sectors, next, sectors
MORE: Final = struct.Struct(">4s2IQ")  # magic, number, flags, next
INDEX_SIZE: Final = 0x1000
FIRST_SLOT, NEXT_SLOT = 0x40, 0x38
SECTOR: Final = 512
MAX_BAND_SECTORS: Final = 1 << 24  # 8 GiB; hdiutil takes 1 MiB
MAX_SECTORS: Final = 1 << 50
MAX_INDEXES: Final = 1 << 14  # 16 million bands


class SparseImageDevice(MappedDevice):
    """The disk in a sparse image. Bands that are not listed are holes."""

    def __init__(self, file: BlockDevice, _: Context) -> None:
        raw = HEADER.unpack(file.read_exactly(0, HEADER.size, "sparseimage"))
        _, version, band, self._flags, low, following, sectors = raw
        sectors = sectors or low
        if version != VERSION:
            raise UnsupportedError(f"sparseimage: version {version}")
        within("sparseimage", "number of sectors in a band", band, 1, MAX_BAND_SECTORS, offset=8)
        within("sparseimage", "number of sectors", sectors, 0, MAX_SECTORS, offset=0x1C)
        self._file = file
        self.size = sectors * SECTOR
        self.block_size = band * SECTOR
        self._problems: list[str] = []
        places = self._read_indexes(following)
        self._bands = array("Q", sorted(places))
        self._places = array("Q", (places[band] for band in self._bands))

    def _read_indexes(self, following: int) -> dict[int, int]:
        """Where each band that is stored begins."""
        places: dict[int, int] = {}
        at, first, self._indexes = 0, FIRST_SLOT, 0
        while True:
            self._indexes += 1
            slots = table(self._file.read_exactly(at, INDEX_SIZE, "sparseimage")[first:], 4, "big")
            self._collect(slots, at + INDEX_SIZE, places)
            if not following:
                return places
            if following <= at or self._indexes == MAX_INDEXES:
                raise FormatError(
                    "sparseimage", f"index {self._indexes} at {following:#x} leads back", offset=at
                )
            at, first = following, NEXT_SLOT
            magic, _, _, following = MORE.unpack(self._file.read_exactly(at, MORE.size, "sparseimage"))
            if magic != MAGIC:
                raise FormatError(
                    "sparseimage", f"index {self._indexes + 1} begins with {magic!r}", offset=at
                )

    def _collect(self, slots: array[int], start: int, places: dict[int, int]) -> None:
        count = -(-self.size // self.block_size)
        for slot, number in enumerate(slots):
            if number > count:
                self._problems.append(f"a slot for band {number - 1}: the disk has {count}")
            elif number - 1 in places:
                self._problems.append(f"band {number - 1} is stored twice")
            elif number:
                places[number - 1] = start + slot * self.block_size

    def _map(self, offset: int) -> Extent:
        band, skip = divmod(offset, self.block_size)
        index = bisect_right(self._bands, band) - 1
        if index >= 0 and self._bands[index] == band:
            return Extent(self.block_size - skip, self._file, self._places[index] + skip)
        following = self._bands[index + 1] if index + 1 < len(self._bands) else None
        end = self.size if following is None else following * self.block_size
        return Extent(end - offset)

    def info(self) -> Mapping[str, str]:
        count = -(-self.size // self.block_size)
        facts = {"bands": f"{count} of {self.block_size} bytes, {len(self._bands)} stored"}
        return facts | ({"indexes": str(self._indexes)} if self._indexes > 1 else {})

    def verify(self) -> Iterator[str]:
        """What is wrong with the index, a line each."""
        yield from self._problems
        for band, place in zip(self._bands, self._places, strict=True):
            size = min(self.block_size, self.size - band * self.block_size)
            if place + size > self._file.size:
                yield f"band {band} is cut: it ends at {place + size:#x}, the file at {self._file.size:#x}"


def probe(file: BlockDevice) -> Match:
    """CERTAIN for the magic and a version of small number."""
    return Match.CERTAIN if int.from_bytes(file.pread(4, 4), "big") <= VERSION else Match.NO


FORMAT: Final = ContainerFormat(
    name="sparseimage",
    title="Apple sparse image",
    extensions=(".sparseimage",),
    checks="the index and places of bands",
    open=SparseImageDevice,
    probe=probe,
    guest=True,
)
