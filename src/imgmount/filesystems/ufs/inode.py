"""Inodes of UFS1 (128 bytes) and UFS2 (256 bytes).

FreeBSD, ``sys/ufs/ufs/dinode.h``; illumos, ``sys/fs/ufs_inode.h``.
"""

from __future__ import annotations

import os
import stat as s
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.fields import NS
from imgmount.core.node import Stat
from imgmount.errors import FormatError
from imgmount.filesystems.ufs.superblock import NAME, Family, Superblock

# mode, links, old uid and gid, size, times (seconds and less) of access, change of content, change of inode;
# pointers, flags, blocks, then BSD's uid, its gid or Solaris' uid, and Solaris' gid
_UFS1: Final = "HhHHQiIiIiI60sII4xIII"
# mode, links, uid, gid, size, blocks, times of access, content, inode and birth, nanoseconds of content,
# access, inode and birth, flags, attributes' size and blocks, pointers
_UFS2: Final = "HhII4xQQqqqqIIII8xII16s120s"
_LAYOUTS: Final = {
    (wide, prefix): Struct(prefix + (_UFS2 if wide else _UFS1)) for wide in (False, True) for prefix in "<>"
}

_SECTOR: Final = 512
_IN_LONG: Final = 0xFFFF  # a 16-bit owner of Solaris: the 32-bit one counts
SNAPSHOT: Final = 0x0020_0000  # flags of the BSDs
FAST_LINK: Final = 1  # flag of Solaris
MAX_SIZE: Final = 1 << 62
MAX_SECONDS: Final = 1 << 38  # Linux takes no later time
_KINDS: Final = (s.S_IFREG, s.S_IFDIR, s.S_IFLNK, s.S_IFCHR, s.S_IFBLK, s.S_IFIFO, s.S_IFSOCK)


class Inode(NamedTuple):
    """An inode.

    ``pointers`` holds block pointers, a short link's target or a device number; times are nanoseconds.
    """

    number: int
    stat: Stat
    flags: int
    pointers: bytes
    blocks: int  # of 512 bytes
    birth: int = 0
    attributes_size: int = 0
    attributes: bytes = b""  # pointers to their blocks


def parse_inode(raw: bytes, number: int, spb: Superblock) -> Inode:
    """The inode in ``raw``. Raises ``FormatError``."""
    fields = _LAYOUTS[spb.is_ufs2, "<" if spb.order == "little" else ">"].unpack_from(raw)
    inode = _ufs2(fields, number) if spb.is_ufs2 else _ufs1(fields, number, spb)
    mode, size = inode.stat.mode, inode.stat.size
    kind = s.S_IFMT(mode)
    if kind not in _KINDS:
        raise FormatError(NAME, f"inode {number} has the mode {mode:#o}")
    if size >= MAX_SIZE:
        raise FormatError(NAME, f"inode {number} has {size} bytes")
    if kind in (s.S_IFCHR, s.S_IFBLK):
        on_x86 = spb.family is Family.SUN and spb.order == "little"
        place = slice(0, 8) if spb.is_ufs2 else slice(4, 8) if on_x86 else slice(0, 4)
        device = int.from_bytes(inode.pointers[place], spb.order)
        return inode._replace(stat=inode.stat._replace(rdev=_device_number(device, spb.family)))
    return inode


def _ufs1(fields: tuple[int, ...], number: int, spb: Superblock) -> Inode:
    mode, links, uid, gid, size, *times, pointers, flags, blocks, first, second, third = fields
    if spb.family is Family.SUN:
        uid, gid = second if uid == _IN_LONG else uid, third if gid == _IN_LONG else gid
    elif not spb.old_owners:
        uid, gid = first, second
    unit = {Family.BSD: 1, Family.SUN: 1000, Family.OLD: 0}[spb.family]  # nanoseconds, microseconds, nothing
    access, content, change = (_time(times[at], times[at + 1] * unit) for at in (0, 2, 4))
    stat = Stat(mode, size, content, access, change, uid, gid, max(1, links), allocated=blocks * _SECTOR)
    assert isinstance(pointers, bytes)
    return Inode(number, stat, flags, pointers, blocks)


def _ufs2(fields: tuple[int, ...], number: int) -> Inode:
    (
        mode,
        links,
        uid,
        gid,
        size,
        blocks,
        access,
        content,
        change,
        birth,
        *less,
        flags,
        area,
        attributes,
        pointers,
    ) = fields
    content, access, change, birth = map(_time, (content, access, change, birth), less)
    links, allocated = max(1, links), blocks * _SECTOR
    stat = Stat(mode, size, content, access, change, uid, gid, links, 0, allocated, birth or None)
    assert isinstance(pointers, bytes)
    assert isinstance(attributes, bytes)
    return Inode(number, stat, flags, pointers, blocks, birth, area, attributes)


def _time(seconds: int, nanoseconds: int) -> int:
    return (seconds if abs(seconds) < MAX_SECONDS else 0) * NS + min(nanoseconds, NS - 1)


def _device_number(value: int, family: Family) -> int:
    """Solaris has 14 bits and 18, or 8 and 8; the BSDs agree on numbers below 256."""
    if family is Family.SUN and value & 0xFFFF_0000 not in (0, 0xFFFF_0000):
        return os.makedev(value >> 18 & 0x3FFF, value & 0x3_FFFF)
    if family is Family.BSD:
        return os.makedev(value >> 8 & 0xFF, value & 0xFFFF_00FF)
    return os.makedev(value >> 8 & 0x7F, value & 0xFF)
