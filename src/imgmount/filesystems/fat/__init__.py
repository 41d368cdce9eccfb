"""FAT12, FAT16 and FAT32, with VFAT long names.

Source: Microsoft's FAT specification 1.03. There is no magic: the parameter block must make sense, and the
first FAT must begin with the media byte that it names. No exFAT, and no transaction-safe FAT.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Later, Match
from imgmount.filesystems.fat.boot import find_bpb, rescue
from imgmount.filesystems.fat.bpb import Bpb


def probe(device: BlockDevice) -> Match:
    """CERTAIN where parameter block and first FAT entries agree, LIKELY where the first alone is sound."""
    Bpb.read(device)
    bpb = find_bpb(device)
    return Match.CERTAIN if bpb.first_entries(device, bpb.only_fat or 0) else Match.LIKELY


FORMAT: Final = FilesystemFormat(
    name="fat",
    title="FAT12, FAT16, FAT32",
    extensions=(".img", ".ima", ".flp", ".vfd"),
    checks="copies of the FAT and of the boot sector, chains",
    probe=probe,
    rescue=rescue,
    open=Later("imgmount.filesystems.fat.volume:FatVolume"),
    check=Later("imgmount.filesystems.fat.check:check"),
    deleted=Later("imgmount.filesystems.fat.deleted:deleted"),
    second_opinion=Later("imgmount.filesystems.fat.second_opinion:compare"),
)
