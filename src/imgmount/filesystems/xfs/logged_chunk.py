"""New inodes as the log has them: how many and where; they are empty until they are used.

Source: XFS Algorithms and Data Structures, "Inode Creation Log Item".
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.header import one_of, within
from imgmount.errors import FormatError
from imgmount.filesystems.xfs.superblock import NAME, SECTOR, Superblock
from imgmount.filesystems.xfs.transactions import Item

_FIELDS: Final = Struct(">4x6I")  # group, block in it, inodes, size of one, blocks, generation
MAX_SIZE: Final = 1 << 20  # bytes of new inodes
_CORE: Final = Struct(">2s2xB87xI4s")  # magic, version, generation, next inode without a name
_NONE: Final = b"\xff" * 4
_NUMBER: Final = slice(152, 160)
_UUID: Final = slice(160, 176)


class ChunkItem(NamedTuple):
    """``inodes`` of them from number ``first`` on, at ``offset`` of the volume."""

    offset: int
    size: int
    first: int
    inodes: int
    generation: int

    @classmethod
    def parse(cls, item: Item, spb: Superblock) -> ChunkItem:
        """Raises ``FormatError``."""
        raw = item.regions[0]
        if len(raw) < _FIELDS.size:
            raise FormatError(NAME, f"an item of {len(raw)} bytes for new inodes in the log")
        group, block, count, inode_size, blocks, generation = _FIELDS.unpack_from(raw)
        one_of(NAME, "size of new inodes", inode_size, (spb.inode_size,))
        size = within(NAME, "size of a chunk of new inodes", blocks * spb.block_size, inode_size, MAX_SIZE)
        one_of(NAME, "number of new inodes", count, (size // inode_size,))
        number = (group << spb.group_shift) + block
        return cls(spb.block(number) * spb.block_size, size, number << spb.inode_shift, count, generation)

    @property
    def sectors(self) -> range:
        return range(self.offset // SECTOR, (self.offset + self.size) // SECTOR)

    def empty(self, spb: Superblock) -> Iterator[tuple[int, bytes]]:
        """(place, content) of each inode, without a checksum."""
        for index in range(self.inodes):
            new = bytearray(spb.inode_size)
            _CORE.pack_into(new, 0, b"IN", 3 if spb.is_checked else 2, self.generation, _NONE)
            if spb.is_checked:
                new[_NUMBER] = (self.first + index).to_bytes(8, "big")
                new[_UUID] = spb.block_uuid
            yield self.offset + index * spb.inode_size, bytes(new)
