"""ext2, ext3 and ext4; the journal is replayed in memory.

Source: the kernel's Documentation/filesystems/ext4. Encrypted files are listed and not read; features that
change how data is found and are not known are refused by name.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Later, Match
from imgmount.core.option import NO_JOURNAL
from imgmount.filesystems.ext.superblock import PRIMARY, read_superblock
from imgmount.filesystems.ext.volume import ExtVolume


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the superblock is sound, LIKELY where only a backup of it is."""
    return Match.CERTAIN if read_superblock(device).offset == PRIMARY else Match.LIKELY


FORMAT: Final = FilesystemFormat(
    name="ext",
    title="ext2, ext3, ext4",
    extensions=(".ext2", ".ext3", ".ext4", ".img"),
    checks="CRC-32C or CRC-16 of superblock, groups, bitmaps, inodes, extents, folders, attributes, journal",
    probe=probe,
    open=ExtVolume,
    limits="journals on another device and fast commits are not replayed, encrypted files are not decrypted",
    deleted=Later("imgmount.filesystems.ext.deleted:deleted"),
    options=(NO_JOURNAL,),
)
