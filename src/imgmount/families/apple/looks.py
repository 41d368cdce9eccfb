"""Whether bytes look like a disk, or an image of one: asked where neither a name nor a type code tells."""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice

SIGNS: Final = (
    (0, b"LK\x60"),  # boot blocks of HFS
    (0, b"ER"),  # Apple's driver descriptor map
    (0, b"encrcdsa"),
    (0, b"sprs"),
    (0, b"shdw"),
    (3, b"NTFS    "),
    (32, b"NXSB"),  # APFS
    (510, b"\x55\xaa"),
    (512, b"PM\0\0"),
    (512, b"EFI PART"),
    (1024, b"BD"),  # HFS
    (1024, b"H+"),
    (1024, b"HX"),
    (1024, b"\xd2\xd7"),  # MFS
    (0x8001, b"CD001"),
    (-8, b"cdsaencr"),
    (-512, b"koly"),
)


def looks_like_disk(device: BlockDevice) -> bool:
    """Whether a sign of a partition map, a filesystem or a disk image is there."""
    for offset, mark in SIGNS:
        place = offset if offset >= 0 else device.size + offset
        if place >= 0 and device.pread(place, len(mark)) == mark:
            return True
    return False
