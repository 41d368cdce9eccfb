"""Sun disk labels (SMI) with their table of contents (VTOC): of SPARC machines, and of Solaris on x86.

The former are big endian, in the first sector of a disk; the latter little endian, in the second sector of a
slice of an MBR. Source: Linux, ``block/partitions/sun.c`` and ``msdos.c``, for the layouts; ``prtvtoc(1M)``.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, Literal, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.core.format import Context, Match, Partition, PartitionsFormat, begins_on
from imgmount.core.header import one_of, within
from imgmount.core.slices import Slice
from imgmount.errors import ChecksumError

SECTOR: Final = 512
MAGIC: Final = 0xDABE
# text; VTOC: version, volume, entries, their types, sanity; tracks, sectors a track, partitions, magic, sum
_LABEL: Final = Struct(">128sI8sH32s2x12xI244xHH4x64sHH")
_TYPE: Final = Struct(">HH")  # type, flags
_PARTITION: Final = Struct(">II")  # first cylinder, sectors
SANITY: Final = 0x600DDEEE
WHOLE: Final = 5
# of Solaris on x86: sanity, version, name of the volume, sector size, slices
_X86: Final = Struct("<12xII8xHH")
_X86_SLICE: Final = Struct("<HHII")  # type, flags, first sector of the slice of the disk, sectors
_X86_TABLE: Final = 72
X86_SLICES: Final = 16

TYPES: Final = {
    0: "unassigned", 1: "boot", 2: "root", 3: "swap", 4: "usr", 6: "stand", 7: "var", 8: "home",
    9: "alternates", 10: "cachefs", 11: "reserved", 0x82: "Linux swap", 0x83: "Linux", 0x8E: "Linux LVM",
    0xFD: "Linux RAID",
}  # fmt: skip


class Slot(NamedTuple):
    """One slice, by its number from 0; where it begins and how long it is, in sectors of 512 bytes."""

    number: int
    kind: int
    first: int
    sectors: int


def _check_sum(raw: bytes, order: Literal["little", "big"], at: int) -> None:
    """Raise ``ChecksumError`` where the words of a label do not add up to nothing, by exclusive or."""
    total = 0
    for word in table(raw, 2, order):
        total ^= word
    if total:
        raise ChecksumError("sun", "the label's checksum is wrong", offset=at + SECTOR - 2)


def _sparc(device: BlockDevice) -> list[Slot]:
    """The slices of a label of SPARC machines. Raises ``FormatError``."""
    raw = device.read_exactly(0, SECTOR, "sun")
    _, version, _, _, types, sanity, tracks, sectors, partitions, magic, _ = _LABEL.unpack(raw)
    one_of("sun", "magic of the label", magic, (MAGIC,), offset=SECTOR - 4)
    _check_sum(raw, "big", 0)
    cylinder = within("sun", "number of sectors of a cylinder", tracks * sectors, 1, 0xFFFE0001, offset=436)
    told = version == 1 and sanity == SANITY  # old labels have no VTOC
    kinds = [kind if told else 0 for kind, _ in _TYPE.iter_unpack(types)]
    places = _PARTITION.iter_unpack(partitions)
    return [
        Slot(number, kind, first * cylinder, size)
        for number, (kind, (first, size)) in enumerate(zip(kinds, places, strict=True))
    ]


def _x86(device: BlockDevice) -> list[Slot]:
    """The slices of a label of Solaris on x86. Raises ``FormatError``."""
    raw = device.read_exactly(SECTOR, SECTOR, "sun")
    sanity, version, sector, count = _X86.unpack_from(raw)
    one_of("sun", "sanity of the table of contents", sanity, (SANITY,), offset=SECTOR + 12)
    one_of("sun", "version of the table of contents", version, (1,), offset=SECTOR + 16)
    one_of("sun", "sector size", sector, (0, SECTOR), offset=SECTOR + 28)
    within("sun", "number of slices", count, 1, X86_SLICES, offset=SECTOR + 30)
    if raw[-4:-2] == MAGIC.to_bytes(2, "little"):
        _check_sum(raw, "little", SECTOR)
    entries = _X86_SLICE.iter_unpack(raw[_X86_TABLE : _X86_TABLE + count * _X86_SLICE.size])
    return [Slot(number, kind, first, size) for number, (kind, _, first, size) in enumerate(entries)]


def _read(device: BlockDevice) -> list[Slot]:
    """The slices of whichever label is there."""
    x86 = device.pread(SECTOR + 12, 4) == SANITY.to_bytes(4, "little")
    return _x86(device) if x86 and device.pread(SECTOR - 4, 2) != MAGIC.to_bytes(2, "big") else _sparc(device)


def probe(device: BlockDevice) -> Match:
    """CERTAIN: a magic, and a checksum or fields that fit."""
    _read(device)
    return Match.CERTAIN


def open_sun(device: BlockDevice, _: Context) -> list[Partition]:
    """Slices numbered from 1, as Linux does; the one that is the whole disk is left out."""
    parts = []
    for slot in _read(device):
        start = slot.first * SECTOR
        if slot.kind == WHOLE or not slot.sectors:
            continue
        if not begins_on(device, "sun", slot.number + 1, start):
            continue
        kind = TYPES.get(slot.kind, f"0x{slot.kind:02X}")
        parts.append(Partition(slot.number + 1, kind, "", Slice(device, start, slot.sectors * SECTOR)))
    return parts


FORMAT: Final = PartitionsFormat(
    name="sun",
    title="Sun disk label",
    checks="sum of the label",
    probe=probe,
    open=open_sun,
)
