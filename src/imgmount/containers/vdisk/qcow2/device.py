"""The disk in a QCOW2 file: two levels of tables; clusters plain, compressed, elsewhere or not at all."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Final

from imgmount.codecs import deflate, zstd
from imgmount.codecs.pieces import blank
from imgmount.containers.vdisk.qcow2.structs import (
    COMPRESSION,
    CORRUPT,
    DATA_FILE_RAW,
    DIRTY,
    Header,
    Snapshot,
    snapshots,
)
from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice, Extent, GroupedDevice, MappedDevice
from imgmount.core.fields import table, utc_text
from imgmount.core.format import Context
from imgmount.core.option import SNAPSHOT
from imgmount.core.runs import RUN_BYTES, Bits, equal_run, rising_run
from imgmount.core.slices import beneath
from imgmount.errors import FormatError, ImageError, UnsupportedError

log = logging.getLogger(__name__)

OFFSET_MASK: Final = 0x00FF_FFFF_FFFF_FE00  # bits 9-55 of L1 and L2 entries
COPIED: Final = 1 << 63  # set with offset 0: a cluster at the start of an external data file
COMPRESSED: Final = 1 << 62
READS_ZERO: Final = 1
SECTOR: Final = 512
SUBCLUSTERS: Final = 32
ALL_STORED: Final = 0xFFFF_FFFF  # an extended entry's bitmap: each subcluster stored, none zero
SHOWN_SNAPSHOTS: Final = 1000
L2_BYTES: Final = 16 << 20  # of tables kept
STATES: Final = {DIRTY: "not closed properly", CORRUPT: "marked as corrupt"}
QEMU_FORMATS: Final = {
    **{
        name: name
        for name in (
            "raw",
            "qcow2",
            "qcow",
            "qed",
            "vmdk",
            "vhdx",
            "vdi",
            "parallels",
            "bochs",
            "cloop",
            "dmg",
        )
    },
    "file": "raw",
    "host_device": "raw",
    "vpc": "vhd",
}


class Qcow2Device(MappedDevice):
    """The disk in a QCOW2 file, as it is now or as it was at the snapshot that the user wants."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self.header = header = Header.read(file)
        self.file = file
        self.size, offset, length = header.size, header.l1_offset, header.l1_size
        self.snapshot = SNAPSHOT.of(context.options.extra)
        if self.snapshot:
            snapshot = self._find_snapshot(self.snapshot)
            self.size, offset, length = snapshot.size, snapshot.l1_offset, snapshot.l1_size
        self.block_size = header.cluster_size
        self._l2_entries = self.block_size // (16 if header.extended else 8)
        needed = -(-self.size // (self.block_size * self._l2_entries))
        if needed > length:
            raise FormatError("qcow2", f"{length} L1 entries for a disk of {self.size} bytes", offset=0x24)
        self.l1 = table(file.read_exactly(offset, 8 * needed, "qcow2"), 8, "big")
        self.l2 = lru_cache(max(2, L2_BYTES // self.block_size))(self._read_l2)
        self._look = max(1, RUN_BYTES // self.block_size)
        self._decoded = _CompressedClusters(self, context)
        self._data = context.open_parent(header.data_file, "raw") if header.data_file else file
        self._backing = self._open_backing(context) if header.backing else None

    def snapshots(self) -> Iterator[Snapshot]:
        """The internal snapshots, in the order of the table. Raises ``FormatError``."""
        return snapshots(self.file, self.header)

    def _find_snapshot(self, wanted: str) -> Snapshot:
        present = list(self.snapshots())
        named = [one for one in present if one.id == wanted] or [one for one in present if one.name == wanted]
        if len(named) == 1:
            return named[0]
        listed = ", ".join(f"{one.id} ({one.name})" for one in present[:SHOWN_SNAPSHOTS]) or "none"
        raise ImageError(f"qcow2: {len(named) or 'no'} snapshots are called {wanted!r}; there are: {listed}")

    def _open_backing(self, context: Context) -> BlockDevice:
        declared = self.header.backing_format
        if declared is not None and declared not in QEMU_FORMATS:
            raise UnsupportedError(f"qcow2: backing format {declared!r} of {self.header.backing!r}")
        opened = context.open_parent(self.header.backing, QEMU_FORMATS[declared] if declared else None)
        if declared is None:
            log.warning(
                "qcow2: the format of %r is not declared: it is told by its bytes", self.header.backing
            )
        return opened

    def _read_l2(self, index: int) -> tuple[array[int], array[int] | None]:
        """The L2 table that L1 entry ``index`` names: entries, and the bitmaps of extended ones."""
        offset = self.l1[index] & OFFSET_MASK
        if offset % self.block_size:
            raise FormatError("qcow2", f"L1 entry {index} is not the start of a cluster: {offset:#x}")
        entries = table(self.file.read_exactly(offset, self.block_size, "qcow2"), 8, "big")
        return (entries[::2], entries[1::2]) if self.header.extended else (entries, None)

    def _map(self, offset: int) -> Extent:
        cluster, skip = divmod(offset, self.block_size)
        first, index = divmod(cluster, self._l2_entries)
        if not self.l1[first] & OFFSET_MASK:
            span = equal_run(self.l1, first) * self._l2_entries
            return beneath(self._backing, offset, (span - index) * self.block_size - skip)
        entries, bitmaps = self.l2(first)
        entry = entries[index]
        if entry & COMPRESSED:
            count = 1
            for other in entries[index + 1 : index + self._look]:
                if not other & COMPRESSED:
                    break
                count += 1
            return Extent(min(count * self.block_size - skip, self.size - offset), self._decoded, offset)
        if bitmaps is not None:
            return self._map_subclusters(offset, entries, bitmaps)
        if entry & READS_ZERO and self.header.version > 2:
            return Extent(equal_run(entries, index) * self.block_size - skip)
        if self._is_free(entry):
            return beneath(self._backing, offset, equal_run(entries, index) * self.block_size - skip)
        length = rising_run(entries, index, self.block_size, self._look) * self.block_size - skip
        return Extent(length, self._data, self._host(entry, cluster) + skip)

    def _is_free(self, entry: int) -> bool:
        return not entry & OFFSET_MASK and not (entry & COPIED and self._data is not self.file)

    def _host(self, entry: int, cluster: int) -> int:
        host = entry & OFFSET_MASK
        if host % self.block_size:
            raise FormatError(
                "qcow2", f"cluster {cluster} is stored at {host:#x}, which is not the start of one"
            )
        return host

    def _map_subclusters(self, offset: int, entries: array[int], bitmaps: array[int]) -> Extent:
        """One extent of clusters with extended entries. Spec: qcow2.txt, "Extended L2 Entries"."""
        cluster, skip = divmod(offset, self.block_size)
        index = cluster % self._l2_entries
        entry, bitmap = entries[index], bitmaps[index]
        stored, zero = bitmap & ALL_STORED, bitmap >> SUBCLUSTERS
        if not bitmap and self._is_free(entry):
            count = min(equal_run(entries, index), equal_run(bitmaps, index))
            return beneath(self._backing, offset, count * self.block_size - skip)
        if bitmap == ALL_STORED:
            count = min(
                rising_run(entries, index, self.block_size, self._look), equal_run(bitmaps, index, self._look)
            )
            return Extent(count * self.block_size - skip, self._data, self._host(entry, cluster) + skip)
        if stored & zero:
            raise FormatError("qcow2", f"cluster {cluster} has subclusters that are both stored and zero")
        size = self.block_size // SUBCLUSTERS
        part, within = divmod(skip, size)
        runs = [Bits(bits.to_bytes(4, "little"), first_bit="low").run(part) for bits in (stored, zero)]
        length = min(count for _, count in runs) * size - within
        if runs[1][0]:
            return Extent(length)
        if not runs[0][0]:
            return beneath(self._backing, offset, length)
        if self._is_free(entry):
            raise FormatError("qcow2", f"cluster {cluster} has subclusters stored nowhere")
        return Extent(length, self._data, self._host(entry, cluster) + skip)

    def compressed_at(self, entry: int) -> tuple[int, int]:
        """(offset, size) of the data of a compressed cluster, up to the end of its last sector."""
        bits = 62 - (self.header.cluster_bits - 8)
        offset = entry & (1 << bits) - 1
        sectors = (entry & COMPRESSED - 1) >> bits
        return offset, (sectors + 1) * SECTOR - offset % SECTOR

    def decode(self, cluster: int) -> Content:
        """Cluster ``cluster``, whole, or nothing if it is not compressed.

        The last may claim sectors past the end of the file.
        """
        first, index = divmod(cluster, self._l2_entries)
        entry = self.l2(first)[0][index] if self.l1[first] & OFFSET_MASK else 0
        if not entry & COMPRESSED:
            return b""
        if self._data is not self.file:
            raise FormatError("qcow2", f"cluster {cluster} is compressed, and the data is in another file")
        offset, size = self.compressed_at(entry)
        data = self.file.pread(offset, size)
        try:
            if self.header.compression == "zstd":
                return zstd.decode(data, self.block_size)
            return deflate.inflate(data, self.block_size, wrapper="raw")
        except FormatError as exc:
            raise FormatError("qcow2", f"compressed cluster {cluster}: {exc.reason}", offset=offset) from exc

    def decode_run(self, first: int, count: int) -> bytearray | None:
        """``count`` clusters from ``first`` on, decoded at once.

        None where they are not all compressed, of one table and close together, or one does not decode.
        """
        table_index, index = divmod(first, self._l2_entries)
        if self._data is not self.file or not self.l1[table_index] & OFFSET_MASK:
            return None
        entries = self.l2(table_index)[0][index : index + count]
        if len(entries) < count or not all(entry & COMPRESSED for entry in entries):
            return None
        places = [self.compressed_at(entry) for entry in entries]
        base, size = places[0][0], self.block_size
        end = max(offset + stored for offset, stored in places)
        if min(places)[0] < base or end - base > count * (size + SECTOR):
            return None
        data, out = self.file.pread(base, end - base), blank(count * size)
        pieces = [
            (offset - base, min(stored, len(data) - offset + base), number * size, size)
            for number, (offset, stored) in enumerate(places)
        ]
        decode_all = zstd.decode_all if self.header.compression == "zstd" else deflate.inflate_all
        try:
            decode_all(data, out, pieces)
        except FormatError:
            return None
        return out

    def info(self) -> Mapping[str, str]:
        header = self.header
        facts = {"version": str(header.version), "clusters": f"{self.block_size} bytes"}
        if header.extended:
            facts["subclusters"] = f"{self.block_size // SUBCLUSTERS} bytes"
        if header.incompatible & COMPRESSION:
            facts["compression"] = header.compression
        if header.data_file:
            facts["data file"] = header.data_file + (
                " (a raw image)" if header.autoclear & DATA_FILE_RAW else ""
            )
        if header.backing:
            facts["backing file"] = (
                f"{header.backing} ({header.backing_format or 'no format declared: guessed'})"
            )
        try:
            for one in islice(self.snapshots(), SHOWN_SNAPSHOTS):
                made = utc_text(one.seconds)
                facts[f"snapshot {one.id}"] = f"{one.name!r} of {made}, {one.size} bytes"
        except FormatError as exc:
            facts["snapshots"] = f"cannot be listed: {exc}"
        if header.snapshots > SHOWN_SNAPSHOTS:
            facts["more snapshots"] = str(header.snapshots - SHOWN_SNAPSHOTS)
        states = [name for bit, name in STATES.items() if header.incompatible & bit]
        if states:
            facts["warning"] = "; ".join(states)
        return facts


class _CompressedClusters(GroupedDevice):
    """The compressed clusters, at their places in the disk; what is between them is never read."""

    def __init__(self, disk: Qcow2Device, context: Context) -> None:
        super().__init__(disk.size, disk.block_size, context.cache)
        self._disk = disk

    def _read_units(self, first: int, count: int) -> Content:
        if count > 1 and (run := self._disk.decode_run(first, count)) is not None:
            del run[self.size - first * self.unit :]
            return run
        decode, size = self._disk.decode, self.unit
        clusters = [decode(cluster) or bytes(size) for cluster in range(first, first + count)]
        end = self.size - first * size
        return clusters[0][:end] if count == 1 else b"".join(clusters)[:end]
