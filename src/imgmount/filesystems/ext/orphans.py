"""Orphans: files that have no name and were open when the system stopped.

They are in a list through their inodes, or in a file of their own. Kernel documentation, ext4/orphan.rst.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from imgmount.core.fields import table
from imgmount.errors import ImageError
from imgmount.filesystems.ext.superblock import NAME

if TYPE_CHECKING:
    from imgmount.filesystems.ext.volume import ExtVolume

log = logging.getLogger(__name__)

_LAST_ORPHAN: Final = slice(0xE8, 0xEC)  # of the superblock
_FILE_INODE: Final = slice(0x280, 0x284)
_ORPHAN_FILE: Final = 0x1000  # a compatible feature
_TAIL: Final = 8  # bytes at the end of each block: magic, checksum
MAX_ORPHANS: Final = 1 << 20
MAX_FILE: Final = 64 << 20


def orphans(volume: ExtVolume) -> frozenset[int]:
    """The inodes of the orphans, as far as they are known."""
    found: set[int] = set()
    try:
        number = int.from_bytes(volume.super.raw[_LAST_ORPHAN], "little")
        while number and number not in found and len(found) < MAX_ORPHANS:
            found.add(number)
            number = volume.inode(number).deleted  # the next one
        if volume.super.compat & _ORPHAN_FILE:
            found.update(_in_file(volume))
        return frozenset(number for number in found if not volume.inode(number).stat.nlink)
    except ImageError as exc:
        log.warning("%s: orphans: %s", NAME, exc)
        return frozenset()


def _in_file(volume: ExtVolume) -> set[int]:
    number = int.from_bytes(volume.super.raw[_FILE_INODE], "little")
    content = volume.content(volume.inode(number))
    found: set[int] = set()
    for at in range(0, min(content.size, MAX_FILE), volume.block_size):
        found.update(table(content.pread(at, volume.block_size)[:-_TAIL], 4, "little"))
    return found - {0}
