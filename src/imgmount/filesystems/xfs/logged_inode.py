"""Inodes as the log has them: numbers in the order of the machine that wrote them, and parts of their forks.

Source: XFS Algorithms and Data Structures, "Inode Log Item"; the kernel's ``xfs_inode_item_recover.c``.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from imgmount.errors import FormatError
from imgmount.filesystems.xfs.inode import BIG_COUNTS, BIG_TIMES
from imgmount.filesystems.xfs.superblock import NAME
from imgmount.filesystems.xfs.transactions import Item

DATA, EXTENTS, ROOT, DEVICE = 0x2, 0x4, 0x8, 0x10  # what is logged of the first fork
ATTRIBUTE_DATA, ATTRIBUTE_EXTENTS, ATTRIBUTE_ROOT = 0x40, 0x80, 0x100  # and of the second
_FIRST: Final = DATA | EXTENTS | ROOT
_SECOND: Final = ATTRIBUTE_DATA | ATTRIBUTE_EXTENTS | ATTRIBUTE_ROOT
# kind, regions, what is logged, sizes of forks, inode, device, where the inode's buffer is and how long, in
# sectors, and where the inode is in it; the older form has no padding before the inode
_FIELDS: Final = "HHIHH4xQI12xqii"
_OLD_FIELDS: Final = "HHIHHQI12xqii"
_CORE_2, _CORE_3 = 100, 176
_UNLINKED: Final = slice(96, 100)  # not taken from the log
_FLUSHED: Final = slice(30, 32)  # count of writes, up to version 2
_MAX_FLUSHED: Final = 0xFFFF
_PLACE: Final = slice(112, 120)  # of the log, that the inode was last written for
_FORK: Final = 82  # where the place of the second fork is
_FORK_HEAD: Final = 4
_TREE_HEADS: Final = {2: 24, 3: 72}  # of the root of a tree in memory


class InodeItem(NamedTuple):
    """The first region of an inode's item."""

    fields: int
    number: int
    device: int
    sector: int
    sectors: int
    offset: int

    @classmethod
    def parse(cls, item: Item) -> InodeItem:
        """Raises ``FormatError``."""
        raw = item.regions[0]
        layout = struct.Struct(
            item.order + (_FIELDS if len(raw) >= struct.calcsize("<" + _FIELDS) else _OLD_FIELDS)
        )
        if len(raw) < layout.size:
            raise FormatError(NAME, f"an inode's item of {len(raw)} bytes in the log")
        _, _, fields, _, _, number, device, sector, sectors, offset = layout.unpack_from(raw)
        return cls(fields, number, device, sector, sectors, offset)


def replayed_inode(item: Item, told: InodeItem, old: bytes, place: bytes) -> bytes | None:
    """The inode ``old`` as the log has it; None where what is there is as new as ``place`` in the log.

    Raises ``FormatError``.
    """
    core = _core(item)
    version = core[4]
    is_long = version >= 3
    if is_long and old[4] >= 3:
        if old[:2] == b"IN" and bytes(8) != old[_PLACE] != b"\xff" * 8 and old[_PLACE] > place:
            return None
    elif not is_long and _is_flushed(core[_FLUSHED], old[_FLUSHED]):
        return None
    new = bytearray(old)
    new[: len(core)] = core
    new[_UNLINKED] = old[_UNLINKED]
    if is_long:
        new[_PLACE] = place
    else:
        new[_FLUSHED] = bytes(2)
    start, end = len(core), len(core) + 8 * new[_FORK] if new[_FORK] else len(new)
    if told.fields & DEVICE:
        new[start : start + 4] = told.device.to_bytes(4, "big")
    regions = iter(item.regions[2:])
    for wanted, tree, first, last in ((_FIRST, ROOT, start, end), (_SECOND, ATTRIBUTE_ROOT, end, len(new))):
        if not told.fields & wanted:
            continue
        region = next(regions, b"")
        if told.fields & tree:
            region = _root(region, _TREE_HEADS[3 if is_long else 2], last - first)
        if len(region) > last - first:
            raise FormatError(NAME, f"{len(region)} bytes in the log for a fork of {last - first}")
        new[first : first + len(region)] = region
    return bytes(new)


def _is_flushed(logged: bytes, stored: bytes) -> bool:
    """Whether a stored inode is newer, by how often it was written; the count begins anew after its end."""
    new, old = int.from_bytes(logged, "big"), int.from_bytes(stored, "big")
    return new < old and not (old == _MAX_FLUSHED and new < _MAX_FLUSHED >> 1)


def _core(item: Item) -> bytes:
    """The fixed part in the order of the volume."""
    raw = item.regions[1] if len(item.regions) > 1 else b""
    version = raw[4] if len(raw) > 4 else 0
    # that of version 2 ends before the next inode without links, which is not taken anyway
    size, least = (_CORE_3, _CORE_3) if version >= 3 else (_CORE_2, _UNLINKED.start)
    if len(raw) < least:
        raise FormatError(NAME, f"an inode of {len(raw)} bytes in the log, {least} are wanted")
    raw = raw[:size].ljust(size, b"\0")
    more = struct.unpack_from(f"{item.order}Q", raw, 120)[0] if version >= 3 else 0
    time = "Q" if more & BIG_TIMES else "ii"
    counts = ("Q", "I2s") if more & BIG_COUNTS else ("8s" if version >= 3 else "6sH", "IH")
    layout = f"HHBB2sIIIHH{counts[0]}{3 * time}qQI{counts[1]}BBIHHII"
    if version >= 3:
        layout += f"4sQQQI12s{time}Q16s"
    return struct.pack(f">{layout}", *struct.unpack(item.order + layout, raw))


def _root(raw: bytes, head: int, room: int) -> bytes:
    """The root of a tree of extents, as it is in an inode, from its form in memory."""
    if len(raw) < head + 16 or room < _FORK_HEAD + 16:
        raise FormatError(NAME, f"the root of a tree of extents has {len(raw)} bytes in the log")
    level, count = struct.unpack_from(">HH", raw, 4)
    have, fitting = (len(raw) - head) // 16, (room - _FORK_HEAD) // 16
    if count > min(have, fitting):
        raise FormatError(NAME, f"{count} records in the root of a tree of extents for {min(have, fitting)}")
    keys, places = raw[head : head + 8 * count], raw[head + 8 * have : head + 8 * (have + count)]
    return struct.pack(">HH", level, count) + keys.ljust(8 * fitting, b"\0") + places
