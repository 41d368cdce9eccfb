"""Directory entries: of 4.4BSD with file types, and older ones. FreeBSD, ``sys/ufs/ufs/dir.h``."""

from __future__ import annotations

import stat as s
from collections.abc import Iterator
from struct import Struct
from typing import Final, Literal

from imgmount.errors import FormatError
from imgmount.families.unix.inodes import UNKNOWN, Entry
from imgmount.filesystems.ufs.superblock import NAME

# inode, length of the entry, file type, length of the name
_NEW: Final = {"little": Struct("<IHBB"), "big": Struct(">IHBB")}
_OLD: Final = {"little": Struct("<IHH"), "big": Struct(">IHH")}  # without the type
_SIZE: Final = 8
SECTION: Final = 512  # no entry crosses a multiple of it; Apple's sections are of 1024 bytes
WHITEOUT: Final = 14  # hides a name of a lower layer
KINDS: Final = {
    1: s.S_IFIFO, 2: s.S_IFCHR, 4: s.S_IFDIR, 6: s.S_IFBLK, 8: s.S_IFREG, 10: s.S_IFLNK, 12: s.S_IFSOCK,
}  # fmt: skip


def entries(
    data: bytes, base: int, *, order: Literal["little", "big"], typed: bool, fragment_size: int
) -> Iterator[Entry]:
    """The entries in use in ``data``, whole fragments that begin at ``base`` of their directory.

    Where lengths go wrong the rest of a section is left out; the error is raised when the others have been
    read.
    """
    damage: FormatError | None = None
    unpack = (_NEW if typed else _OLD)[order].unpack_from
    at, size = 0, len(data)
    while at + _SIZE <= size:
        number, length, *kind, name_length = unpack(data, at)
        end = min(size, at // fragment_size * fragment_size + fragment_size)
        if length < _SIZE or length & 3 or at + length > end or (number and name_length + _SIZE > length):
            damage = damage or FormatError(
                NAME, f"a directory entry of {length} bytes at {base + at:#x} of its directory"
            )
            at = at // SECTION * SECTION + SECTION
            continue
        name = data[at + _SIZE : at + _SIZE + name_length]
        if number and name_length and name not in (b".", b"..") and kind != [WHITEOUT]:
            yield Entry(base + at, number, KINDS.get(kind[0], UNKNOWN) if kind else UNKNOWN, name)
        at += length
    if damage is not None:
        raise damage
