"""Images that growisofs grew, where sessions do not point at older ones.

Each session begins at the first multiple of 16 blocks behind the one before, and its descriptors are copied
over those at sector 16. So the newest session is described twice, and the first nowhere. Older ones are
looked for, from the newest back; the roots of the first are found by what directories say of themselves: a
root is its own parent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from imgmount.core.device import BlockDevice, Extent
from imgmount.core.slices import Concat, MemoryDevice
from imgmount.families.optical.sectors import DESCRIPTOR_SECTOR
from imgmount.partitions.sessions.volume_descriptor import BLOCK, volume_place

UNIT: Final = 16  # blocks: sessions begin at multiples of it
MAX_TABLES: Final = 8192  # blocks between the descriptors of a session and its root: its path tables
MAX_DESCRIPTORS: Final = 16  # that growisofs copies
WINDOW: Final = 256  # blocks read at once

_SUPPLEMENTARY: Final = 2
# where fields are that store a number in both byte orders
_VOLUME_SIZE_AT, _PATH_TABLE_SIZE_AT, _ROOT_AT, _ROOT_SIZE_AT = (80, 132, 158, 166)
# byte order of a path table, and where its place stands in that order
_PATH_TABLES: Final = (("<", 140), (">", 148))
_PATH_ENTRY: Final = "BxIH"  # length of the name, block, parent
# length and identifier of the first record of a directory, which stands for the directory itself
_OWN_NAME: Final = slice(32, 34)


def newest(device: BlockDevice) -> int:
    """The block at which the session begins whose descriptors sector 16 has a copy of.

    It is 0 where that is no copy.
    """
    volume = volume_place(device, 0)
    if volume is None:
        return 0
    last = volume.root // UNIT * UNIT
    for start in range(last, max(0, last - MAX_TABLES), -UNIT):
        copy = volume_place(device, start)
        if copy and copy.root == volume.root:
            return start
    return 0


def older(device: BlockDevice, start: int, limit: int) -> list[int] | None:
    """Where the sessions before that at ``start`` begin, oldest first.

    None if that means to search over ``limit`` blocks.
    """
    found: list[int] = []
    following = start
    for block in range(start - UNIT, max(0, start - limit), -UNIT):
        volume = volume_place(device, block)
        if volume and -(-(block + volume.size) // UNIT) * UNIT == following:
            found.append(block)
            following = block
    return found[::-1] if start <= limit else None


def first(device: BlockDevice, end: int) -> BlockDevice | None:
    """The image with the descriptors of its first session, which ends at ``end``, made again.

    None if its root is not found.
    """
    roots = list(_roots(device, end))
    if not roots:
        return None
    start = DESCRIPTOR_SECTOR * BLOCK
    written = b"".join(_descriptors(device, roots, end))
    rest = start + len(written)
    return Concat(
        [
            Extent(start, device),
            Extent(len(written), MemoryDevice(written)),
            Extent(device.size - rest, device, rest),
        ]
    )


def _roots(device: BlockDevice, end: int) -> Iterator[tuple[int, int]]:
    """(block, bytes) of the directories that are their own parents.

    The root of ISO 9660, then that of Joliet.
    """
    for base in range(DESCRIPTOR_SECTOR, min(end, MAX_TABLES), WINDOW):
        data = device.pread(base * BLOCK, WINDOW * BLOCK)
        for at in range(0, len(data) - BLOCK + 1, BLOCK):
            block, length = base + at // BLOCK, data[at]
            own, parent = data[at + 2 : at + 6], data[at + length + 2 : at + length + 6]
            named = data[at + _OWN_NAME.start : at + _OWN_NAME.stop] == b"\1\0"
            if named and own == parent == block.to_bytes(4, "little") and block < end:
                yield block, int.from_bytes(data[at + 10 : at + 14], "little")


def _descriptors(device: BlockDevice, roots: list[tuple[int, int]], end: int) -> Iterator[bytes]:
    """The descriptors at sector 16, those that name a root changed to name one of ``roots``.

    What they had no room for stays.
    """
    left = iter(roots)
    for number in range(MAX_DESCRIPTORS):
        data = bytearray(device.read_exactly((DESCRIPTOR_SECTOR + number) * BLOCK, BLOCK, "sessions"))
        if data[1:6] != b"CD001":
            return
        if data[0] in (1, _SUPPLEMENTARY):
            block, size = next(left, (0, 0))
            if not block:
                continue  # the first session had no such tree
            tables = [_path_table(device, block, order) for order, _ in _PATH_TABLES]
            numbers = {
                _VOLUME_SIZE_AT: end,
                _PATH_TABLE_SIZE_AT: tables[0][0],
                _ROOT_AT: block,
                _ROOT_SIZE_AT: size,
            }
            for at, value in numbers.items():
                data[at : at + 8] = value.to_bytes(4, "little") + value.to_bytes(4, "big")
            for (order, at), (_, place) in zip(_PATH_TABLES, tables, strict=True):
                struct.pack_into(f"{order}II", data, at, place, 0)
        yield bytes(data)


def _path_table(device: BlockDevice, root: int, order: str) -> tuple[int, int]:
    """(bytes, block) of the path table in that byte order that begins with ``root``.

    (0, 0) if none is found ahead of it.
    """
    entry = struct.Struct(order + _PATH_ENTRY)
    head = entry.pack(1, root, 1)
    for block in range(DESCRIPTOR_SECTOR, root):
        if device.pread(block * BLOCK, entry.size) == head:
            data = device.pread(block * BLOCK, (root - block) * BLOCK)
            at = 0
            while at < len(data) and data[at]:
                at += entry.size + data[at] + (data[at] & 1)
            return at, block
    return 0, 0
