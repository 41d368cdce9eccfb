"""The superblock of SquashFS 4.0.

Kernel documentation, squashfs.rst; dr-emann's format description. Older ones: ``old``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from construct import Bytes, ConstructError, Int16ul, Int32ul, Int64ul, Struct

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError, UnsupportedError

NAME: Final = "squashfs"
SIZE: Final = 96
MAGIC: Final = b"hsqs"
MAGIC_BIG: Final = b"sqsh"
MAJOR_AT: Final = 0x1C  # in every version
MIN_BLOCK_LOG: Final = 12
MAX_BLOCK_LOG: Final = 20
NOTHING: Final = 0xFFFF_FFFF_FFFF_FFFF  # in place of the start of a table that is not there

_SUPERBLOCK: Final = Struct(            # offset
    "magic" / Bytes(4),                 # 0x00
    "inodes" / Int32ul,                 # 0x04
    "made" / Int32ul,                   # 0x08
    "block_size" / Int32ul,             # 0x0C
    "fragments" / Int32ul,              # 0x10
    "compressor" / Int16ul,             # 0x14
    "block_log" / Int16ul,              # 0x16
    "flags" / Int16ul,                  # 0x18
    "ids" / Int16ul,                    # 0x1A
    "major" / Int16ul,                  # 0x1C
    "minor" / Int16ul,                  # 0x1E
    "root" / Int64ul,                   # 0x20
    "bytes_used" / Int64ul,             # 0x28
    "id_table" / Int64ul,               # 0x30
    "xattr_table" / Int64ul,            # 0x38
    "inode_table" / Int64ul,            # 0x40
    "directory_table" / Int64ul,        # 0x48
    "fragment_table" / Int64ul,         # 0x50
    "export_table" / Int64ul,           # 0x58
)  # fmt: skip
assert _SUPERBLOCK.sizeof() == SIZE


@dataclass(frozen=True, slots=True)
class Superblock:
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
    order: Literal["little", "big"] = "little"
    version: tuple[int, int] = (4, 0)
    groups: int = 0  # before version 4 users and groups have tables of their own
    group_table: int = 0
    is_checked: bool = False  # a byte stands before each block of metadata

    @classmethod
    def read(cls, device: BlockDevice) -> Superblock:
        """The superblock of version 4. Raises ``FormatError``, ``UnsupportedError``."""
        raw = device.read_exactly(0, SIZE, NAME)
        try:
            fields = _SUPERBLOCK.parse(raw)
        except ConstructError as exc:
            raise FormatError(NAME, f"bad superblock: {exc}", offset=0) from exc
        if fields.magic == MAGIC_BIG:
            raise UnsupportedError(f"{NAME}: version 4 in big endian, which was never released")
        if fields.magic != MAGIC:
            raise FormatError(NAME, "no superblock", offset=0)
        if (fields.major, fields.minor) != (4, 0):
            raise UnsupportedError(f"{NAME}: version {fields.major}.{fields.minor}")
        if (
            not MIN_BLOCK_LOG <= fields.block_log <= MAX_BLOCK_LOG
            or fields.block_size != 1 << fields.block_log
        ):
            raise FormatError(
                NAME, f"blocks of {fields.block_size} bytes, 2**{fields.block_log}", offset=0x0C
            )
        if fields.ids == 0:
            raise FormatError(NAME, "no owners", offset=0x1A)
        if fields.root >> 48:
            raise FormatError(NAME, f"root inode {fields.root:#x}", offset=0x20)
        if not SIZE <= fields.inode_table < fields.directory_table < min(fields.bytes_used, NOTHING):
            raise FormatError(
                NAME, f"tables at {fields.inode_table:#x} and {fields.directory_table:#x}", offset=0x40
            )
        return cls(**{name: fields[name] for name in cls.__slots__ if name in fields})
