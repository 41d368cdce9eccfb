"""The boot sector of an NTFS volume and its backup, the last sector: where everything is.

Source: the layout of the NTFS boot sector as the Linux-NTFS project documents it ("NTFS Documentation",
$Boot).
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.header import within
from imgmount.errors import FormatError

NAME: Final = "ntfs"
MAGIC: Final = b"NTFS    "
MAGIC_AT: Final = 3
MIN_SECTOR: Final = 256
MAX_SECTOR: Final = 4096
BACKUPS: Final = ((512, 512), (1024, 1024), (2048, 2048), (4096, 4096), (256, 256), (256, 768))
# sector size, and how far before the end the backup is; the last as mkntfs has it with sectors of 256 bytes
MAX_CLUSTER: Final = 2 << 20
MAX_CLUSTERS: Final = 1 << 48
MIN_RECORD: Final = 512
MAX_RECORD: Final = 64 << 10
STRIDE: Final = 512  # bytes that one fixup protects, whatever the size of a sector

_BPB: Final = Struct("<3x8sHB26xQQQb3xb3xQ")
# 3 OEM name, 11 sector size, 13 sectors a cluster, 40 sectors, 48 cluster of $MFT, 56 of $MFTMirr,
# 64 size of records, 68 of index records, 72 serial number


class Boot(NamedTuple):
    """The geometry, checked. Sizes are in bytes; ``mft`` and ``mirror`` are offsets in the volume."""

    offset: int  # of the sector that this was read from
    sector_size: int
    cluster_size: int
    size: int  # of the volume, without the backup of the boot sector
    mft: int
    mirror: int
    record_size: int
    index_size: int  # of index records, where an index does not say
    serial: int

    @property
    def clusters(self) -> int:
        """Whole clusters of the volume."""
        return self.size // self.cluster_size


def _cluster(sector: int, per_cluster: int, offset: int) -> int:
    """Bytes in a cluster: a power of two, or above 128 the exponent of one, negated."""
    shift = 256 - per_cluster if per_cluster > 128 else per_cluster.bit_length() - 1
    if shift < 0 or (per_cluster <= 128 and per_cluster & (per_cluster - 1)) or sector << shift > MAX_CLUSTER:
        reason = f"clusters of {per_cluster} sectors of {sector} bytes, a power of two up to 2 MiB is right"
        raise FormatError(NAME, reason, offset=offset + 13)
    return sector << shift


def _unit(cluster: int, count: int, most: int, what: str, offset: int) -> int:
    """Bytes in a record: so many clusters, or where that is negative the exponent of a power of two."""
    size = cluster * count if count > 0 else 1 << -count
    return within(NAME, f"size of {what}", size, MIN_RECORD, most, power_of_two=True, offset=offset)


def parse_boot(device: BlockDevice, offset: int) -> Boot:
    """The boot sector at ``offset``. Raises ``FormatError``."""
    raw = device.read_exactly(offset, _BPB.size, NAME)
    magic, sector, per_cluster, sectors, mft, mirror, record, index, serial = _BPB.unpack(raw)
    if magic != MAGIC:
        raise FormatError(NAME, "no boot sector", offset=offset + MAGIC_AT)
    within(NAME, "sector size", sector, MIN_SECTOR, MAX_SECTOR, power_of_two=True, offset=offset + 11)
    cluster = _cluster(sector, per_cluster, offset)
    size = sectors * sector
    if not 0 < size // cluster < MAX_CLUSTERS:
        raise FormatError(NAME, f"a volume of {sectors} sectors", offset=offset + 40)
    if not 0 < mft < size // cluster:
        raise FormatError(NAME, f"$MFT in cluster {mft} of {size // cluster}", offset=offset + 48)
    return Boot(
        offset=offset,
        sector_size=sector,
        cluster_size=cluster,
        size=size,
        mft=mft * cluster,
        mirror=mirror * cluster,
        record_size=_unit(cluster, record, MAX_RECORD, "records", offset + 64),
        index_size=_unit(cluster, index, MAX_CLUSTER, "index records", offset + 68),
        serial=serial,
    )


def backup(device: BlockDevice) -> Boot | None:
    """The boot sector at the end of ``device``, if it is as far from the start as it says."""
    for sector, distance in BACKUPS:
        offset = device.size // sector * sector - distance
        if offset <= 0 or device.pread(offset + MAGIC_AT, len(MAGIC)) != MAGIC:
            continue
        try:
            boot = parse_boot(device, offset)
        except FormatError:
            continue
        if -boot.sector_size <= offset - boot.size < boot.cluster_size + sector:
            return boot
    return None


def read_boot(device: BlockDevice) -> Boot:
    """The first boot sector, else its backup. Raises ``FormatError`` where neither is sound."""
    try:
        return parse_boot(device, 0)
    except FormatError as exc:
        spare = backup(device)
        if spare is None:
            raise FormatError(NAME, exc.reason, offset=exc.offset) from None
        return spare
