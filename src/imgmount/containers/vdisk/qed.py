"""QEMU enhanced disks (QED): two levels of tables of 64-bit offsets, an optional backing file.

Spec: QEMU, ``docs/interop/qed_spec.txt``.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from construct import Const, Int32ul, Int64ul, Struct

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parse_header
from imgmount.core.runs import RUN_BYTES, equal_run, rising_run
from imgmount.core.slices import beneath
from imgmount.errors import FormatError, UnsupportedError

_HEADER = Struct(  # offset
    "magic" / Const(b"QED\0"),  # 0x00
    "cluster_size" / Int32ul,  # 0x04
    "table_size" / Int32ul,  # 0x08  clusters
    "header_size" / Int32ul,  # 0x0C  clusters
    "features" / Int64ul,  # 0x10
    "compatible_features" / Int64ul,  # 0x18
    "autoclear_features" / Int64ul,  # 0x20
    "l1_offset" / Int64ul,  # 0x28
    "size" / Int64ul,  # 0x30
    "backing_offset" / Int32ul,  # 0x38
    "backing_size" / Int32ul,  # 0x3C
)
MIN_CLUSTER, MAX_CLUSTER = 1 << 12, 1 << 26
MAX_TABLE: Final = 16
MAX_L1: Final = 1 << 22
MAX_NAME: Final = 1023
BACKED, NEEDS_CHECK, BACKING_IS_RAW = 1, 2, 4
ZERO: Final = 1  # L2 entry
PART: Final = 8192  # entries of an L2 table read at once: a whole one may have a gigabyte
PARTS: Final = 256  # kept, of 64 KiB


class QedDevice(MappedDevice):
    """The disk in a QED file."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._header = header = parse_header(_HEADER, file, 0, "qed", "the header")
        if unknown := header.features & ~(BACKED | NEEDS_CHECK | BACKING_IS_RAW):
            raise UnsupportedError(f"qed: features {unknown:#x}")
        self.block_size = header.cluster_size
        if not MIN_CLUSTER <= self.block_size <= MAX_CLUSTER or self.block_size & (self.block_size - 1):
            raise FormatError("qed", f"clusters of {self.block_size} bytes", offset=4)
        if not 0 < header.table_size <= MAX_TABLE or header.table_size & (header.table_size - 1):
            raise FormatError("qed", f"tables of {header.table_size} clusters", offset=8)
        self.size = header.size
        self._file = file
        self._entries = header.table_size * self.block_size // 8
        count = -(-self.size // (self.block_size * self._entries))
        if count > min(self._entries, MAX_L1):
            raise FormatError("qed", f"a disk of {self.size} bytes", offset=0x30)
        self._l1 = table(file.read_exactly(header.l1_offset, 8 * count, "qed"), 8, "little")
        self._part = lru_cache(PARTS)(self._read_part)
        self._look = max(1, RUN_BYTES // self.block_size)
        self._backing_name = ""
        self._backing = self._open_backing(context) if header.features & BACKED else None

    def _open_backing(self, context: Context) -> BlockDevice:
        header = self._header
        if not 0 < header.backing_size <= MAX_NAME:
            raise FormatError("qed", f"a backing file's name of {header.backing_size} bytes", offset=0x3C)
        name = self._file.read_exactly(header.backing_offset, header.backing_size, "qed")
        self._backing_name = name.decode("utf-8", "surrogateescape")
        return context.open_parent(self._backing_name, "raw" if header.features & BACKING_IS_RAW else None)

    def _read_part(self, first: int, part: int) -> array[int]:
        count = min(PART, self._entries - part * PART)
        return table(
            self._file.read_exactly(self._l1[first] + 8 * PART * part, 8 * count, "qed"), 8, "little"
        )

    def _map(self, offset: int) -> Extent:
        cluster, skip = divmod(offset, self.block_size)
        first, index = divmod(cluster, self._entries)
        if not self._l1[first]:
            span = equal_run(self._l1, first) * self._entries - index
            return beneath(self._backing, offset, span * self.block_size - skip)
        part, index = divmod(index, PART)
        entries = self._part(first, part)
        entry = entries[index]
        if entry <= ZERO:
            length = equal_run(entries, index) * self.block_size - skip
            return Extent(length) if entry == ZERO else beneath(self._backing, offset, length)
        if entry % self.block_size:
            raise FormatError(
                "qed", f"cluster {cluster} is stored at {entry:#x}, which is not the start of one"
            )
        return Extent(
            rising_run(entries, index, self.block_size, self._look) * self.block_size - skip,
            self._file,
            entry + skip,
        )

    def info(self) -> Mapping[str, str]:
        facts = {"clusters": f"{self.block_size} bytes"}
        if self._backing_name:
            declared = "raw" if self._header.features & BACKING_IS_RAW else "no format declared: guessed"
            facts["backing file"] = f"{self._backing_name} ({declared})"
        if self._header.features & NEEDS_CHECK:
            facts["warning"] = "not closed properly"
        return facts


FORMAT: Final = ContainerFormat(
    name="qed", title="QEMU enhanced disk (QED)", extensions=(".qed",), open=QedDevice, guest=True
)
