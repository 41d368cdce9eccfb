"""The BIOS parameter block: where everything is on a FAT volume.

Neither the 55AA signature nor the x86 jump is asked for: Atari and MSX disks have none. Source: Microsoft's
FAT specification 1.03; the choice of FAT32 by its zero FATSz16 is what every formatter relies on, whatever
the number of clusters.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self

from imgmount.core.device import BlockDevice
from imgmount.core.header import one_of, within

_BPB: Final = Struct("<3x8sHBHBHHBH4x4xI")  # OEM name to TotSec32, 0x00-0x23
_EXTENDED: Final = Struct("<xBBI11s")  # 0x24 (FAT12/16) or 0x40 (FAT32): flags, boot signature, serial, label
_FAT32: Final = Struct("<IHHIH")  # 0x24: FATSz32, ExtFlags, FSVer, RootClus, FSInfo
NAME: Final = "fat"
BOOT_SIZE: Final = 512
SECTOR_SIZES: Final = (512, 1024, 2048, 4096)
MAX_FATS: Final = 4  # two everywhere, one on small disks
FIXED_DISK: Final = 0xF8  # media bytes from here on and 0xF0 exist
REMOVABLE: Final = 0xF0
SIGNED: Final = (0x28, 0x29)  # serial, and label with 0x29, follow
MAX_FAT12: Final = 4084  # clusters
MAX_FAT16: Final = 65524
MAX_FAT32: Final = 0x0FFF_FFF5
RECORD: Final = 32  # bytes of a directory record
NOT_MIRRORED: Final = 0x80  # of ExtFlags: only the FAT in the low four bits is kept up to date


class Bpb(NamedTuple):
    """The geometry, checked. Offsets and sizes are in bytes, from the start of the volume."""

    bits: int  # 12, 16 or 32
    sector_size: int
    cluster_size: int
    clusters: int  # numbered from 2
    fat_offset: int
    fat_size: int  # of one copy
    fats: int
    only_fat: int | None  # the copy that is kept up to date, where just one is
    root_offset: int  # FAT12/16: the fixed root directory
    root_size: int
    root_cluster: int  # FAT32
    data_offset: int  # of cluster 2
    size: int
    media: int
    fsinfo: int  # offset, 0 for none
    oem: str
    label: bytes
    serial: int | None
    dirty: bool
    source: str = ""  # what it was read from, where that is not the boot sector

    @classmethod
    def read(cls, device: BlockDevice, offset: int = 0) -> Self:
        """The parameter block in the boot sector at ``offset``. Raises ``FormatError``."""
        boot = device.read_exactly(offset, BOOT_SIZE, NAME)
        oem, sector, per_cluster, reserved, fats, root_entries, total, media, fat_sectors, total_32 = (
            _BPB.unpack_from(boot)
        )
        one_of(NAME, "sector size", sector, SECTOR_SIZES, offset=offset + 0x0B)
        within(NAME, "sectors in a cluster", per_cluster, 1, 128, power_of_two=True, offset=offset + 0x0D)
        within(NAME, "number of reserved sectors", reserved, 1, 0xFFFF, offset=offset + 0x0E)
        within(NAME, "number of FATs", fats, 1, MAX_FATS, offset=offset + 0x10)
        if media != REMOVABLE:
            within(NAME, "media byte", media, FIXED_DISK, 0xFF, offset=offset + 0x15)
        total = total or total_32
        big = fat_sectors == 0
        flags = root_cluster = fsinfo = 0
        if big:
            fat_sectors, flags, version, root_cluster, fsinfo = _FAT32.unpack_from(boot, 0x24)
            one_of(NAME, "version of FAT32", version, (0,), offset=offset + 0x2A)
        else:
            within(NAME, "number of root entries", root_entries, 1, 0xFFFF, offset=offset + 0x11)
        within(NAME, "sectors of a FAT", fat_sectors, 1, 0xFFFF_FFFF, offset=offset + 0x16)
        root = reserved + fats * fat_sectors
        data = root + -(-root_entries * RECORD // sector)
        within(NAME, "number of sectors", total, data + per_cluster, 0xFFFF_FFFF, offset=offset + 0x13)
        clusters = (total - data) // per_cluster
        bits = 32 if big else 12 if clusters <= MAX_FAT12 else 16
        most = MAX_FAT32 if big else MAX_FAT16
        within(NAME, "number of clusters", clusters, 1, most, offset=offset + 0x20)
        room = fat_sectors * sector * 8 // bits - 2
        within(NAME, "clusters that a FAT has room for", room, 1, 1 << 42, offset=offset + 0x16)
        dirty, signature, serial, label = _EXTENDED.unpack_from(boot, 0x40 if big else 0x24)
        return cls(
            bits=bits,
            sector_size=sector,
            cluster_size=per_cluster * sector,
            clusters=min(clusters, room),
            fat_offset=reserved * sector,
            fat_size=fat_sectors * sector,
            fats=fats,
            only_fat=flags & 15 if flags & NOT_MIRRORED and flags & 15 < fats else None,
            root_offset=root * sector,
            root_size=root_entries * RECORD,
            root_cluster=root_cluster,
            data_offset=data * sector,
            size=total * sector,
            media=media,
            fsinfo=fsinfo * sector if 0 < fsinfo < reserved else 0,
            oem=oem.rstrip(b"\0 ").decode("cp437"),
            label=label.rstrip(b" ") if signature == SIGNED[1] else b"",
            serial=serial if signature in SIGNED else None,
            dirty=bool(signature in SIGNED and dirty & 1),
        )

    def first_entries(self, device: BlockDevice, copy: int) -> bool:
        """Whether FAT ``copy`` begins as it must: the media byte and ones, then an end mark but for flags."""
        start = self.fat_offset + copy * self.fat_size
        head = device.pread(start, 4)
        if len(head) < 4 or head[0] != self.media:
            return False
        if self.bits == 12:
            return head[1] & 0x8F == 0x8F and head[2] == 0xFF
        if self.bits == 16:
            return head[1] == 0xFF and head[3] & 0x3F == 0x3F
        return head[1] == head[2] == 0xFF and head[3] & 0x0F == 0x0F
