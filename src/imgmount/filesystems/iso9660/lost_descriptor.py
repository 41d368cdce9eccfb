"""A volume whose primary descriptor is lost.

The descriptors behind it show that it is ISO 9660, and its root directory is looked for.

The first record of a directory stands for itself, the second for its parent (ECMA-119, 6.8.2.2). The root is
the directory that is its own parent, and writers put it right behind the path tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.families.optical.disc_start import MAX_ROOT_SEARCH
from imgmount.filesystems.iso9660.descriptors import (
    BOOT,
    FIRST_SECTOR,
    ISO_ROOT_OFFSET,
    PRIMARY,
    ROOT_RECORD_SIZE,
    SECTOR,
    STANDARD_ID,
    SUPPLEMENTARY,
    TERMINATOR,
    Descriptor,
    descriptors,
    parse_descriptor,
)
from imgmount.filesystems.iso9660.records import DIRECTORY, HEADER_SIZE, ISO_RECORD

FOLLOWING: Final = 3  # sectors behind the lost one in which another descriptor must be
_TYPES: Final = (BOOT, PRIMARY, SUPPLEMENTARY, TERMINATOR)
_BLOCK_SIZE_AT: Final = 128  # in a descriptor, in both byte orders


def is_lost(device: BlockDevice, start: int) -> bool:
    """Whether the session at sector ``start`` has descriptors but for the first, which is none."""
    first = start + FIRST_SECTOR
    return not _is_descriptor(device, first) and any(
        _is_descriptor(device, first + step) for step in range(1, FOLLOWING + 1)
    )


def _is_descriptor(device: BlockDevice, sector: int) -> bool:
    head = device.pread(sector * SECTOR, 7)
    return head[1:] == STANDARD_ID + b"\x01" and head[0] in _TYPES


def has_root(device: BlockDevice, start: int) -> bool:
    """Whether a root directory is found without the primary descriptor."""
    return rebuilt(device, start) is not None or any(
        one.joliet and _own_root(device, int.from_bytes(one.root[2:6], "little")) is not None
        for one in descriptors(device, start + FIRST_SECTOR)
    )


def rebuilt(device: BlockDevice, start: int) -> Descriptor | None:
    """A primary descriptor as far as it can be known: blocks of 2048 bytes, and the root.

    None if that is not found.
    """
    others = {int.from_bytes(one.root[2:6], "little") for one in descriptors(device, start + FIRST_SECTOR)}
    root = next((record for sector, record in _roots(device, start) if sector not in others), None)
    if root is None:
        return None
    raw = bytearray(SECTOR)
    raw[:7] = bytes([PRIMARY]) + STANDARD_ID + b"\x01"
    raw[_BLOCK_SIZE_AT : _BLOCK_SIZE_AT + 4] = SECTOR.to_bytes(2, "little") + SECTOR.to_bytes(2, "big")
    raw[ISO_ROOT_OFFSET : ISO_ROOT_OFFSET + ROOT_RECORD_SIZE] = root
    return parse_descriptor(bytes(raw), (start + FIRST_SECTOR) * SECTOR)._replace(rebuilt=True)


def _roots(device: BlockDevice, start: int) -> Iterator[tuple[int, bytes]]:
    """(sector, its own record) of the directories behind the descriptors that are their own parents."""
    first = start + FIRST_SECTOR + 1
    for sector in range(first, min(first + MAX_ROOT_SEARCH, device.size // SECTOR)):
        if (record := _own_root(device, sector)) is not None:
            yield sector, record


def _own_root(device: BlockDevice, sector: int) -> bytes | None:
    """The record that the root at ``sector`` has of itself; None if none is there."""
    data = device.pread(sector * SECTOR, 512)
    if len(data) < 512 or data[0] < ROOT_RECORD_SIZE or data[0] > 512 - ROOT_RECORD_SIZE:
        return None
    own, parent = (ISO_RECORD.unpack_from(data, at) for at in (0, data[0]))
    names = data[HEADER_SIZE], data[data[0] + HEADER_SIZE]
    both = data[2:6] == data[6:10][::-1] and data[10:14] == data[14:18][::-1]
    right = own[2] == parent[2] == sector and own[8] == parent[8] == 1 and own[5] & parent[5] & DIRECTORY
    if not (both and right and names == (0, 1)):
        return None
    return bytes([ROOT_RECORD_SIZE]) + data[1:ROOT_RECORD_SIZE]
