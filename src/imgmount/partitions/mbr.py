"""Master boot record partition tables with their chains of logical partitions.

A sector whose code area is a FAT, NTFS or exFAT boot sector is a partition table only where its entries are
beyond doubt; the protective record of a GPT is none.

Source: the UEFI specification 2.10, section 5.2; numbers and extended chains as in Linux,
``block/partitions/msdos.c``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Match, Partition, PartitionsFormat, begins_on
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, ImageError

log = logging.getLogger(__name__)

SECTOR: Final = 512
SECTORS: Final = (512, 1024, 2048, 4096)  # that entries may count in
IDENTIFIER: Final = 440  # offset of the number that Windows and Linux know the disk by
TABLE: Final = 446  # offset of the four entries
SIGNATURE: Final = b"\x55\xaa"  # at 510
# flag, type, first sector, sectors; CHS addresses are ignored
_ENTRY: Final = Struct("<B3xB3xII")
ACTIVE: Final = 0x80
FLAGS: Final = (0x00, ACTIVE)
EXTENDED: Final = (0x05, 0x0F, 0x85)
PROTECTIVE: Final = 0xEE
FIRST_LOGICAL: Final = 5
MAX_LOGICALS: Final = 251  # 256 minors of a Linux disk, less the primary ones

# OEM names of boot sectors without a FAT BPB
_VOLUMES: Final = (b"NTFS    ", b"EXFAT   ", b"-FVE-FS-", b"ReFS\0\0\0\0")
_BPB: Final = Struct("<11xHBHB4xB")  # sector size, sectors per cluster, reserved sectors, FATs, media
# what partitions begin with: boot sectors and extended tables; ext, XFS, Btrfs, F2FS, HFS+, ISO 9660,
# SquashFS, LVM, LUKS, swap
_MARKS: Final = (
    (510, SIGNATURE), (0x438, b"\x53\xef"), (0, b"XFSB"), (0x10040, b"_BHRfS_M"), (1024, b"\x10\x20\xf5\xf2"),
    (1024, b"H+\0\4"), (1024, b"HX\0\5"), (0x8001, b"CD001"), (0, b"hsqs"), (512, b"LABELONE"),
    (0, b"LUKS\xba\xbe"), (4086, b"SWAPSPACE2"),
)  # fmt: skip

TYPES: Final = {
    0x01: "FAT12", 0x04: "FAT16 under 32 MB", 0x06: "FAT16", 0x07: "NTFS/exFAT/HPFS", 0x0B: "FAT32",
    0x0C: "FAT32 LBA", 0x0E: "FAT16 LBA", 0x11: "hidden FAT12", 0x12: "diagnostics",
    0x14: "hidden FAT16 under 32 MB", 0x16: "hidden FAT16", 0x17: "hidden NTFS/HPFS", 0x1B: "hidden FAT32",
    0x1C: "hidden FAT32 LBA", 0x1E: "hidden FAT16 LBA", 0x27: "Windows recovery", 0x39: "Plan 9",
    0x41: "PowerPC PReP", 0x42: "Windows dynamic disk", 0x4D: "QNX 4", 0x63: "Unix System V",
    0x76: "Amiga RDB", 0x80: "old Minix", 0x81: "Minix", 0x82: "Linux swap", 0x83: "Linux", 0x8E: "Linux LVM",
    0xA5: "FreeBSD", 0xA6: "OpenBSD", 0xA8: "Darwin UFS", 0xA9: "NetBSD", 0xAB: "Darwin boot",
    0xAF: "Apple HFS+", 0xBE: "Solaris boot", 0xBF: "Solaris", 0xDA: "data", 0xEB: "BeOS",
    0xEE: "GPT protective", 0xEF: "EFI system", 0xFB: "VMware VMFS", 0xFC: "VMware swap", 0xFD: "Linux RAID",
}  # fmt: skip


class Entry(NamedTuple):
    """One of the four records of a table.

    ``first`` is in sectors, relative to what the table's place says.
    """

    flag: int
    type: int
    first: int
    sectors: int

    @property
    def used(self) -> bool:
        """Whether it describes sectors. A partition cannot begin at the table itself."""
        return self.type != 0 and self.sectors != 0 and self.first != 0


def _entries(sector: bytes) -> list[Entry]:
    """The four entries of a 512-byte record, or nothing where it has no signature."""
    if sector[510:512] != SIGNATURE:
        return []
    return [Entry._make(fields) for fields in _ENTRY.iter_unpack(sector[TABLE:510])]


def _is_boot_sector(sector: bytes) -> bool:
    """Whether the code area is a filesystem's: then what looks like a table is code or text."""
    if sector[3:11] in _VOLUMES:
        return True
    size, per_cluster, reserved, fats, media = _BPB.unpack_from(sector)
    powers = size in SECTORS and per_cluster and not per_cluster & (per_cluster - 1)
    return bool(powers and reserved and fats in (1, 2) and (media == 0xF0 or media >= 0xF8))


def _primary(device: BlockDevice) -> list[Entry]:
    """The primary entries. Raises ``FormatError`` where they cannot be a partition table."""
    entries = _entries(device.read_exactly(0, SECTOR, "mbr"))
    if any(entry.flag not in FLAGS for entry in entries):
        raise FormatError("mbr", "a boot flag is neither 00 nor 80", offset=TABLE)
    if not any(entry.used and entry.first * SECTOR < device.size for entry in entries):
        raise FormatError("mbr", "no partition begins inside the disk", offset=TABLE)
    return entries


def _sector_size(device: BlockDevice, entries: Sequence[Entry]) -> int:
    """512, unless more file systems and extended tables lie where larger sectors put them."""
    used = [entry for entry in entries if entry.used]

    def found(sector: int) -> int:
        return sum(_is_known(device, entry.first * sector) for entry in used)

    best, most = SECTORS[0], found(SECTORS[0])
    for sector in SECTORS[1:]:
        fits = all((entry.first + entry.sectors) * sector <= device.size for entry in used)
        if fits and (count := found(sector)) > most:
            best, most = sector, count
    return best


def _is_known(device: BlockDevice, start: int) -> bool:
    """Whether a known signature is at ``start``."""
    return any(device.pread(start + at, len(mark)) == mark for at, mark in _MARKS)


def _is_beyond_doubt(device: BlockDevice, entries: Sequence[Entry]) -> bool:
    """Whether each entry is empty, or a partition on the disk that overlaps no other."""
    used = sorted((entry.first, entry.sectors) for entry in entries if entry.used)
    ends = [1, *(first + sectors for first, sectors in used)]
    apart = all(end <= first for end, (first, _) in zip(ends, used, strict=False))
    blank = all(not entry.first and not entry.sectors for entry in entries if not entry.used)
    return bool(used) and apart and blank and ends[-1] * SECTOR <= device.size


def probe(device: BlockDevice) -> Match:
    """LIKELY at most: 55AA and a few plausible numbers prove little."""
    sector = device.read_exactly(0, SECTOR, "mbr")
    entries = _primary(device)
    if _is_boot_sector(sector) and not _is_beyond_doubt(device, entries):
        return Match.NO
    if not any(entry.type == PROTECTIVE for entry in entries):
        return Match.LIKELY
    from imgmount.partitions.gpt import has_header, has_partitions

    others = any(entry.used and entry.type != PROTECTIVE for entry in entries)
    return Match.NO if has_partitions(device) or (not others and has_header(device)) else Match.LIKELY


def open_mbr(device: BlockDevice, _: Context) -> list[Partition]:
    """Primary partitions in slots 1-4, logical ones from 5. Extended containers are not partitions."""
    entries = _primary(device)
    sector = _sector_size(device, entries)
    found = [
        (slot, entry, entry.first) for slot, entry in enumerate(entries, 1) if entry.type not in EXTENDED
    ]
    number = FIRST_LOGICAL
    for container in entries:
        if not container.used or container.type not in EXTENDED:
            continue
        try:
            for entry, first in _logicals(device, container.first, sector):
                found.append((number, entry, first))
                number += 1
        except ImageError as exc:
            log.warning("%s: logical partitions after number %d are lost", exc, number - 1)
    parts = []
    for number, entry, first in found:
        if not entry.used:
            continue
        if not begins_on(device, "mbr", number, first * sector):
            continue
        content = Slice(device, first * sector, entry.sectors * sector)
        info = {"active": "yes"} if entry.flag == ACTIVE else {}
        parts.append(Partition(number, f"0x{entry.type:02x}", TYPES.get(entry.type, ""), content, info=info))
    return parts


def _logicals(device: BlockDevice, container: int, sector: int) -> Iterator[tuple[Entry, int]]:
    """(entry, first sector on the disk) along the chain of extended records from sector ``container`` on."""
    table = container
    seen: set[int] = set()
    for _ in range(MAX_LOGICALS):
        if table in seen:
            raise FormatError("mbr", "the chain of extended tables loops", offset=table * sector)
        seen.add(table)
        entries = _entries(device.read_exactly(table * sector, SECTOR, "mbr"))
        if not entries:
            raise FormatError("mbr", "an extended table has no signature", offset=table * sector)
        for entry in entries:
            if entry.used and entry.type not in EXTENDED:
                yield entry, table + entry.first  # relative to this table
        link = next((entry for entry in entries if entry.used and entry.type in EXTENDED), None)
        if link is None:
            return
        table = container + link.first  # relative to the first
    raise FormatError("mbr", f"more than {MAX_LOGICALS} extended tables", offset=table * sector)


def about(device: BlockDevice) -> dict[str, str]:
    """The disk's identifier, and the sectors that it counts in."""
    record = device.read_exactly(0, SECTOR, "mbr")
    identifier = int.from_bytes(record[IDENTIFIER : IDENTIFIER + 4], "little")
    facts = {"disk identifier": f"{identifier:#010x}"} if identifier else {}
    return {**facts, "sectors": f"{_sector_size(device, _primary(device))} bytes"}


FORMAT: Final = PartitionsFormat(
    name="mbr",
    title="MBR partition table",
    extensions=(".img", ".dd", ".raw"),
    probe=probe,
    open=open_mbr,
    about=about,
)
