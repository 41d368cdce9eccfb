"""NTFS, read by libfsntfs: compressed, sparse and system-compressed (WOF) files, alternate data streams, links and junctions.

Not the log: a volume that was not unmounted is shown as it is. Source of what is checked here: the boot
sector as in Linux, ``fs/ntfs/layout.h``.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, FilesystemFormat, Match
from imgmount.core.node import Filesystem
from imgmount.errors import FormatError
from imgmount.families.windows.options import STREAMS, SYSTEM

_BPB: Final = Struct(
    "<11xHB26xQ8x8xbxxxb"
)  # sector size, sectors a cluster, sectors, record and index block sizes
SECTOR_SIZES: Final = (256, 512, 1024, 2048, 4096)
MAX_CLUSTER: Final = 2 << 20
MAX_SHIFT: Final = 16  # a record of 64 KiB


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the numbers of the boot sector can be a volume's."""
    sector, per_cluster, sectors, record, block = _BPB.unpack(device.read_exactly(0, _BPB.size, "ntfs"))
    if sector not in SECTOR_SIZES or not sectors:
        raise FormatError("ntfs", f"{sectors} sectors of {sector} bytes", offset=11)
    shift = 256 - per_cluster if per_cluster > 128 else per_cluster.bit_length() - 1  # above 128: 2**-n
    if shift < 0 or sector << shift > MAX_CLUSTER or (per_cluster <= 128 and per_cluster & (per_cluster - 1)):
        raise FormatError("ntfs", f"clusters of {per_cluster} sectors", offset=13)
    if not record or not block or min(record, block) < -MAX_SHIFT:
        raise FormatError("ntfs", f"records of {record}, index blocks of {block}", offset=0x40)
    return Match.CERTAIN


def open_ntfs(device: BlockDevice, context: Context) -> Filesystem:
    """The volume on ``device``. Raises ``UnsupportedError`` where libfsntfs is not installed."""
    from imgmount.filesystems.ntfs.volume import NtfsVolume

    probe(device)
    return NtfsVolume(device, context)


FORMAT: Final = FilesystemFormat(
    name="ntfs",
    title="NTFS",
    probe=probe,
    open=open_ntfs,
    limits="files encrypted with EFS, deduplicated or kept in a cloud; the log is not replayed",
    needs="ntfs",
    options=(SYSTEM, STREAMS),
)
