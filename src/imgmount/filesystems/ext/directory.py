"""Directory entries. Kernel documentation, ext4/directory.rst."""

from __future__ import annotations

import stat as s
from collections.abc import Iterator
from struct import Struct
from typing import Final

from imgmount.errors import FormatError
from imgmount.families.unix.inodes import UNKNOWN, Entry
from imgmount.filesystems.ext.superblock import NAME

# inode, length of the entry, length of the name, file type (or high byte of the latter)
_ENTRY: Final = Struct("<IHBB")
_LARGEST: Final = 1 << 16  # a length that does not fit is stored as 0 or 65535
KINDS: Final = (UNKNOWN, s.S_IFREG, s.S_IFDIR, s.S_IFCHR, s.S_IFBLK, s.S_IFIFO, s.S_IFSOCK, s.S_IFLNK)
_TYPE_MASK: Final = 7


def entries(data: bytes, base: int, *, block_size: int, has_kind: bool) -> Iterator[Entry]:
    """The entries in use in ``data``, blocks or less than one, that begins at ``base`` of its directory.

    A block whose lengths are wrong is left where they go wrong; the error is raised when the others have been
    read.
    """
    damage: FormatError | None = None
    unpack = _ENTRY.unpack_from
    for block in range(0, len(data), block_size):
        at, end = block, min(block + block_size, len(data))
        if not data[at] and data.count(0, at, end) == end - at:
            continue  # a hole
        while at + _ENTRY.size <= end:
            inode, length, name_length, kind = unpack(data, at)
            if length in (0, _LARGEST - 1) and block_size == _LARGEST:
                length = _LARGEST
            if (
                length < _ENTRY.size
                or length & 3
                or at + length > end
                or (inode and name_length + _ENTRY.size > length)
            ):
                damage = damage or FormatError(
                    NAME, f"a directory entry of {length} bytes at {base + at:#x} of its directory"
                )
                break
            if inode and name_length:
                name = data[at + _ENTRY.size : at + _ENTRY.size + name_length]
                if name not in (b".", b".."):
                    yield Entry(base + at, inode, KINDS[kind & _TYPE_MASK] if has_kind else UNKNOWN, name)
            at += length
    if damage is not None:
        raise damage


def remnants(data: bytes, *, inodes: int, has_kind: bool) -> Iterator[Entry]:
    """What can be a deleted entry in one block of a directory: behind those in use, in the room they leave.

    Deleting an entry makes the one before it longer. What is left of the first in a block has no inode.
    """
    at, end = 0, len(data)
    while at + _ENTRY.size <= end:
        inode, length, name_length, _ = _ENTRY.unpack_from(data, at)
        length = _LARGEST if length in (0, _LARGEST - 1) and end == _LARGEST else length
        if length < _ENTRY.size or length & 3 or at + length > end:
            return
        slack = at + (_room(name_length) if inode else 0)
        while slack + _ENTRY.size < at + length:
            found = _remnant(data, slack, inodes, has_kind=has_kind)
            if found is not None:
                yield found
            slack += _room(len(found.name)) if found is not None else 4
        at += length


def _room(name_length: int) -> int:
    return _ENTRY.size + (name_length + 3 & ~3)


def _remnant(data: bytes, at: int, inodes: int, *, has_kind: bool) -> Entry | None:
    inode, length, name_length, kind = _ENTRY.unpack_from(data, at)
    name = data[at + _ENTRY.size : at + _ENTRY.size + name_length]
    if not 0 < inode <= inodes or not name_length or length & 3 or length < _room(name_length):
        return None
    if (
        at + length > len(data)
        or kind >= len(KINDS)
        or b"/" in name
        or b"\0" in name
        or name in (b".", b"..")
    ):
        return None
    return Entry(at, inode, KINDS[kind] if has_kind else UNKNOWN, name)
