"""NTFS, versions 1.2 to 3.1: compressed, sparse and system-compressed (WOF) files, streams, links.

Not the log: a volume that was not unmounted is shown as it is, and says so. Source: the on-disk layout as the
Linux-NTFS project documents it ("NTFS Documentation"), and [MS-FSCC] for what Windows hands out unchanged.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Later, Match
from imgmount.families.windows.options import STREAMS, SYSTEM
from imgmount.filesystems.ntfs.boot import backup, parse_boot


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the boot sector is sound."""
    parse_boot(device, 0)
    return Match.CERTAIN


def rescue(device: BlockDevice) -> Match:
    """LIKELY where the last sector is the backup of a boot sector, as far from the start as it says."""
    return Match.NO if backup(device) is None else Match.LIKELY


FORMAT: Final = FilesystemFormat(
    name="ntfs",
    title="NTFS",
    checks="records, indexes and clusters in use, the mirror of the MFT",
    probe=probe,
    rescue=rescue,
    open=Later("imgmount.filesystems.ntfs.volume:NtfsVolume"),
    check=Later("imgmount.filesystems.ntfs.check:check"),
    deleted=Later("imgmount.filesystems.ntfs.deleted:deleted"),
    options=(SYSTEM, STREAMS),
    limits="files encrypted with EFS, deduplicated or kept in a cloud; the log is not replayed",
)
