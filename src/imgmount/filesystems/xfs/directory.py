"""Directories: in the inode, or blocks of entries and of free room.

XFS Algorithms and Data Structures, "Directories".

Blocks of hashes, from 32 GiB of the directory on, are not needed for a listing.
"""

from __future__ import annotations

import stat as s
from collections.abc import Iterator
from typing import Final

from imgmount.errors import FormatError
from imgmount.families.unix.inodes import UNKNOWN, Entry
from imgmount.filesystems.xfs import checksums
from imgmount.filesystems.xfs.superblock import NAME, Superblock

KINDS: Final = (UNKNOWN, s.S_IFREG, s.S_IFDIR, s.S_IFCHR, s.S_IFBLK, s.S_IFIFO, s.S_IFSOCK, s.S_IFLNK)
WHITEOUT: Final = 8
_HEADERS: Final = {4: {b"XD2D": 16, b"XD2B": 16}, 5: {b"XDD3": 64, b"XDB3": 64}}  # by version
_SINGLE: Final = (b"XD2B", b"XDB3")  # a directory of one block, with its hashes at the end
_FREE: Final = b"\xff\xff"
_ALIGNMENT: Final = 8
DOTS: Final = (b".", b"..")


def local_entries(raw: bytes, spb: Superblock) -> Iterator[Entry]:
    """The entries of a directory that is in its inode. Raises ``FormatError``."""
    if len(raw) < 6:
        raise FormatError(NAME, "a directory without a header in its inode")
    count, width = raw[0], 8 if raw[1] else 4
    at = 2 + width  # behind the parent's number
    for _ in range(count):
        size = raw[at] if at < len(raw) else 0
        end = at + 3 + size + spb.typed_entries + width
        if not size or end > len(raw):
            raise FormatError(NAME, f"a directory of {count} entries in {len(raw)} bytes of an inode")
        kind = raw[at + 3 + size] if spb.typed_entries else 0
        if kind != WHITEOUT:
            yield Entry(
                at, int.from_bytes(raw[end - width : end], "big"), _kind(kind), raw[at + 3 : at + 3 + size]
            )
        at = end


def block_entries(data: bytes, base: int, spb: Superblock) -> Iterator[Entry]:
    """The entries in whole directory blocks that begin at ``base`` of their directory.

    A block is left where its lengths go wrong; the error is raised when the others have been read.
    """
    damage: FormatError | None = None
    for block in range(0, len(data), spb.directory_block):
        try:
            yield from _entries(data[block : block + spb.directory_block], base + block, spb)
        except FormatError as exc:
            damage = damage or exc
    if damage is not None:
        raise damage


def _entries(data: bytes, base: int, spb: Superblock) -> Iterator[Entry]:
    magic, end, headers = data[:4], len(data), _HEADERS[spb.version]
    if not any(data):
        return  # a hole, where a block of entries was
    if spb.is_checked:
        checksums.check(data, checksums.DIRECTORY, f"a block at {base:#x} of a directory")
    if magic not in headers:
        raise FormatError(NAME, f"a directory block with the magic {magic!r} at {base:#x} of its directory")
    if magic in _SINGLE:
        end -= 8 * (int.from_bytes(data[end - 8 : end - 4], "big") + 1)
    at = headers[magic]
    while at + 12 <= end:
        if data[at : at + 2] == _FREE:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
        else:
            size = data[at + 8]
            length = -(-(9 + size + spb.typed_entries + 2) // _ALIGNMENT) * _ALIGNMENT
            if not size or at + length > end:
                raise FormatError(
                    NAME, f"a directory entry of {length} bytes at {base + at:#x} of its directory"
                )
            name = data[at + 9 : at + 9 + size]
            kind = data[at + 9 + size] if spb.typed_entries else 0
            if name not in DOTS and kind != WHITEOUT:
                yield Entry(base + at, int.from_bytes(data[at : at + 8], "big"), _kind(kind), name)
        if length < _ALIGNMENT or length % _ALIGNMENT:
            raise FormatError(NAME, f"free room of {length} bytes at {base + at:#x} of a directory")
        at += length


def _kind(number: int) -> int:
    return KINDS[number] if number < len(KINDS) else UNKNOWN
