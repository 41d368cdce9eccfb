"""The superblock of SquashFS 4.0.

Kernel documentation, squashfs.rst; dr-emann's format description. Older ones: ``old``.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, Literal, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.header import one_of, within
from imgmount.errors import FormatError, UnsupportedError

Order = Literal["little", "big"]

NAME: Final = "squashfs"
SIZE: Final = 96
MAGICS: Final = (b"hsqs", b"sqsh")  # of the two byte orders
# device makers write others over the same structures, so the fields decide what it is
OTHER_MAGICS: Final = (b"shsq", b"qshs", b"hsqt", b"tqsh", b"sqlz", b"zlqs")
MAJOR_AT: Final = 0x1C  # in every version
VERSIONS: Final = range(1, 5)
MIN_BLOCK: Final = 1 << 12
MAX_BLOCK: Final = 1 << 20
NOTHING: Final = 0xFFFF_FFFF_FFFF_FFFF  # in place of the start of a table that is not there

# inodes, time, block size and fragments; compressor, logarithm of the block size, flags, owners, version;
# root, bytes in use, tables: owners, attributes, inodes, directories, fragments, export
_FIELDS: Final = {"little": Struct("<4xIIIIHHHHHHQQQQQQQQ"), "big": Struct(">4xIIIIHHHHHHQQQQQQQQ")}
assert _FIELDS["little"].size == SIZE


def byte_order(raw: bytes) -> Order:
    """The byte order of a superblock of any version.

    It follows from the version, which is the only small field of all versions. Raises ``FormatError``.
    """
    if raw[:4] not in (*MAGICS, *OTHER_MAGICS):
        raise FormatError(
            NAME, f"a superblock begins with {MAGICS[0]!r} or alike, here is {raw[:4]!r}", offset=0
        )
    orders: tuple[Order, ...] = ("little", "big")
    for order in orders:
        if int.from_bytes(raw[MAJOR_AT : MAJOR_AT + 2], order) in VERSIONS:
            return order
    if raw[:4] in MAGICS:
        version = int.from_bytes(raw[MAJOR_AT : MAJOR_AT + 2], orders[MAGICS.index(raw[:4])])
        raise UnsupportedError(f"{NAME}: version {version} is not from 1 to 4")
    raise FormatError(NAME, f"version {raw[MAJOR_AT]} is not from 1 to 4", offset=MAJOR_AT)


class Superblock(NamedTuple):
    """The fields a reader needs, checked. ``root`` is the reference of an inode; tables are byte offsets."""

    inodes: int
    made: int
    block_size: int
    fragments: int
    compressor: int
    flags: int
    ids: int
    root: int
    bytes_used: int
    id_table: int
    xattr_table: int
    inode_table: int
    directory_table: int
    fragment_table: int
    magic: bytes = MAGICS[0]
    order: Order = "little"
    version: tuple[int, int] = (4, 0)
    groups: int = 0  # before version 4 users and groups have tables of their own
    group_table: int = 0
    is_checked: bool = False  # a byte stands before each block of metadata

    @property
    def has_xattrs(self) -> bool:
        """Whether any node may have extended attributes."""
        return self.xattr_table != NOTHING

    @classmethod
    def read(cls, device: BlockDevice, order: Order) -> Superblock:
        """The superblock of version 4. Raises ``FormatError``, ``UnsupportedError``."""
        raw = device.read_exactly(0, SIZE, NAME)
        inodes, made, block, fragments, compressor, log, flags, ids, major, minor, *places = _FIELDS[
            order
        ].unpack(raw)
        root, used, id_table, xattr_table, inode_table, directory_table, fragment_table, _ = places
        if (major, minor) != (4, 0):
            raise UnsupportedError(f"{NAME}: version {major}.{minor}")
        within(NAME, "block size", block, MIN_BLOCK, MAX_BLOCK, power_of_two=True, offset=0x0C)
        one_of(NAME, "logarithm of the block size", log, (block.bit_length() - 1,), offset=0x16)
        within(NAME, "number of owners", ids, 1, 1 << 16, offset=0x1A)
        within(NAME, "root inode", root, 0, (1 << 48) - 1, offset=0x20)
        if not SIZE <= inode_table < directory_table < min(used, NOTHING):
            tables = f"tables at {inode_table:#x} and {directory_table:#x}"
            reason = f"{tables} are not in order from {SIZE:#x} to {used:#x}"
            raise FormatError(NAME, reason, offset=0x40)
        return cls(
            inodes=inodes,
            made=made,
            block_size=block,
            fragments=fragments,
            compressor=compressor,
            flags=flags,
            ids=ids,
            root=root,
            bytes_used=used,
            id_table=id_table,
            xattr_table=xattr_table,
            inode_table=inode_table,
            directory_table=directory_table,
            fragment_table=fragment_table,
            magic=raw[:4],
            order=order,
        )
