"""exFAT.

Source: Microsoft's exFAT file system specification, 1.00. No transaction-safe exFAT.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Later, Match
from imgmount.filesystems.exfat.boot import read_boot
from imgmount.filesystems.exfat.volume import ExfatVolume


def probe(device: BlockDevice) -> Match:
    """CERTAIN where a boot sector is sound."""
    read_boot(device)
    return Match.CERTAIN


FORMAT: Final = FilesystemFormat(
    name="exfat",
    title="exFAT",
    checks="sums of both boot regions and of the up-case table",
    probe=probe,
    open=ExfatVolume,
    deleted=Later("imgmount.filesystems.exfat.deleted:deleted"),
)
