"""XFS versions 4 and 5; the log is replayed in memory.

Source: the XFS Algorithms and Data Structures guide, 3rd edition. Everything is big endian but the checksums.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Match
from imgmount.core.option import NO_JOURNAL
from imgmount.errors import UnsupportedError
from imgmount.filesystems.xfs.backups import rescue
from imgmount.filesystems.xfs.superblock import parse_superblock
from imgmount.filesystems.xfs.volume import XfsVolume


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the superblock makes sense."""
    with suppress(UnsupportedError):  # it is XFS all the same
        parse_superblock(device, 0)
    return Match.CERTAIN


FORMAT: Final = FilesystemFormat(
    name="xfs",
    title="XFS",
    checks="CRC-32C of headers, inodes, extents, folders, attributes",
    probe=probe,
    rescue=rescue,
    open=XfsVolume,
    limits="files on a realtime device; logs on another device are not replayed",
    options=(NO_JOURNAL,),
)
