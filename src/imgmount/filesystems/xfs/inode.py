"""Inodes: 100 bytes, or 176 in version 5, then two forks.

XFS Algorithms and Data Structures, "On-disk Inode".
"""

from __future__ import annotations

import os
import stat as s
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.fields import NS
from imgmount.core.node import Stat
from imgmount.errors import FormatError
from imgmount.filesystems.xfs import checksums
from imgmount.filesystems.xfs.superblock import NAME, Superblock

# magic, mode, version, format, links of version 1, owner, group, links, 64-bit count of extents; times of
# access, content, inode; size, blocks, 32-bit counts of extents of both forks, place of the second fork, its
# format; flags
_CORE: Final = Struct(">2sHBBHIII4xQQQQQQ4xIHBB6xH8x")
_CORE_3: Final = Struct(">100x20xQ16xQQ16x")  # more flags, time of creation, number of the inode
_MAGIC: Final = b"IN"
_LONG_VERSION: Final = 3
_SECOND: Final = Struct(">ii")  # of a time
BIG_TIMES: Final = 0x8
BIG_COUNTS: Final = 0x10
REALTIME: Final = 0x1  # in the first flags
_EPOCH: Final = (1 << 31) * NS  # big times count from the lowest small one
MAX_SIZE: Final = 1 << 62

DEVICE, LOCAL, EXTENTS, BTREE = range(4)  # formats of a fork
_KINDS: Final = (s.S_IFREG, s.S_IFDIR, s.S_IFLNK, s.S_IFCHR, s.S_IFBLK, s.S_IFIFO, s.S_IFSOCK)


class Fork(NamedTuple):
    """Data or attributes of an inode: in the inode itself, or the extents or the root of a tree of them."""

    format: int
    extents: int
    raw: bytes


class Inode(NamedTuple):
    """An inode, checked."""

    number: int
    stat: Stat
    flags: int
    data: Fork
    attributes: Fork | None


def parse_inode(raw: bytes, number: int, spb: Superblock) -> Inode:
    """The inode in ``raw``. Raises ``FormatError``."""
    if spb.is_checked:
        checksums.check(raw, checksums.INODE, f"inode {number}")
    magic, mode, version, form, old_links, uid, gid, links, many, *rest = _CORE.unpack_from(raw)
    *times, size, blocks, extents, attribute_extents, place, attribute_form, flags = rest
    if magic != _MAGIC:
        raise FormatError(NAME, f"inode {number} has the magic {magic!r}")
    kind, core, more, birth = s.S_IFMT(mode), _CORE.size, 0, None
    if kind not in _KINDS:
        raise FormatError(NAME, f"inode {number} has the mode {mode:#o}")
    if size >= MAX_SIZE:
        raise FormatError(NAME, f"inode {number} has {size} bytes")
    if version >= _LONG_VERSION:
        core = _CORE_3.size
        more, created, told = _CORE_3.unpack_from(raw)
        birth = _time(created, big=bool(more & BIG_TIMES))
        if told != number:
            raise FormatError(NAME, f"inode {number} says that it is {told}")
    if more & BIG_COUNTS:
        extents, attribute_extents = many, extents  # the smaller fields moved on
    end = core + 8 * place if place else len(raw)
    if not core < end <= len(raw):
        raise FormatError(NAME, f"inode {number} has its attributes at {end} of {len(raw)}")
    data = Fork(form, extents, raw[core:end])
    attributes = Fork(attribute_form, attribute_extents, raw[end:]) if place else None
    rdev = _device(data.raw) if kind in (s.S_IFCHR, s.S_IFBLK) else 0
    accessed, content, changed = (_time(time, big=bool(more & BIG_TIMES)) for time in times)
    count = links if version > 1 else old_links
    allocated = blocks * spb.block_size
    stat = Stat(mode, size, content, accessed, changed, uid, gid, max(1, count), rdev, allocated, birth)
    return Inode(number, stat, flags, data, attributes)


def _time(value: int, *, big: bool) -> int:
    if big:
        return value - _EPOCH
    seconds: int
    seconds, nanoseconds = _SECOND.unpack(value.to_bytes(8, "big"))
    return seconds * NS + min(max(0, int(nanoseconds)), NS - 1)


def _device(raw: bytes) -> int:
    """Fourteen bits of the driver's number, eighteen of the device's."""
    value = int.from_bytes(raw[:4], "big")
    return os.makedev(value >> 18 & 0x3FFF, value & 0x3_FFFF)
