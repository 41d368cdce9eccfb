"""Where the parameter block is: in the boot sector, in its backup, or, for floppies, in the medium itself.

FAT32 keeps a copy of the boot sector in sector 6. Floppies of DOS 1 have no parameter block: the media byte
at the start of the FAT and the size of the disk say the same, also where a boot sector is wiped.

Source: Microsoft's FAT specification 1.03, section 3; the formats of floppies as in "MS-DOS Encyclopedia",
article 3, and mtools' ``devices.c``.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.format import Match
from imgmount.errors import FormatError
from imgmount.filesystems.fat.bpb import RECORD, SECTOR_SIZES, Bpb

log = logging.getLogger(__name__)

BACKUP: Final = 6  # sector of a FAT32 volume
FLOPPY_SECTOR: Final = 512
_VOID: Final = b"\xe5\0"  # first bytes of records that are not in use
_ATTRIBUTES: Final = 0xC0  # bits of the attribute byte that nothing sets


class Floppy(NamedTuple):
    """The parameters of a floppy format, in sectors of 512 bytes."""

    sectors: int
    media: int
    per_cluster: int
    fat_sectors: int
    root_entries: int


FLOPPIES: Final = (
    Floppy(320, 0xFE, 1, 1, 64),  # 160 KB
    Floppy(360, 0xFC, 1, 2, 64),  # 180 KB
    Floppy(640, 0xFF, 2, 1, 112),  # 320 KB
    Floppy(720, 0xFD, 2, 2, 112),  # 360 KB
    Floppy(640, 0xFA, 2, 1, 112),
    Floppy(1280, 0xFB, 2, 2, 112),  # 640 KB
    Floppy(1440, 0xF9, 2, 3, 112),  # 720 KB
    Floppy(2400, 0xF9, 1, 7, 224),  # 1.2 MB
    Floppy(2880, 0xF0, 1, 9, 224),  # 1.44 MB
    Floppy(5760, 0xF0, 2, 9, 240),  # 2.88 MB
)


def find_bpb(device: BlockDevice) -> Bpb:
    """The parameter block that is used: the boot sector's, or else another that fits the FAT better.

    ``Bpb.source`` says which. Raises ``FormatError`` for the boot sector where there is none.
    """
    try:
        primary = Bpb.read(device)
    except FormatError as exc:
        found = _other(device)
        if found is None:
            raise
        log.warning("%s: using %s", exc, found.source)
        return found
    if primary.first_entries(device, primary.only_fat or 0):
        return primary
    return _backup(device) or primary


def rescue(device: BlockDevice) -> Match:
    """LIKELY where a backup of the boot sector or the format of a floppy is proved by the FAT itself."""
    return Match.LIKELY if _other(device) else Match.NO


def _other(device: BlockDevice) -> Bpb | None:
    return _backup(device) or _floppy(device)


def _backup(device: BlockDevice) -> Bpb | None:
    """The copy of a FAT32 boot sector, if a FAT is where it says."""
    for sector in SECTOR_SIZES:
        try:
            found = Bpb.read(device, BACKUP * sector)
        except FormatError:
            continue
        if (
            found.bits == 32
            and found.sector_size == sector
            and found.first_entries(device, found.only_fat or 0)
        ):
            return found._replace(source=f"the backup of the boot sector at {BACKUP * sector:#x}")
    return None


def _floppy(device: BlockDevice) -> Bpb | None:
    """The parameters of a floppy without a parameter block, if its FAT and its root directory make sense."""
    media = device.pread(FLOPPY_SECTOR, 1)
    for format_ in FLOPPIES:
        if device.size != format_.sectors * FLOPPY_SECTOR or media != bytes([format_.media]):
            continue
        found = _bpb_of(format_)
        root = device.pread(found.root_offset, found.root_size)
        if found.first_entries(device, 0) and is_directory(root, found.clusters + 2):
            return found
    return None


def _bpb_of(floppy: Floppy) -> Bpb:
    root = 1 + 2 * floppy.fat_sectors
    data = root + floppy.root_entries * RECORD // FLOPPY_SECTOR
    return Bpb(
        bits=12,
        sector_size=FLOPPY_SECTOR,
        cluster_size=floppy.per_cluster * FLOPPY_SECTOR,
        clusters=(floppy.sectors - data) // floppy.per_cluster,
        fat_offset=FLOPPY_SECTOR,
        fat_size=floppy.fat_sectors * FLOPPY_SECTOR,
        fats=2,
        only_fat=None,
        root_offset=root * FLOPPY_SECTOR,
        root_size=floppy.root_entries * RECORD,
        root_cluster=0,
        data_offset=data * FLOPPY_SECTOR,
        size=floppy.sectors * FLOPPY_SECTOR,
        media=floppy.media,
        fsinfo=0,
        oem="",
        label=b"",
        serial=None,
        dirty=False,
        source=f"the format of floppies of {floppy.sectors // 2} KB, media byte {floppy.media:#04x}",
    )


def is_directory(data: bytes, end: int) -> bool:
    """Whether ``data`` can be a directory: known attributes, clusters below ``end``, then an end mark."""
    for at in range(0, len(data) - RECORD + 1, RECORD):
        record = data[at : at + RECORD]
        if record[0] == 0:
            return True
        if record[0] in _VOID:
            continue
        if record[11] & _ATTRIBUTES or int.from_bytes(record[26:28], "little") >= max(end, 2):
            return False
        if record[0] < 0x20 and record[0] != 5 and record[11] != 0x0F:  # no character of a name
            return False
    return True
