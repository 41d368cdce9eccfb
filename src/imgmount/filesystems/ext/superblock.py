"""The superblock and its backups. Kernel documentation, ext4/super.rst."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import text
from imgmount.core.header import one_of, parse_header, within
from imgmount.core.layout import Bytes, Int8ul, Int16ul, Int32sl, Int32ul, Padding, Struct
from imgmount.errors import FormatError, UnsupportedError
from imgmount.filesystems.ext.checksums import metadata_crc

log = logging.getLogger(__name__)

NAME: Final = "ext"
PRIMARY: Final = 1024
SIZE: Final = 1024
MAGIC: Final = 0xEF53
BACKUPS: Final = {1024: 8193 * 1024, 2048: 16384 * 2048, 4096: 32768 * 4096}  # of group 1, by block size
MAX_LOG_BLOCK_SIZE: Final = 6  # 64 KiB
MIN_INODE_SIZE: Final = 128
MIN_DESCRIPTOR: Final = 32
WIDE_DESCRIPTOR: Final = 64
CHECKSUM_AT: Final = 0x3FC
HURD: Final = 1  # s_creator_os

_SUPERBLOCK: Final = Struct(          # offset
    "inodes" / Int32ul,               # 0x00
    "blocks_low" / Int32ul,           # 0x04
    Padding(4),                       # 0x08
    "free_blocks_low" / Int32ul,      # 0x0C
    "free_inodes" / Int32ul,          # 0x10
    "first_data_block" / Int32ul,     # 0x14
    "log_block_size" / Int32ul,       # 0x18
    "log_cluster_size" / Int32ul,     # 0x1C
    "blocks_per_group" / Int32ul,     # 0x20
    Padding(4),                       # 0x24
    "inodes_per_group" / Int32ul,     # 0x28
    Padding(4),                       # 0x2C
    "written" / Int32sl,              # 0x30
    Padding(4),                       # 0x34
    "magic" / Int16ul,                # 0x38
    "state" / Int16ul,                # 0x3A
    Padding(12),                      # 0x3C
    "creator_os" / Int32ul,           # 0x48
    "revision" / Int32ul,             # 0x4C
    Padding(8),                       # 0x50
    "inode_size" / Int16ul,           # 0x58
    "group" / Int16ul,                # 0x5A  that this copy is in
    "compat" / Int32ul,               # 0x5C
    "incompat" / Int32ul,             # 0x60
    "ro_compat" / Int32ul,            # 0x64
    "uuid" / Bytes(16),               # 0x68
    "label" / Bytes(16),              # 0x78
    Padding(0x58),                    # 0x88
    "journal_inode" / Int32ul,        # 0xE0
    "journal_device" / Int32ul,       # 0xE4
    Padding(0x15),                    # 0xE8
    "journal_backup_type" / Int8ul,   # 0xFD
    "descriptor_size" / Int16ul,      # 0xFE
    Padding(4),                       # 0x100
    "first_meta_bg" / Int32ul,        # 0x104
    Padding(4),                       # 0x108
    "journal_blocks" / Bytes(68),     # 0x10C  copy of the journal's i_block, then its size, high part first
    "blocks_high" / Int32ul,          # 0x150
    Padding(4),                       # 0x154
    "free_blocks_high" / Int32ul,     # 0x158
    Padding(0x19),                    # 0x15C
    "checksum_type" / Int8ul,         # 0x175
    Padding(0xFA),                    # 0x176
    "checksum_seed" / Int32ul,        # 0x270
    Padding(0x188),                   # 0x274
    "checksum" / Int32ul,             # 0x3FC
)  # fmt: skip
assert _SUPERBLOCK.sizeof() == SIZE

HAS_JOURNAL: Final = 0x4  # compat
SPARSE_SUPER2: Final = 0x200

FILETYPE: Final = 0x2  # incompat
RECOVER: Final = 0x4
META_BG: Final = 0x10
EXTENTS: Final = 0x40
WIDE: Final = 0x80  # 64bit
LARGEDIR: Final = 0x4000
CASEFOLD: Final = 0x20000
CSUM_SEED: Final = 0x2000
INCOMPAT: Final = {
    0x1: "compression", FILETYPE: "filetype", RECOVER: "needs_recovery", 0x8: "journal_dev",
    META_BG: "meta_bg", EXTENTS: "extent", WIDE: "64bit", 0x100: "mmp", 0x200: "flex_bg", 0x400: "ea_inode",
    0x1000: "dirdata", CSUM_SEED: "metadata_csum_seed", LARGEDIR: "large_dir", 0x8000: "inline_data",
    0x10000: "encrypt", CASEFOLD: "casefold",
}  # fmt: skip
_UNREAD: Final = ("compression", "journal_dev", "dirdata")

SPARSE_SUPER: Final = 0x1  # ro_compat
HUGE_FILE: Final = 0x8
GDT_CSUM: Final = 0x10
BIGALLOC: Final = 0x200
METADATA_CSUM: Final = 0x400

VALID: Final = 0x1  # s_state
ERRORS: Final = 0x2


class Superblock(NamedTuple):
    """The fields a reader needs, checked.

    Counts are in blocks of ``block_size`` bytes; ``offset`` is where this copy stands.
    """

    offset: int
    raw: bytes
    inodes: int
    blocks: int
    free_blocks: int
    free_inodes: int
    first_data_block: int
    block_size: int
    cluster_size: int
    blocks_per_group: int
    inodes_per_group: int
    written: int
    state: int
    hurd: bool
    revision: int
    inode_size: int
    compat: int
    incompat: int
    ro_compat: int
    uuid: bytes
    label: str
    descriptor_size: int
    first_meta_bg: int
    journal_inode: int  # 0: none, or on another device
    journal_backup: bytes  # its i_block and size, as ``journal_blocks``; empty if there is no copy
    checksum: int
    seed: int  # of checksums over metadata

    @property
    def groups(self) -> int:
        """The number of block groups."""
        return -(-(self.blocks - self.first_data_block) // self.blocks_per_group)

    @property
    def checksum_is_right(self) -> bool:
        """Whether the stored checksum is that of the bytes before it; True where the feature is off."""
        return not self.ro_compat & METADATA_CSUM or metadata_crc(self.raw[:CHECKSUM_AT]) == self.checksum

    def check_features(self) -> None:
        """Raise ``UnsupportedError`` for a feature that changes where data is and is not known."""
        for bit in range(32):
            name = INCOMPAT.get(1 << bit)
            if self.incompat >> bit & 1 and (name is None or name in _UNREAD):
                raise UnsupportedError(f"ext: the feature {name or f'incompat {1 << bit:#x}'}")


def read_superblock(device: BlockDevice) -> Superblock:
    """The superblock, or else its first backup. Raises ``FormatError`` for the former."""
    try:
        primary = parse_superblock(device, PRIMARY)
        if primary.checksum_is_right:
            return primary
    except FormatError as exc:
        primary, damage = None, exc
    else:
        damage = FormatError(NAME, "superblock checksum is wrong", offset=PRIMARY)
    for block_size, offset in BACKUPS.items():
        try:
            backup = parse_superblock(device, offset)
        except FormatError:
            continue
        if backup.block_size == block_size and backup.checksum_is_right:
            log.warning("%s; using the backup at %#x", damage, offset)
            return backup
    if primary is None:
        raise damage
    log.warning("%s", damage)
    return primary


def parse_superblock(device: BlockDevice, offset: int) -> Superblock:
    """The copy at ``offset``. Raises ``FormatError``."""
    raw = device.read_exactly(offset, SIZE, NAME)
    fields = parse_header(_SUPERBLOCK, device, offset, NAME, "the superblock")
    if fields.magic != MAGIC:
        reason = f"a superblock has the magic {MAGIC:#x}, here is {fields.magic:#x}"
        raise FormatError(NAME, reason, offset=offset + 0x38)

    def check(name: str, value: int, low: int, high: int, at: int, *, power_of_two: bool = False) -> int:
        return within(NAME, name, value, low, high, power_of_two=power_of_two, offset=offset + at)

    check("logarithm of the block size in KiB", fields.log_block_size, 0, MAX_LOG_BLOCK_SIZE, 0x18)
    block_size = 1024 << fields.log_block_size
    dynamic = fields.revision > 0
    incompat = fields.incompat if dynamic else 0
    ro_compat = fields.ro_compat if dynamic else 0
    blocks = fields.blocks_low | (fields.blocks_high << 32 if incompat & WIDE else 0)
    inode_size = fields.inode_size if dynamic else MIN_INODE_SIZE
    descriptor = fields.descriptor_size if incompat & WIDE else MIN_DESCRIPTOR
    cluster = (
        1024 << fields.log_cluster_size
        if ro_compat & BIGALLOC and fields.log_cluster_size < 32
        else block_size
    )
    first = int(block_size == 1024 and cluster == 1024)
    one_of(NAME, "first block", fields.first_data_block, (first,), offset=offset + 0x14)
    most = 8 * block_size * max(1, cluster // block_size)  # a bitmap is one block
    check("blocks in a group", fields.blocks_per_group, 1, most, 0x20)
    check("inodes in a group", fields.inodes_per_group, 1, 8 * block_size, 0x28)
    check("inode size", inode_size, MIN_INODE_SIZE, block_size, 0x58, power_of_two=True)
    check("size of group descriptors", descriptor, MIN_DESCRIPTOR, block_size, 0xFE, power_of_two=True)
    check("number of blocks", blocks, first + 1, (1 << 48) - 1, 4)
    groups = -(-(blocks - first) // fields.blocks_per_group)
    check("number of inodes", fields.inodes, 1, groups * fields.inodes_per_group, 0)
    return Superblock(
        offset=offset,
        raw=raw,
        inodes=fields.inodes,
        blocks=blocks,
        free_blocks=fields.free_blocks_low | (fields.free_blocks_high << 32 if incompat & WIDE else 0),
        free_inodes=fields.free_inodes,
        first_data_block=fields.first_data_block,
        block_size=block_size,
        cluster_size=cluster,
        blocks_per_group=fields.blocks_per_group,
        inodes_per_group=fields.inodes_per_group,
        written=fields.written,
        state=fields.state,
        hurd=fields.creator_os == HURD,
        revision=fields.revision,
        inode_size=inode_size,
        compat=fields.compat if dynamic else 0,
        incompat=incompat,
        ro_compat=ro_compat,
        uuid=fields.uuid,
        label=text(fields.label, "utf-8") if dynamic else "",
        descriptor_size=descriptor,
        first_meta_bg=fields.first_meta_bg,
        journal_inode=fields.journal_inode,
        journal_backup=fields.journal_blocks if fields.journal_backup_type == 1 else b"",
        checksum=fields.checksum,
        seed=fields.checksum_seed if incompat & CSUM_SEED else metadata_crc(fields.uuid),
    )
