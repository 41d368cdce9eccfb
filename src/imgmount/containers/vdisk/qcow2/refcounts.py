"""QCOW2 reference counts against the references: what ``verify`` does. Reading needs none of this."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

from imgmount.containers.vdisk.qcow2.device import Qcow2Device
from imgmount.core.fields import table
from imgmount.errors import FormatError

_OFFSET: Final = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED: Final = 1 << 62
MAX_CLUSTERS: Final = 1 << 24  # counted: 1 TiB of 64 KiB clusters
MAX_PROBLEMS: Final = 1000
_SECTOR: Final = 512


class _Counts:
    """How often each cluster of the file is referred to."""

    def __init__(self, disk: Qcow2Device) -> None:
        self.disk = disk
        self.size = disk.header.cluster_size
        self.found = array("I", bytes(4 * -(-disk.file.size // self.size)))
        self.problems: list[str] = []

    def add(self, offset: int, length: int, what: str) -> None:
        for cluster in range(offset // self.size, -(-(offset + length) // self.size)):
            if cluster >= len(self.found):
                self.problems.append(f"{what} at {offset:#x} lies past the end of the file")
                return
            self.found[cluster] += 1

    def add_disk(self, l1_offset: int, l1_size: int, what: str) -> None:
        """The clusters that an L1 table leads to. External data is not counted."""
        disk = self.disk
        self.add(l1_offset, 8 * l1_size, f"the L1 table of {what}")
        step = 2 if disk.header.extended else 1
        try:
            l1 = table(disk.file.read_exactly(l1_offset, 8 * l1_size, "qcow2"), 8, "big")
        except FormatError as exc:
            self.problems.append(exc.reason)
            return
        for entry in l1:
            offset = entry & _OFFSET
            if not offset:
                continue
            self.add(offset, self.size, f"an L2 table of {what}")
            for l2_entry in table(disk.file.pread(offset, self.size), 8, "big")[::step]:
                if l2_entry & _COMPRESSED:
                    start, length = disk.compressed_at(l2_entry)
                    start, end = start // _SECTOR * _SECTOR, start + length
                    self.add(
                        start, min(end, len(self.found) * self.size) - start, f"compressed data of {what}"
                    )
                elif l2_entry & _OFFSET and not disk.header.data_file:
                    if l2_entry & _OFFSET & (self.size - 1):
                        self.problems.append(
                            f"a cluster of {what} begins inside one, at {l2_entry & _OFFSET:#x}"
                        )
                    self.add(l2_entry & _OFFSET, self.size, f"a cluster of {what}")


def check_refcounts(disk: Qcow2Device) -> Iterator[str]:
    """Clusters in use that are counted less often than they are referred to.

    A writer would overwrite them.
    """
    header, size = disk.header, disk.header.cluster_size
    if disk.file.size // size > MAX_CLUSTERS:
        yield f"more than {MAX_CLUSTERS} clusters: reference counts are not checked"
        return
    counts = _Counts(disk)
    counts.add_disk(header.l1_offset, header.l1_size, "the disk")
    try:
        for one in disk.snapshots():
            counts.add_disk(one.l1_offset, one.l1_size, f"snapshot {one.id}")
    except FormatError as exc:
        yield f"snapshots cannot be listed: {exc.reason}"
    yield from counts.problems[:MAX_PROBLEMS]
    shown = 0
    for cluster, stored in enumerate(_stored(disk, len(counts.found))):
        if stored < counts.found[cluster] and shown < MAX_PROBLEMS:
            shown += 1
            used = counts.found[cluster]
            yield f"the cluster at {cluster * size:#x} is used {used} times and counted {stored} times"


def _stored(disk: Qcow2Device, clusters: int) -> Iterator[int]:
    """The counts in the file, one a cluster, zeros where no block of them is.

    Spec: qcow2.txt, "Refcount table".
    """
    header, size = disk.header, disk.header.cluster_size
    per_block = size * 8 // header.refcount_bits
    blocks = -(-clusters // per_block)
    length = min(8 * blocks, header.refcount_clusters * size)
    offsets = table(disk.file.pread(header.refcount_offset, length), 8, "big")
    for block in range(blocks):
        offset = offsets[block] & _OFFSET if block < len(offsets) else 0
        count = min(per_block, clusters - block * per_block)
        yield from _counts(disk.file.pread(offset, size) if offset else b"", header.refcount_bits, count)


def _counts(data: bytes, bits: int, count: int) -> Iterator[int]:
    data = data.ljust(-(-count * bits // 8), b"\0")
    if bits < 8:
        for index in range(count):
            byte, place = divmod(index * bits, 8)
            yield data[byte] >> place & (1 << bits) - 1
        return
    width = bits // 8
    for index in range(count):
        yield int.from_bytes(data[index * width : (index + 1) * width], "big")
