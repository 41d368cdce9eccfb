"""The boot region and its backup: where everything is. exFAT specification, section 3."""

from __future__ import annotations

import logging
import struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.header import parse_header, within
from imgmount.core.layout import Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Padding, Struct
from imgmount.errors import ChecksumError, FormatError, UnsupportedError

log = logging.getLogger(__name__)

NAME: Final = "exfat"
MAGIC: Final = b"EXFAT   "
BOOT_SIZE: Final = 512
REGION: Final = 12  # sectors, the last one full of the checksum of the others
SECTOR_SHIFTS: Final = range(9, 13)
MAX_CLUSTER_SHIFT: Final = 25  # 32 MiB
MAX_CLUSTERS: Final = 0xFFFF_FFF5
_SKIPPED: Final = (106, 107, 112)  # flags and percentage change without a new checksum
_SECOND_FAT: Final = 1  # volume flags
_DIRTY: Final = 2
_FAILURE: Final = 4

_BOOT: Final = Struct(                     # offset
    Padding(3),                            # 0x00
    "magic" / Bytes(8),                    # 0x03
    "zero" / Bytes(53),                    # 0x0B
    Padding(8),                            # 0x40
    "sectors" / Int64ul,                   # 0x48
    "fat_start" / Int32ul,                 # 0x50
    "fat_sectors" / Int32ul,               # 0x54
    "heap_start" / Int32ul,                # 0x58
    "clusters" / Int32ul,                  # 0x5C
    "root" / Int32ul,                      # 0x60
    "serial" / Int32ul,                    # 0x64
    "revision" / Int16ul,                  # 0x68
    "flags" / Int16ul,                     # 0x6A
    "sector_shift" / Int8ul,               # 0x6C
    "cluster_shift" / Int8ul,              # 0x6D
    "fats" / Int8ul,                       # 0x6E
    Padding(0x18F),                        # 0x6F
    "signature" / Bytes(2),                # 0x1FE
)  # fmt: skip
assert _BOOT.sizeof() == BOOT_SIZE


class Boot(NamedTuple):
    """The geometry, checked. Offsets and sizes are in bytes; ``end`` is one past the last cluster."""

    offset: int  # of the sector that this was read from
    sector_size: int
    cluster_size: int
    end: int
    fat_offset: int
    fat_size: int  # of one
    active_fat: int
    fats: int
    heap_offset: int  # of cluster 2
    root: int
    serial: int
    size: int
    flags: int

    @property
    def dirty(self) -> bool:
        """Whether the volume was not unmounted."""
        return bool(self.flags & _DIRTY)

    @property
    def failing(self) -> bool:
        """Whether its medium is said to fail."""
        return bool(self.flags & _FAILURE)


def parse_boot(device: BlockDevice, offset: int) -> Boot:
    """The boot sector at ``offset``. Raises ``FormatError``."""
    fields = parse_header(_BOOT, device, offset, NAME, "the boot sector")

    def refuse(reason: str, at: int) -> FormatError:
        return FormatError(NAME, reason, offset=offset + at)

    def check(name: str, value: int, low: int, high: int, at: int) -> int:
        return within(NAME, name, value, low, high, offset=offset + at)

    if fields.magic != MAGIC:
        raise refuse(f"a boot sector has the name {MAGIC!r}, here is {fields.magic!r}", 3)
    if any(fields.zero):
        raise refuse("a BIOS parameter block is where zeros belong", 0x0B)
    check("logarithm of the sector size", fields.sector_shift, SECTOR_SHIFTS[0], SECTOR_SHIFTS[-1], 0x6C)
    shift = fields.sector_shift + fields.cluster_shift
    check("logarithm of the cluster size", shift, fields.sector_shift, MAX_CLUSTER_SHIFT, 0x6D)
    if fields.revision >> 8 != 1:
        raise UnsupportedError(f"{NAME}: revision {fields.revision >> 8}.{fields.revision & 255:02} is not 1")
    check("number of FATs", fields.fats, 1, 2, 0x6E)
    sector = 1 << fields.sector_shift
    end = check("number of clusters", fields.clusters, 1, MAX_CLUSTERS, 0x5C) + 2
    check("first sector of the FAT", fields.fat_start, 2 * REGION, fields.sectors, 0x50)
    check("sectors of the FAT", fields.fat_sectors, -(-4 * end // sector), fields.sectors, 0x54)
    behind = fields.fat_start + fields.fats * fields.fat_sectors
    check("first sector of the clusters", fields.heap_start, behind, fields.sectors, 0x58)
    needed = fields.heap_start + (fields.clusters << fields.cluster_shift)
    check("number of sectors", fields.sectors, needed, (1 << 55) - 1, 0x48)
    check("first cluster of the root directory", fields.root, 2, end - 1, 0x60)
    return Boot(
        offset=offset,
        sector_size=sector,
        cluster_size=1 << shift,
        end=end,
        fat_offset=fields.fat_start * sector,
        fat_size=fields.fat_sectors * sector,
        active_fat=1 if fields.flags & _SECOND_FAT and fields.fats == 2 else 0,
        fats=fields.fats,
        heap_offset=fields.heap_start * sector,
        root=fields.root,
        serial=fields.serial,
        size=fields.sectors * sector,
        flags=fields.flags,
    )


def check_region(device: BlockDevice, boot: Boot) -> None:
    """Compare the region that ``boot`` begins with its checksum.

    Raises ``ChecksumError``, ``FormatError``. Section 3.4.
    """
    region = device.read_exactly(boot.offset, REGION * boot.sector_size, NAME)
    total = 0
    covered = (REGION - 1) * boot.sector_size
    for index, byte in enumerate(region[:covered]):
        if index not in _SKIPPED:
            total = ((total << 31 | total >> 1) + byte) & 0xFFFF_FFFF
    if region[covered:] != struct.pack("<I", total) * (boot.sector_size // 4):
        raise ChecksumError(NAME, "the checksum of the boot region is wrong", offset=boot.offset + covered)


def read_boot(device: BlockDevice) -> Boot:
    """The main boot region, or its backup where that is better.

    Raises ``FormatError``, ``UnsupportedError`` for the former.
    """
    main: Boot | None = None
    try:
        main = parse_boot(device, 0)
        check_region(device, main)
    except FormatError as exc:
        damage = exc
    else:
        return main
    for shift in SECTOR_SHIFTS:
        try:
            backup = parse_boot(device, REGION << shift)
            if backup.sector_size != 1 << shift:
                continue
            check_region(device, backup)
        except FormatError:
            continue
        log.warning("%s; using the backup", damage)
        return backup
    if main is None:
        raise damage
    log.warning("%s", damage)
    return main
