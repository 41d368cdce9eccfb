"""UFS, the Berkeley fast filesystem: UFS1 and UFS2 in either byte order, of the BSDs and Solaris.

Source: struct fs, dinode and direct of FreeBSD, NetBSD and illumos (``fs.h``, ``dinode.h``, ``dir.h``,
``extattr.h``, ``ufs_fs.h``, ``ufs_inode.h``), whose comments document the format. No journal is replayed
(soft updates, WAPBL, Solaris' log).
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Match
from imgmount.filesystems.ufs.superblock import read_superblock
from imgmount.filesystems.ufs.volume import UfsVolume


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the superblock is sound, LIKELY where only a backup of it is."""
    return Match.LIKELY if read_superblock(device).is_backup else Match.CERTAIN


FORMAT: Final = FilesystemFormat(
    name="ufs",
    title="UFS 1 and 2 (FFS)",
    checks="superblock and backup, groups, state",
    probe=probe,
    open=UfsVolume,
    limits="journals are not replayed; the content of snapshots; attributes of Solaris",
)
