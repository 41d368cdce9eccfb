"""BSD disklabels, in the second sector of a disk or of a slice, little endian.

Source: FreeBSD, ``disklabel(5)`` and the layout in ``sys/disk/bsd.h``; which offsets are the disk's as in
Linux, ``block/partitions/msdos.c``.
"""

from __future__ import annotations

import logging
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.core.format import Context, Match, Partition, PartitionsFormat
from imgmount.core.slices import Slice
from imgmount.errors import ChecksumError, FormatError

log = logging.getLogger(__name__)

LABEL: Final = 512  # offset
MAGIC: Final = b"WEV\x82"
_HEADER: Final = Struct("<4s36xI88x4sHH8x")  # magic, sector size, magic again, checksum, partitions
_PARTITION: Final = Struct("<III BxH")  # sectors, first sector, fragment size, type, cylinders a group
MAX_PARTITIONS: Final = 22  # OpenBSD's 16 and DragonFly's
SECTORS: Final = (512, 1024, 2048, 4096)
WHOLE: Final = 2  # partition c: the slice, or the disk
UNUSED: Final = 0

TYPES: Final = {
    1: "swap", 2: "Version 6", 3: "Version 7", 4: "System V", 5: "4.1BSD", 6: "Eighth Edition", 7: "4.2BSD", 8: "MS-DOS",
    9: "4.4LFS", 10: "unknown", 11: "HPFS", 12: "ISO 9660", 13: "boot", 14: "vinum", 15: "RAID", 17: "ext2", 18: "NTFS",
    20: "ccd", 22: "ZFS",
}  # fmt: skip


class Entry(NamedTuple):
    """One partition. ``first`` may count from the start of the disk."""

    sectors: int
    first: int
    fragment: int
    type: int
    cylinders: int


def _read(device: BlockDevice) -> tuple[int, list[Entry]]:
    """(sector size, entries) of a label whose checksum holds. Raises ``FormatError``."""
    magic, sector, again, _, count = _HEADER.unpack(device.read_exactly(LABEL, _HEADER.size, "bsd"))
    if magic != MAGIC or again != MAGIC:
        raise FormatError("bsd", "no disklabel", offset=LABEL)
    if sector not in SECTORS:
        raise FormatError("bsd", f"sectors of {sector} bytes", offset=LABEL + 40)
    if not 0 < count <= MAX_PARTITIONS:
        raise FormatError("bsd", f"{count} partitions", offset=LABEL + 138)
    raw = device.read_exactly(LABEL, _HEADER.size + count * _PARTITION.size, "bsd")
    checksum = 0
    for word in table(raw, 2, "little"):
        checksum ^= word
    if checksum:
        raise ChecksumError("bsd", "the label's checksum is wrong", offset=LABEL + 136)
    return sector, [Entry._make(fields) for fields in _PARTITION.iter_unpack(raw[_HEADER.size :])]


def _base(device: BlockDevice, sector: int, entries: list[Entry]) -> int:
    """What the entries call the first sector of ``device``: partition c begins there, or is the disk that it is a part of."""
    if len(entries) <= WHOLE:
        return 0
    whole = entries[WHOLE]
    if whole.first == 0 and whole.sectors * sector > device.size and isinstance(device, Slice):
        return device.offset // sector
    return whole.first


def probe(device: BlockDevice) -> Match:
    """CERTAIN: two magics and a checksum."""
    _read(device)
    return Match.CERTAIN


def open_bsd(device: BlockDevice, _: Context) -> list[Partition]:
    """Partitions a, b, d... numbered 1, 2, 4...; c, which is everything, is left out."""
    sector, entries = _read(device)
    base = _base(device, sector, entries)
    parts = []
    for index, entry in enumerate(entries):
        if index == WHOLE or entry.type == UNUSED or not entry.sectors:
            continue
        start = (entry.first - base) * sector
        if not 0 <= start < device.size:
            log.warning(
                "bsd: partition %s of sectors %d+%d is not here",
                chr(ord("a") + index),
                entry.first,
                entry.sectors,
            )
            continue
        kind = TYPES.get(entry.type, str(entry.type))
        parts.append(Partition(index + 1, kind, "", Slice(device, start, entry.sectors * sector)))
    return parts


FORMAT: Final = PartitionsFormat(
    name="bsd",
    title="BSD disklabel",
    probe=probe,
    open=open_bsd,
)
