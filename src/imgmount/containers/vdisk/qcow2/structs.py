"""What a QCOW2 file says about itself: header, header extensions, snapshots.

Nothing here reads guest data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Self

from imgmount.core.device import BlockDevice
from imgmount.core.header import short, within
from imgmount.core.layout import Const, Int8ub, Int32ub, Int64ub, LayoutError, Struct
from imgmount.errors import FormatError, UnsupportedError

_V2 = Struct(  # offset
    "magic" / Const(b"QFI\xfb"),  # 0x00
    "version" / Int32ub,  # 0x04
    "backing_offset" / Int64ub,  # 0x08  0: none
    "backing_size" / Int32ub,  # 0x10
    "cluster_bits" / Int32ub,  # 0x14
    "size" / Int64ub,  # 0x18
    "crypt_method" / Int32ub,  # 0x20
    "l1_size" / Int32ub,  # 0x24
    "l1_offset" / Int64ub,  # 0x28
    "refcount_offset" / Int64ub,  # 0x30
    "refcount_clusters" / Int32ub,  # 0x38
    "snapshots" / Int32ub,  # 0x3C
    "snapshots_offset" / Int64ub,  # 0x40
)
_V3 = Struct(  # offset
    "incompatible" / Int64ub,  # 0x48
    "compatible" / Int64ub,  # 0x50
    "autoclear" / Int64ub,  # 0x58
    "refcount_order" / Int32ub,  # 0x60
    "header_length" / Int32ub,  # 0x64
)
_EXTENSION = struct.Struct(">II")
_SNAPSHOT = struct.Struct(">QIHHIIQII")
V2_SIZE: Final = 72
V3_SIZE: Final = 104
COMPRESSION_TYPE: Final = 104  # offset, where the header is that long
MIN_CLUSTER_BITS: Final = 9
MAX_CLUSTER_BITS: Final = 21
MIN_EXTENDED_BITS: Final = 14
MAX_L1: Final = (32 << 20) // 8
MAX_NAME: Final = 1023
MAX_SNAPSHOTS: Final = 65536
MAX_SNAPSHOT_BYTES: Final = 64 << 20
MAX_SNAPSHOT_EXTRA: Final = 1024
# bytes of an entry with names as long as any program writes them; longer entries are read one by one
LONGEST_SNAPSHOT: Final = 8 << 10
WINDOW: Final = 256 << 10  # of the table, held while it is followed

DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = (1 << bit for bit in range(5))
KNOWN: Final = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2
INCOMPATIBLE: Final = 0  # the kind of feature in the feature name table
DATA_FILE_RAW: Final = 2  # an autoclear bit
ENCRYPTIONS: Final = {1: "legacy AES", 2: "LUKS"}
COMPRESSIONS: Final = {0: "zlib", 1: "zstd"}

EXTENSION_END: Final = 0
EXTENSION_BACKING: Final = 0xE279_2ACA
EXTENSION_FEATURES: Final = 0x6803_F857
EXTENSION_DATA_FILE: Final = 0x4441_5441
_FEATURE = struct.Struct(">BB46s")


class Header(NamedTuple):
    """The fields a reader needs, checked. Spec: qcow2.txt, "Header", "Header extensions"."""

    version: int
    cluster_bits: int
    size: int
    l1_size: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    refcount_bits: int
    snapshots: int
    snapshots_offset: int
    incompatible: int
    autoclear: int
    compression: str
    backing: str
    backing_format: str | None
    data_file: str

    @property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @property
    def extended(self) -> bool:
        """Whether L2 entries have 32 subclusters each."""
        return bool(self.incompatible & EXTENDED_L2)

    @classmethod
    def read(cls, file: BlockDevice) -> Self:
        """Raises ``FormatError``; ``UnsupportedError`` for encryption and unknown versions and features."""
        try:
            raw = _V2.parse(file.read_exactly(0, V2_SIZE, "qcow2"))
        except LayoutError as exc:
            raise FormatError("qcow2", "its header does not begin with QFI and 0xfb", offset=0) from exc
        if raw.version not in (2, 3):
            raise UnsupportedError(f"qcow2: version {raw.version}")
        if not MIN_CLUSTER_BITS <= raw.cluster_bits <= MAX_CLUSTER_BITS:
            right = f"not from 2**{MIN_CLUSTER_BITS} to 2**{MAX_CLUSTER_BITS}"
            reason = f"clusters of 2**{raw.cluster_bits} bytes: {right}"
            raise FormatError("qcow2", reason, offset=0x14)
        start, incompatible, autoclear, order, compression = (
            _version3(file, raw) if raw.version == 3 else (V2_SIZE, 0, 0, 4, 0)
        )
        end = (
            raw.backing_offset
            if start < raw.backing_offset < 1 << raw.cluster_bits
            else 1 << raw.cluster_bits
        )
        extensions = dict(_extensions(file, start, end))
        _check_features(incompatible, extensions.get(EXTENSION_FEATURES, b""))
        _check(raw, incompatible, compression)
        declared = extensions.get(EXTENSION_BACKING)
        return cls(
            version=raw.version,
            cluster_bits=raw.cluster_bits,
            size=raw.size,
            l1_size=raw.l1_size,
            l1_offset=raw.l1_offset,
            refcount_offset=raw.refcount_offset,
            refcount_clusters=raw.refcount_clusters,
            refcount_bits=1 << order,
            snapshots=raw.snapshots,
            snapshots_offset=raw.snapshots_offset,
            incompatible=incompatible,
            autoclear=autoclear,
            compression=COMPRESSIONS[compression],
            backing=_backing_name(file, raw.backing_offset, raw.backing_size),
            backing_format=_text(declared) if declared else None,
            data_file=_text(extensions.get(EXTENSION_DATA_FILE, b"")) if incompatible & DATA_FILE else "",
        )


def _version3(file: BlockDevice, raw: Any) -> tuple[int, int, int, int, int]:
    """(header length, incompatible bits, autoclear bits, log2 of a reference count's bits, compression)."""
    v3 = _V3.parse(file.read_exactly(V2_SIZE, V3_SIZE - V2_SIZE, "qcow2"))
    if not V3_SIZE <= v3.header_length <= 1 << raw.cluster_bits:
        reason = f"header length {v3.header_length} is not from {V3_SIZE} to the size of a cluster"
        raise FormatError("qcow2", reason, offset=0x64)
    if v3.refcount_order > 6:
        raise FormatError(
            "qcow2", f"reference counts of 2**{v3.refcount_order} bits: at most 64 are possible", offset=0x60
        )
    compression = 0
    if v3.incompatible & COMPRESSION and v3.header_length > COMPRESSION_TYPE:
        compression = Int8ub.parse(file.read_exactly(COMPRESSION_TYPE, 1, "qcow2"))
    return v3.header_length, v3.incompatible, v3.autoclear, v3.refcount_order, compression


def _check(raw: Any, incompatible: int, compression: int) -> None:
    if raw.crypt_method:
        raise UnsupportedError(
            f"qcow2: {ENCRYPTIONS.get(raw.crypt_method, f'method {raw.crypt_method}')} encryption"
        )
    if compression not in COMPRESSIONS:
        raise UnsupportedError(f"qcow2: compression type {compression}")
    within("qcow2", "number of L1 entries", raw.l1_size, 0, MAX_L1, offset=0x24)
    within("qcow2", "number of snapshots", raw.snapshots, 0, MAX_SNAPSHOTS, offset=0x3C)
    if incompatible & EXTENDED_L2 and raw.cluster_bits < MIN_EXTENDED_BITS:
        raise FormatError(
            "qcow2",
            f"subclusters need clusters of 2**{MIN_EXTENDED_BITS} bytes or more, not 2**{raw.cluster_bits}",
            offset=0x14,
        )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape").rstrip("\0")


def _extensions(file: BlockDevice, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(type, content) of each header extension.

    They end before the backing file's name or with the first cluster.
    """
    end = min(end, file.size)
    while offset + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack(file.pread(offset, _EXTENSION.size))
        if kind == EXTENSION_END:
            return
        offset += _EXTENSION.size
        if length > end - offset:
            raise FormatError(
                "qcow2",
                f"a header extension of {length} bytes where {end - offset} are left",
                offset=offset - 4,
            )
        yield kind, file.pread(offset, length)
        offset += -(-length // 8) * 8


def _check_features(incompatible: int, names: bytes) -> None:
    """Refuse features that must be known and are not, by the name that the image gives them."""
    unknown = incompatible & ~KNOWN
    if not unknown:
        return
    table = {
        bit: _text(name.split(b"\0")[0])
        for kind, bit, name in _FEATURE.iter_unpack(names[: len(names) // _FEATURE.size * _FEATURE.size])
        if kind == INCOMPATIBLE
    }
    features = [f"{table.get(bit, 'unnamed')!r} (bit {bit})" for bit in range(64) if unknown >> bit & 1]
    raise UnsupportedError(f"qcow2: incompatible feature {', '.join(features)}")


def _backing_name(file: BlockDevice, offset: int, size: int) -> str:
    if not offset or not size:
        return ""
    if size > MAX_NAME:
        raise FormatError(
            "qcow2", f"a backing file's name of {size} bytes: at most {MAX_NAME} are possible", offset=0x10
        )
    return _text(file.read_exactly(offset, size, "qcow2"))


class Snapshot(NamedTuple):
    """An internal snapshot: its own L1 table over clusters of the same file.

    The identifier is its key: names may repeat.
    """

    id: str
    name: str
    seconds: int
    size: int
    l1_offset: int
    l1_size: int


def snapshots(file: BlockDevice, header: Header) -> Iterator[Snapshot]:
    """The internal snapshots, in the order of the table. Spec: qcow2.txt, "Snapshots"."""
    offset, window, base = header.snapshots_offset, b"", 0
    for number in range(header.snapshots):
        if not base <= offset <= base + len(window) - LONGEST_SNAPSHOT:
            window, base = file.pread(offset, WINDOW), offset
        at = offset - base
        if len(window) - at < _SNAPSHOT.size:
            raise FormatError("qcow2", f"the table of snapshots ends after {number} of them", offset=offset)
        fields = _SNAPSHOT.unpack_from(window, at)
        l1_offset, l1_size, id_size, name_size, seconds, _, _, _, extra_size = fields
        within("qcow2", "number of L1 entries of a snapshot", l1_size, 0, MAX_L1, offset=offset)
        within("qcow2", "extra bytes of a snapshot", extra_size, 0, MAX_SNAPSHOT_EXTRA, offset=offset)
        length = extra_size + id_size + name_size
        data = window[at + _SNAPSHOT.size : at + _SNAPSHOT.size + length]
        if len(data) < length:
            data = file.read_exactly(offset + _SNAPSHOT.size, length, "qcow2")
        size = int.from_bytes(data[8:16], "big") if extra_size >= 16 else header.size
        name = data[extra_size:]
        yield Snapshot(_text(name[:id_size]), _text(name[id_size:]), seconds, size, l1_offset, l1_size)
        offset += -(-(_SNAPSHOT.size + length) // 8) * 8
        if offset - header.snapshots_offset > MAX_SNAPSHOT_BYTES:
            reason = f"the table of snapshots is longer than {short(MAX_SNAPSHOT_BYTES)}"
            raise FormatError("qcow2", reason, offset=header.snapshots_offset)
