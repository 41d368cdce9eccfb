"""The few fields of an ISO 9660 primary descriptor by which sessions are told (ECMA-119, 8.4)."""

from __future__ import annotations

from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.families.optical.sectors import DESCRIPTOR_SECTOR

BLOCK: Final = 2048
PRIMARY: Final = b"\x01CD001\x01"
VOLUME_SIZE: Final = slice(80, 84)
ROOT: Final = slice(158, 162)


class VolumePlace(NamedTuple):
    """A volume: blocks it says it has, and where its root directory is."""

    size: int
    root: int


def volume_place(device: BlockDevice, start: int) -> VolumePlace | None:
    """What the primary descriptor of a session that begins at block ``start`` says; None if there is none."""
    data = device.pread((start + DESCRIPTOR_SECTOR) * BLOCK, ROOT.stop)
    if not data.startswith(PRIMARY):
        return None
    return VolumePlace(int.from_bytes(data[VOLUME_SIZE], "little"), int.from_bytes(data[ROOT], "little"))
