"""The superblock, and how numbers of blocks and inodes name places.

XFS Algorithms and Data Structures, "Superblocks".
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import text
from imgmount.core.header import one_of, within
from imgmount.errors import FormatError, UnsupportedError
from imgmount.filesystems.xfs import checksums

NAME: Final = "xfs"
SIZE: Final = 512
SECTOR: Final = 512  # in which the log counts, whatever the sectors of the device are
MAGIC: Final = b"XFSB"
# block size, blocks, realtime blocks, UUID, start of the log, root inode, blocks a group, groups, blocks of
# the log, version, sizes of sector and inode, label, logarithms of block size, inode size, inodes a block
# and blocks a group, inodes, free ones, free blocks, logarithm of blocks in a block of a directory
_FIELDS: Final = Struct(">4xIQQ8x16sQQ20xII4xIHHH2x12sBxBBB3xQQQ40xB")
_FEATURES_2: Final = Struct(">200xI")
_INCOMPAT: Final = Struct(">216xI")
_BLOCK_UUID: Final = slice(248, 264)

VERSION_MASK: Final = 0x000F
ATTRIBUTES: Final = 0x10  # some inode has, or had, extended attributes
DIRECTORIES_2: Final = 0x2000  # of version 4
IGNORES_CASE: Final = 0x4000  # of ASCII letters
LOG_2: Final = 0x400
VERSIONS: Final = (4, 5)
FILE_TYPES_4: Final = 0x200  # in the second word of features
FILE_TYPES: Final = 0x1  # incompatible features of version 5
NAMES: Final = (
    "ftype",
    "sparse inodes",
    "meta_uuid",
    "bigtime",
    "needs repair",
    "nrext64",
    "exchange",
    "parent",
)
BLOCK_UUID: Final = 0x4
NEEDS_REPAIR: Final = 0x10
UNKNOWN_INCOMPAT: Final = -1 << len(NAMES)
BLOCK_SIZES: Final = range(512, 65537)
MAX_INODE: Final = 1 << 47


class Superblock(NamedTuple):
    """The fields a reader needs, checked. Names that end in ``shift`` are logarithms."""

    offset: int  # of this copy on the device
    raw: bytes
    version: int
    block_size: int
    blocks: int
    realtime_blocks: int
    uuid: bytes
    log_start: int  # 0: on another device
    log_blocks: int
    root: int
    group_blocks: int
    groups: int
    sector_size: int
    inode_size: int
    inode_shift: int  # inodes a block
    group_shift: int  # blocks a group, rounded up
    directory_block: int  # bytes
    inodes: int
    free_inodes: int
    free_blocks: int
    incompat: int
    label: str
    typed_entries: bool
    ignores_case: bool
    has_log_2: bool
    has_attributes: bool

    @property
    def checksum_is_right(self) -> bool:
        """Whether the checksum over the sector is right; True for version 4, which has none."""
        return not self.is_checked or checksums.is_right(self.raw, checksums.SUPERBLOCK)

    @property
    def is_checked(self) -> bool:
        """Whether metadata has checksums."""
        return self.version == VERSIONS[-1]

    @property
    def has_block_uuid(self) -> bool:
        """Whether blocks bear another UUID than the volume, which was given a new one."""
        return bool(self.incompat & BLOCK_UUID)

    @property
    def block_uuid(self) -> bytes:
        """The UUID that blocks of metadata bear."""
        return self.raw[_BLOCK_UUID] if self.has_block_uuid else self.uuid

    def block(self, number: int) -> int:
        """The block on the device that a number means, whose upper bits are the group.

        Raises ``FormatError``.
        """
        group, block = divmod(number, 1 << self.group_shift)
        place = group * self.group_blocks + block
        if block >= self.group_blocks or not 0 < place < self.blocks:
            raise FormatError(NAME, f"block {number:#x} of {self.blocks}")
        return place

    def inode_offset(self, number: int) -> int:
        """Where an inode is on the device. Raises ``FormatError``."""
        if not 0 < number < MAX_INODE:
            raise FormatError(NAME, f"inode {number}")
        block, index = divmod(number, 1 << self.inode_shift)
        return self.block(block) * self.block_size + index * self.inode_size


def parse_superblock(device: BlockDevice, offset: int) -> Superblock:
    """The superblock at ``offset``, the start of a group. Raises ``FormatError``, ``UnsupportedError``."""
    raw = device.read_exactly(offset, SIZE, NAME)
    if raw[:4] != MAGIC:
        raise FormatError(NAME, f"a superblock begins with {MAGIC!r}, here is {raw[:4]!r}", offset=offset)
    fields = _FIELDS.unpack_from(raw)
    block_size, blocks, realtime, uuid, log, root, group_blocks, groups, log_blocks, flags, *rest = fields
    sector, inode_size, label, block_log, inode_log, per_block_log, group_log, *counts = rest
    inodes, free_inodes, free_blocks, directory_log = counts
    version = flags & VERSION_MASK
    if version not in VERSIONS or (version == VERSIONS[0] and not flags & DIRECTORIES_2):
        raise UnsupportedError(
            f"{NAME}: version {version}" + (" with directories of version 1" if version == 4 else "")
        )
    (features,) = _INCOMPAT.unpack_from(raw)
    incompat = features if version == VERSIONS[-1] else 0
    if incompat & UNKNOWN_INCOMPAT:
        raise UnsupportedError(f"{NAME}: incompatible features {incompat & UNKNOWN_INCOMPAT:#x}")

    def check(name: str, value: int, low: int, high: int, at: int, *, power_of_two: bool = False) -> int:
        return within(NAME, name, value, low, high, power_of_two=power_of_two, offset=offset + at)

    def told(name: str, value: int, right: int, at: int) -> int:
        return one_of(NAME, f"logarithm of {name}", value, (right,), offset=offset + at)

    check("block size", block_size, BLOCK_SIZES[0], BLOCK_SIZES[-1], 4, power_of_two=True)
    told("the block size", block_log, block_size.bit_length() - 1, 0x78)
    check("inode size", inode_size, 256, min(2048, block_size), 0x68, power_of_two=True)
    told("the inode size", inode_log, inode_size.bit_length() - 1, 0x7A)
    told("inodes in a block", per_block_log, block_log - inode_log, 0x7B)
    check("blocks in a group", group_blocks, 1, 1 << 31, 0x54)
    check("number of groups", groups, 1, 1 << 31, 0x58)
    check("number of blocks", blocks, (groups - 1) * group_blocks + 1, groups * group_blocks, 8)
    told("blocks in a group", group_log, (group_blocks - 1).bit_length(), 0x7C)
    check("sector size", sector, SIZE, block_size, 0x66, power_of_two=True)
    check("logarithm of blocks in a block of a directory", directory_log, 0, 16 - block_log, 0xC0)
    (second,) = _FEATURES_2.unpack_from(raw)
    return Superblock(
        offset=offset,
        raw=device.read_exactly(offset, sector, NAME),
        version=version,
        block_size=block_size,
        blocks=blocks,
        realtime_blocks=realtime,
        uuid=uuid,
        log_start=log,
        log_blocks=log_blocks,
        root=root,
        group_blocks=group_blocks,
        groups=groups,
        sector_size=sector,
        inode_size=inode_size,
        inode_shift=per_block_log,
        group_shift=group_log,
        directory_block=block_size << directory_log,
        inodes=inodes,
        free_inodes=free_inodes,
        free_blocks=free_blocks,
        incompat=incompat,
        label=text(label, "utf-8"),
        typed_entries=bool(incompat & FILE_TYPES if version == VERSIONS[-1] else second & FILE_TYPES_4),
        ignores_case=bool(flags & IGNORES_CASE),
        has_log_2=bool(flags & LOG_2),
        has_attributes=bool(flags & ATTRIBUTES),
    )
