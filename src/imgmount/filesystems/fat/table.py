"""Which copy of the FAT is believed; chains are ``families.fat.chains``."""

from __future__ import annotations

import logging
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.errors import ImageError
from imgmount.families.fat.chains import ClusterTable
from imgmount.filesystems.fat.bpb import Bpb

log = logging.getLogger(__name__)

_MASK: Final = {12: 0xFFF, 16: 0xFFFF, 32: 0x0FFF_FFFF}  # the top four bits of a FAT32 entry are reserved


def cluster_table(device: BlockDevice, bpb: Bpb) -> ClusterTable:
    """The FAT of a volume: the only one that is kept up to date, or the first that begins as it must."""
    copy = _sound_copy(device, bpb) if bpb.only_fat is None else bpb.only_fat
    others = [other for other in range(bpb.fats) if other != copy and bpb.only_fat is None]
    places = [bpb.fat_offset + number * bpb.fat_size for number in range(bpb.fats)]
    return ClusterTable(
        device, "fat", bits=bpb.bits, mask=_MASK[bpb.bits], end=bpb.clusters + 2, places=places,
        copy=copy, others=others,
    )  # fmt: skip


def _sound_copy(device: BlockDevice, bpb: Bpb) -> int:
    """The first copy that begins as a FAT must; the first of all where none does."""
    for copy in range(bpb.fats):
        try:
            sound = bpb.first_entries(device, copy)
        except ImageError:
            continue
        if sound:
            if copy:
                log.warning("fat: FAT 0 is damaged, using FAT %d", copy)
            return copy
    return 0
