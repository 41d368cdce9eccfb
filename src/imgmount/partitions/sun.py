"""Sun disk labels (SMI) with their table of contents (VTOC), big endian, as SPARC machines write them.

Source: the layout as in Linux, ``block/partitions/sun.c``, and ``prtvtoc(1M)``.
"""

from __future__ import annotations

import logging
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.core.format import Context, Match, Partition, PartitionsFormat
from imgmount.core.slices import Slice
from imgmount.errors import ChecksumError, FormatError

log = logging.getLogger(__name__)

SECTOR: Final = 512
MAGIC: Final = 0xDABE
_LABEL: Final = Struct(
    ">128sI8sH32s2x12xI244xHH4x64sHH"
)  # text, VTOC: version, volume, entries, entries' types, sanity;
#                                                            tracks, sectors a track, partitions, magic, checksum
_TYPE: Final = Struct(">HH")  # type, flags
_PARTITION: Final = Struct(">II")  # first cylinder, sectors
SANITY: Final = 0x600DDEEE
WHOLE: Final = 5

TYPES: Final = {
    0: "unassigned", 1: "boot", 2: "root", 3: "swap", 4: "usr", 6: "stand", 7: "var", 8: "home", 9: "alternates", 10: "cachefs",
    11: "reserved", 0x82: "Linux swap", 0x83: "Linux", 0x8E: "Linux LVM", 0xFD: "Linux RAID",
}  # fmt: skip


def _read(device: BlockDevice) -> tuple[int, list[int], list[tuple[int, int]]]:
    """(sectors a cylinder, types, (first cylinder, sectors)) of a label whose checksum holds."""
    raw = device.read_exactly(0, SECTOR, "sun")
    _, version, _, _, types, sanity, tracks, sectors, partitions, magic, _ = _LABEL.unpack(raw)
    if magic != MAGIC:
        raise FormatError("sun", "no label", offset=SECTOR - 4)
    checksum = 0
    for word in table(raw, 2, "big"):
        checksum ^= word
    if checksum:
        raise ChecksumError("sun", "the label's checksum is wrong", offset=SECTOR - 2)
    if not tracks * sectors:
        raise FormatError("sun", f"{tracks} tracks of {sectors} sectors", offset=436)
    told = version == 1 and sanity == SANITY  # old labels have no VTOC
    kinds = [kind if told else 0 for kind, _ in _TYPE.iter_unpack(types)]
    return tracks * sectors, kinds, list(_PARTITION.iter_unpack(partitions))


def probe(device: BlockDevice) -> Match:
    """CERTAIN: a magic and a checksum."""
    _read(device)
    return Match.CERTAIN


def open_sun(device: BlockDevice, _: Context) -> list[Partition]:
    """Slices 0-7 numbered 1-8, as Linux does; the one that is the whole disk is left out."""
    cylinder, kinds, entries = _read(device)
    parts = []
    for number, (kind, (first, sectors)) in enumerate(zip(kinds, entries, strict=True), 1):
        start = first * cylinder * SECTOR
        if kind == WHOLE or not sectors:
            continue
        if start >= device.size:
            log.warning("sun: partition %d begins at %#x, past the end of the disk", number, start)
            continue
        parts.append(
            Partition(number, TYPES.get(kind, f"0x{kind:02X}"), "", Slice(device, start, sectors * SECTOR))
        )
    return parts


FORMAT: Final = PartitionsFormat(
    name="sun",
    title="Sun disk label",
    probe=probe,
    open=open_sun,
)
