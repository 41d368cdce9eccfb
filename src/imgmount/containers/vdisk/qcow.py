"""QEMU copy-on-write disks, version 1 (QCOW).

Two levels of tables, clusters stored plainly, compressed or not at all.

Its backing file has no declared format: it is guessed and may name no further files. Encrypted images are
refused. Source: QEMU, ``block/qcow.c`` as the reference for behaviour; M. McLoughlin, "The QCOW Image
Format", for the layout.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from construct import Const, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from imgmount.codecs import deflate
from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice, ChunkedDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parse_header
from imgmount.core.runs import RUN_BYTES, equal_run, rising_run
from imgmount.core.slices import beneath
from imgmount.errors import FormatError, UnsupportedError

_HEADER = Struct(  # offset
    "magic" / Const(b"QFI\xfb"),  # 0x00
    "version" / Const(1, Int32ub),  # 0x04
    "backing_offset" / Int64ub,  # 0x08
    "backing_size" / Int32ub,  # 0x10
    "mtime" / Int32ub,  # 0x14  of the backing file
    "size" / Int64ub,  # 0x18
    "cluster_bits" / Int8ub,  # 0x20
    "l2_bits" / Int8ub,  # 0x21  log2 of the entries of an L2 table
    "padding" / Int16ub,  # 0x22
    "crypt_method" / Int32ub,  # 0x24
    "l1_offset" / Int64ub,  # 0x28
)
HEADER_SIZE: Final = 48
MIN_CLUSTER_BITS, MAX_CLUSTER_BITS = 9, 16
MIN_L2_BITS, MAX_L2_BITS = 6, 13
MAX_L1: Final = 1 << 22
MAX_NAME: Final = 1023
AES: Final = 1
COMPRESSED: Final = 1 << 63
L2_BYTES: Final = 16 << 20  # of tables kept


class QcowDevice(MappedDevice):
    """The disk in a QCOW file."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        header = parse_header(_HEADER, file, 0, "qcow", "the header")
        if not MIN_CLUSTER_BITS <= header.cluster_bits <= MAX_CLUSTER_BITS:
            raise FormatError("qcow", f"clusters of 2**{header.cluster_bits} bytes", offset=0x20)
        if not MIN_L2_BITS <= header.l2_bits <= MAX_L2_BITS:
            raise FormatError("qcow", f"L2 tables of 2**{header.l2_bits} entries", offset=0x21)
        if header.crypt_method:
            raise UnsupportedError(
                f"qcow: {'AES' if header.crypt_method == AES else header.crypt_method} encryption"
            )
        self.size = header.size
        self.block_size = 1 << header.cluster_bits
        self._header = header
        self._file = file
        self._l2_entries = 1 << header.l2_bits
        count = -(-self.size // (self.block_size * self._l2_entries))
        if count > MAX_L1:
            raise FormatError("qcow", f"a disk of {self.size} bytes", offset=0x18)
        self._l1 = table(file.read_exactly(header.l1_offset, 8 * count, "qcow"), 8, "big")
        self._l2 = lru_cache(L2_BYTES // (8 * self._l2_entries))(self._read_l2)
        self._look = RUN_BYTES // self.block_size
        self._decoded = _CompressedClusters(self, context)
        self._backing_name = self._read_backing_name()
        self._backing = context.open_parent(self._backing_name, None) if self._backing_name else None

    def _read_backing_name(self) -> str:
        header = self._header
        if not header.backing_offset or not header.backing_size:
            return ""
        if header.backing_size > MAX_NAME:
            raise FormatError("qcow", f"a backing file's name of {header.backing_size} bytes", offset=0x10)
        return self._file.read_exactly(header.backing_offset, header.backing_size, "qcow").decode(
            "utf-8", "surrogateescape"
        )

    def _read_l2(self, index: int) -> array[int]:
        return table(self._file.read_exactly(self._l1[index], 8 * self._l2_entries, "qcow"), 8, "big")

    def _map(self, offset: int) -> Extent:
        cluster, skip = divmod(offset, self.block_size)
        first, index = divmod(cluster, self._l2_entries)
        if not self._l1[first]:
            span = equal_run(self._l1, first) * self._l2_entries - index
            return beneath(self._backing, offset, span * self.block_size - skip)
        entries = self._l2(first)
        entry = entries[index]
        if not entry:
            return beneath(self._backing, offset, equal_run(entries, index) * self.block_size - skip)
        if entry & COMPRESSED:
            return Extent(min(self.block_size - skip, self.size - offset), self._decoded, offset)
        return Extent(
            rising_run(entries, index, self.block_size, self._look) * self.block_size - skip,
            self._file,
            entry + skip,
        )

    def decode(self, cluster: int) -> Content:
        """Compressed cluster ``cluster``, whole."""
        first, index = divmod(cluster, self._l2_entries)
        entry = self._l2(first)[index] if self._l1[first] else 0
        if not entry & COMPRESSED:
            raise FormatError("qcow", f"cluster {cluster} is not compressed")
        bits = 63 - self._header.cluster_bits
        offset, size = entry & (1 << bits) - 1, (entry ^ COMPRESSED) >> bits
        try:
            return deflate.inflate(self._file.pread(offset, size), self.block_size, wrapper="raw")
        except FormatError as exc:
            raise FormatError("qcow", f"compressed cluster {cluster}: {exc.reason}", offset=offset) from exc

    def info(self) -> Mapping[str, str]:
        facts = {"clusters": f"{self.block_size} bytes"}
        if self._backing_name:
            facts["backing file"] = f"{self._backing_name} (no format declared: guessed)"
            if self._header.mtime:
                facts["backing file of"] = (
                    f"{datetime.fromtimestamp(self._header.mtime, UTC):%Y-%m-%d %H:%M:%S} UTC"
                )
        return facts


class _CompressedClusters(ChunkedDevice):
    """The compressed clusters, at their places in the disk; nothing else of it can be read here."""

    def __init__(self, disk: QcowDevice, context: Context) -> None:
        super().__init__(disk.size, disk.block_size, context.cache)
        self._disk = disk

    def _read_chunk(self, index: int) -> Content:
        return self._disk.decode(index)[: self.size - index * self.block_size]


FORMAT: Final = ContainerFormat(
    name="qcow",
    title="QEMU disk, version 1 (QCOW)",
    extensions=(".qcow",),
    open=QcowDevice,
    limits="no encrypted images",
    guest=True,
)
