"""FAT12, FAT16 and FAT32, with VFAT long names.

Source: Microsoft's FAT specification 1.03. There is no magic: the parameter block must make sense, and the first FAT must begin
with the media byte that it names. No exFAT, and no transaction-safe FAT.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Format, Kind, Match
from imgmount.core.node import Filesystem
from imgmount.filesystems.fat.bpb import Bpb


def probe(device: BlockDevice) -> Match:
    """CERTAIN where parameter block, media byte and first FAT entries agree, LIKELY where the first alone is sound."""
    bpb = Bpb.read(device)
    return Match.CERTAIN if bpb.first_entries(device, bpb.only_fat or 0) else Match.LIKELY


def open_fat(device: BlockDevice, context: Context) -> Filesystem:
    """The volume on ``device``."""
    from imgmount.filesystems.fat.volume import FatVolume  # this package is imported at every start, its reader is not

    return FatVolume(device, context)


def second_opinion(device: BlockDevice, context: Context) -> Iterator[str]:
    """The volume on ``device``, compared with what pyfatfs reads."""
    from imgmount.filesystems.fat.strict import compare
    from imgmount.filesystems.fat.volume import FatVolume

    return compare(FatVolume(device, context))


FORMAT: Final = Format(
    name="fat",
    title="FAT12, FAT16, FAT32",
    kind=Kind.FILESYSTEM,
    probe=probe,
    open=open_fat,
    second_opinion=second_opinion,
)
