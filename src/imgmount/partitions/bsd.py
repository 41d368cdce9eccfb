"""BSD disklabels of a disk or of a slice, little endian: of 32 bits, and of 64 bits as DragonFly has them.

The former lie in the second sector or, on some machines, at byte 64 of the first.

Source: FreeBSD, ``disklabel(5)`` and the layout in ``sys/disk/bsd.h``; DragonFly, ``sys/disklabel64.h``;
Linux, ``block/partitions/msdos.c``, for which offsets count from the start of the disk.
"""

from __future__ import annotations

import logging
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.core.format import Context, Match, Partition, PartitionsFormat
from imgmount.core.header import one_of, within
from imgmount.core.slices import Slice
from imgmount.errors import ChecksumError, FormatError

log = logging.getLogger(__name__)

LABELS: Final = (512, 64)  # offsets
MAGIC: Final = b"WEV\x82"
_HEADER: Final = Struct("<4s36xI88x4sHH8x")  # magic, sector size, magic again, checksum, partitions
_PARTITION: Final = Struct("<III BxH")  # sectors, first sector, fragment size, type, cylinders a group
MAX_PARTITIONS: Final = 22  # OpenBSD's 16 and DragonFly's
SECTORS: Final = (512, 1024, 2048, 4096)
WHOLE: Final = 2  # partition c: the slice, or the disk
UNUSED: Final = 0

MAGIC_64: Final = b"\x59\x4c\x46\xc4"
_HEADER_64: Final = Struct("<4sI4xI")  # magic, CRC-32 of all with this as zeros, alignment, partitions
_PARTITION_64: Final = Struct("<QQB47x")  # first byte of the slice, bytes, type; UUIDs
_TABLE_64: Final = 200  # from the magic on
MAX_PARTITIONS_64: Final = 16
MAX_SIZE: Final = 1 << 63  # bytes

TYPES: Final = {
    1: "swap", 2: "Version 6", 3: "Version 7", 4: "System V", 5: "4.1BSD", 6: "Eighth Edition", 7: "4.2BSD",
    8: "MS-DOS", 9: "4.4LFS", 10: "unknown", 11: "HPFS", 12: "ISO 9660", 13: "boot", 14: "vinum", 15: "RAID",
    17: "ext2", 18: "NTFS", 20: "ccd", 22: "ZFS",
}  # fmt: skip


class Entry(NamedTuple):
    """One partition. ``first`` may count from the start of the disk."""

    sectors: int
    first: int
    fragment: int
    type: int
    cylinders: int


def _read(device: BlockDevice) -> tuple[int, list[Entry]]:
    """(sector size, entries) of a 32-bit label whose checksum holds. Raises ``FormatError``."""
    label = next((at for at in LABELS if device.pread(at, len(MAGIC)) == MAGIC), LABELS[0])
    magic, sector, again, _, count = _HEADER.unpack(device.read_exactly(label, _HEADER.size, "bsd"))
    if magic != MAGIC or again != MAGIC:
        raise FormatError("bsd", f"a label has the magic {MAGIC.hex()} twice", offset=label)
    one_of("bsd", "sector size", sector, SECTORS, offset=label + 40)
    within("bsd", "number of partitions", count, 1, MAX_PARTITIONS, offset=label + 138)
    raw = device.read_exactly(label, _HEADER.size + count * _PARTITION.size, "bsd")
    checksum = 0
    for word in table(raw, 2, "little"):
        checksum ^= word
    if checksum:
        raise ChecksumError("bsd", "the label's checksum is wrong", offset=label + 136)
    return sector, [Entry._make(fields) for fields in _PARTITION.iter_unpack(raw[_HEADER.size :])]


def _is_wide(device: BlockDevice) -> bool:
    return device.pread(LABELS[0], len(MAGIC_64)) == MAGIC_64


def _read_64(device: BlockDevice) -> list[tuple[int, int, int]]:
    """(first byte, bytes, type) of each partition of a sound 64-bit label. Raises ``FormatError``."""
    label = LABELS[0]
    _, stored, count = _HEADER_64.unpack(device.read_exactly(label, _HEADER_64.size, "bsd"))
    within("bsd", "number of partitions", count, 1, MAX_PARTITIONS_64, offset=label + 12)
    raw = device.read_exactly(label, _TABLE_64 + count * _PARTITION_64.size, "bsd")
    if crc32(raw[:4] + bytes(4) + raw[8:]) != stored:
        raise ChecksumError("bsd", "the label's CRC is wrong", offset=label + 4)
    return [(start, size, kind) for start, size, kind in _PARTITION_64.iter_unpack(raw[_TABLE_64:])]


def _base(device: BlockDevice, sector: int, entries: list[Entry]) -> int:
    """The number that entries give the first sector of ``device``: 0, or its place on the disk."""
    if len(entries) <= WHOLE:
        return 0
    whole = entries[WHOLE]
    if whole.first == 0 and whole.sectors * sector > device.size and isinstance(device, Slice):
        return device.offset // sector
    return whole.first


def probe(device: BlockDevice) -> Match:
    """CERTAIN: magics and a checksum."""
    _ = _read_64(device) if _is_wide(device) else _read(device)
    return Match.CERTAIN


def open_bsd(device: BlockDevice, _: Context) -> list[Partition]:
    """Partitions a, b, d... numbered 1, 2, 4...; c, which is everything, is left out in labels of 32 bits."""
    if _is_wide(device):
        places = [(index, *entry) for index, entry in enumerate(_read_64(device))]
    else:
        sector, entries = _read(device)
        base = _base(device, sector, entries)
        places = [
            (index, (entry.first - base) * sector, entry.sectors * sector, entry.type)
            for index, entry in enumerate(entries)
            if index != WHOLE and entry.type != UNUSED
        ]
    parts = []
    for index, start, size, kind in places:
        if not size:
            continue
        if not 0 <= start < device.size or size >= MAX_SIZE:
            letter = chr(ord("a") + index)
            log.warning("bsd: partition %s of %d bytes at %d is not here", letter, size, start)
            continue
        parts.append(Partition(index + 1, TYPES.get(kind, str(kind)), "", Slice(device, start, size)))
    return parts


FORMAT: Final = PartitionsFormat(
    name="bsd",
    title="BSD disklabel",
    checks="sum of the label",
    probe=probe,
    open=open_bsd,
)
