"""Inodes: 128 bytes since ext2, more since ext4. Kernel documentation, ext4/inodes.rst."""

from __future__ import annotations

import os
import stat as s
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.fields import NS
from imgmount.core.node import Stat
from imgmount.errors import FormatError
from imgmount.filesystems.ext.blocks import ROOT_SIZE
from imgmount.filesystems.ext.superblock import HUGE_FILE, LARGEDIR, NAME, Superblock

# mode, uid, size, atime, ctime, mtime, gid, links, blocks, flags, i_block, xattr block, size high, blocks
# high, xattr block high, uid high, gid high
_FIELDS: Final = Struct("<HHIiii4xHHII4x60s4xII4xHHHH4x")
# i_extra_isize, then ctime, mtime, atime: two bits of seconds, 30 of nanoseconds; crtime, its own such bits
_EXTRA: Final = Struct("<H2xIIIiI")
BASE: Final = 128
_EPOCH_MASK: Final = 3
_BIRTH_FIELDS: Final = 5  # in use, if the time of creation is one of them
MAX_BLOCKS: Final = 1 << 32  # of a file

ENCRYPT: Final = 0x800  # i_flags
COMPRESSED: Final = 0x4
HUGE: Final = 0x4_0000  # blocks are counted in blocks, not in sectors
EXTENTS: Final = 0x8_0000
INLINE_DATA: Final = 0x1000_0000
CASEFOLD: Final = 0x4000_0000
_SECTOR: Final = 512
_DELETED: Final = slice(0x14, 0x18)  # i_dtime
_GENERATION: Final = slice(0x64, 0x68)

ROOT: Final = 2
_KINDS: Final = (s.S_IFREG, s.S_IFDIR, s.S_IFLNK, s.S_IFCHR, s.S_IFBLK, s.S_IFIFO, s.S_IFSOCK)


class Inode(NamedTuple):
    """An inode, checked. ``raw`` is all of it; times are nanoseconds."""

    number: int
    raw: bytes
    mode: int
    size: int
    flags: int
    block: bytes  # i_block: pointers, an extent tree, a short link, the first bytes of a small file
    xattr_block: int
    allocated: int  # bytes
    stat: Stat

    @property
    def kind(self) -> int:
        """The file type, as S_IFMT masks it."""
        return s.S_IFMT(self.mode)

    @property
    def deleted(self) -> int:
        """When the file was deleted, in seconds; of an orphan the next one, or 0."""
        return int.from_bytes(self.raw[_DELETED], "little")

    @property
    def generation(self) -> bytes:
        """What tells the inode from those of the same number before it."""
        return self.raw[_GENERATION]

    @property
    def extra(self) -> int:
        """How many bytes of the fields after the first 128 are in use."""
        return int.from_bytes(self.raw[BASE : BASE + 2], "little") if len(self.raw) > BASE else 0


def parse_inode(raw: bytes, number: int, spb: Superblock) -> Inode:
    """The inode in ``raw``. Raises ``FormatError``."""
    mode, uid, size, atime, ctime, mtime, gid, links, blocks, flags, block, xattr, high, *highs = (
        _FIELDS.unpack_from(raw)
    )
    blocks_high, xattr_high, uid_high, gid_high = highs
    kind = s.S_IFMT(mode)
    if kind not in _KINDS:
        raise FormatError(NAME, f"inode {number} has the mode {mode:#o}")
    if kind == s.S_IFREG or (kind == s.S_IFDIR and spb.incompat & LARGEDIR):
        size |= high << 32
    if size > MAX_BLOCKS * spb.block_size:
        raise FormatError(NAME, f"inode {number} has {size} bytes")
    if not spb.hurd:
        uid |= uid_high << 16
        gid |= gid_high << 16
        blocks |= blocks_high << 32 if spb.ro_compat & HUGE_FILE else 0
        xattr |= xattr_high << 32
    allocated = blocks * (spb.block_size if flags & HUGE and spb.ro_compat & HUGE_FILE else _SECTOR)
    birth = None
    changed, modified, accessed = ctime * NS, mtime * NS, atime * NS
    if len(raw) > BASE:
        extra, *more, born, born_more = _EXTRA.unpack_from(raw, BASE)
        fields = max(0, extra - 4) // 4  # in use of those that follow
        changed, modified, accessed = (
            time + _more(value) if place < fields else time
            for place, (time, value) in enumerate(zip((changed, modified, accessed), more, strict=True))
        )
        if fields >= _BIRTH_FIELDS and born:
            birth = born * NS + _more(born_more)
    rdev = _device_number(block) if kind in (s.S_IFCHR, s.S_IFBLK) else 0
    stat = Stat(mode, size, modified, accessed, changed, uid, gid, links, rdev, allocated, birth)
    return Inode(number, raw, mode, size, flags, block, xattr, allocated, stat)


def _more(value: int) -> int:
    """The nanoseconds that the field behind a time adds to it."""
    return ((value & _EPOCH_MASK) << 32) * NS + min(value >> 2, NS - 1)


def _device_number(block: bytes) -> int:
    """The old 16-bit number in the first word, or the new one in the second."""
    old, new = int.from_bytes(block[:4], "little"), int.from_bytes(block[4:8], "little")
    if old:
        return os.makedev(old >> 8 & 0xFF, old & 0xFF)
    return os.makedev(new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xF_FF00)


def is_fast_link(inode: Inode, cluster_size: int) -> bool:
    """Whether a symbolic link's target is in ``i_block``: it has no blocks but that of its attributes."""
    if inode.flags & (EXTENTS | INLINE_DATA) or inode.size >= ROOT_SIZE:
        return False
    return inode.allocated == (cluster_size if inode.xattr_block else 0)
