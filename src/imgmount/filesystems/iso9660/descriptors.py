"""Volume descriptors of ISO 9660, Joliet and High Sierra.

ECMA-119 section 8; High Sierra draft of 28 May 1986.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.layout import Array, Bytes, Int8ub, Int16ub, Int16ul, Int32ub, Int32ul, Padding, Struct
from imgmount.families.optical.times import iso_long_time_ns

NAME: Final = "iso9660"
# ECMA-119 6.1.2: the logical sector. Blocks may be smaller; descriptors and directories follow sectors.
SECTOR: Final = 2048
FIRST_SECTOR: Final = 16  # ECMA-119 6.2.1: the system area ends here
MAX_DESCRIPTORS: Final = 64
STANDARD_ID: Final = b"CD001"
HIGH_SIERRA_ID: Final = b"CDROM"
GAMECUBE_MAGIC: Final = (0x1C, b"\xc2\x33\x9f\x3d")
GAMECUBE_FST: Final = 0x424  # offset of its place
UDF_IDS: Final = (b"NSR02", b"NSR03")  # ECMA-167 3/9.1
_RECOGNITION_IDS: Final = (STANDARD_ID, b"BEA01", b"BOOT2", b"TEA01", b"CDW02", *UDF_IDS)  # ECMA-167 2/9.1

BOOT: Final = 0
PRIMARY: Final = 1
SUPPLEMENTARY: Final = 2
TERMINATOR: Final = 255
JOLIET_ESCAPES: Final = (b"%/@", b"%/C", b"%/E")  # UCS-2 levels 1, 2, 3
ROOT_RECORD_SIZE: Final = 34

_BOTH_16 = Struct("le" / Int16ul, "be" / Int16ub)
_BOTH_32 = Struct("le" / Int32ul, "be" / Int32ub)

_ISO = Struct(  # offset, ECMA-119 8.4
    "type" / Int8ub,  # 0
    "id" / Bytes(5),  # 1
    "version" / Int8ub,  # 6
    "flags" / Int8ub,  # 7
    "system_id" / Bytes(32),  # 8
    "volume_id" / Bytes(32),  # 40
    Padding(8),
    "space_size" / _BOTH_32,  # 80
    "escapes" / Bytes(32),  # 88
    "set_size" / _BOTH_16,  # 120
    "sequence_number" / _BOTH_16,  # 124
    "block_size" / _BOTH_16,  # 128
    "path_table_size" / _BOTH_32,  # 132
    "path_tables_l" / Array(2, Int32ul),  # 140
    "path_tables_m" / Array(2, Int32ub),  # 148
    "root" / Bytes(ROOT_RECORD_SIZE),  # 156
    "set_id" / Bytes(128),  # 190
    "publisher" / Bytes(128),  # 318
    "preparer" / Bytes(128),  # 446
    "application" / Bytes(128),  # 574
    Padding(3 * 37),  # 702  copyright, abstract and bibliographic file
    "created" / Bytes(17),  # 813
    "modified" / Bytes(17),  # 830
)
ISO_ROOT_OFFSET: Final = 156

_HIGH_SIERRA = Struct(  # offset
    "location" / _BOTH_32,  # 0
    "type" / Int8ub,  # 8
    "id" / Bytes(5),  # 9
    "version" / Int8ub,  # 14
    "flags" / Int8ub,  # 15
    "system_id" / Bytes(32),  # 16
    "volume_id" / Bytes(32),  # 48
    Padding(8),
    "space_size" / _BOTH_32,  # 88
    "escapes" / Bytes(32),  # 96
    "set_size" / _BOTH_16,  # 128
    "sequence_number" / _BOTH_16,  # 132
    "block_size" / _BOTH_16,  # 136
    "path_table_size" / _BOTH_32,  # 140
    "path_tables_l" / Array(4, Int32ul),  # 148
    "path_tables_m" / Array(4, Int32ub),  # 164
    "root" / Bytes(ROOT_RECORD_SIZE),  # 180
    "set_id" / Bytes(128),  # 214
    "publisher" / Bytes(128),  # 342
    "preparer" / Bytes(128),  # 470
    "application" / Bytes(128),  # 598
    Padding(2 * 32),  # 726  copyright and abstract file
    "created" / Bytes(16),  # 790
    "modified" / Bytes(16),  # 806
)
HIGH_SIERRA_ROOT_OFFSET: Final = 180

_BOTH_FIELDS: Final = ("space_size", "set_size", "sequence_number", "block_size", "path_table_size")


class Descriptor(NamedTuple):
    """A primary or supplementary descriptor.

    Both-endian numbers are the little-endian half; texts are raw and padded.
    """

    offset: int
    type: int
    high_sierra: bool
    escapes: bytes
    system_id: bytes
    volume_id: bytes
    publisher: bytes
    preparer: bytes
    application: bytes
    space_size: int  # in blocks; often wrong, never used as a bound
    block_size: int
    path_table_size: int
    path_table_l: int  # block numbers
    path_table_m: int
    root: bytes
    created_ns: int  # 0 where void
    modified_ns: int
    disagreements: tuple[str, ...]  # both-endian fields whose halves differ
    rebuilt: bool = False  # from what is known without it: it is lost

    @property
    def joliet(self) -> bool:
        """Whether names are UCS-2."""
        return self.type == SUPPLEMENTARY and self.escapes[:3] in JOLIET_ESCAPES

    @property
    def root_offset(self) -> int:
        """The byte of the device at which the root record stands."""
        return self.offset + (HIGH_SIERRA_ROOT_OFFSET if self.high_sierra else ISO_ROOT_OFFSET)


def descriptors(device: BlockDevice, start: int) -> Iterator[Descriptor]:
    """The primary and supplementary descriptors of the set in sector ``start`` and after.

    A missing terminator is no harm. The first may be lost.
    """
    for sector in range(start, start + MAX_DESCRIPTORS):
        raw = device.pread(sector * SECTOR, SECTOR)
        high_sierra = raw[9:14] == HIGH_SIERRA_ID
        if len(raw) < SECTOR or not (high_sierra or raw[1:6] == STANDARD_ID):
            if sector == start:
                continue
            return
        kind = raw[8] if high_sierra else raw[0]
        if kind == TERMINATOR:
            return
        if kind in (PRIMARY, SUPPLEMENTARY):
            yield parse_descriptor(raw, sector * SECTOR)


def parse_descriptor(raw: bytes, offset: int) -> Descriptor:
    """The primary or supplementary descriptor in ``raw``, which lies at ``offset`` of the device."""
    high_sierra = raw[9:14] == HIGH_SIERRA_ID
    fields = (_HIGH_SIERRA if high_sierra else _ISO).parse(raw)
    return _descriptor(offset, fields, high_sierra=high_sierra)


def _descriptor(offset: int, fields: SimpleNamespace, *, high_sierra: bool) -> Descriptor:
    zone = b"\0" if high_sierra else b""  # High Sierra times are sixteen digits and no zone
    return Descriptor(
        offset=offset,
        type=fields.type,
        high_sierra=high_sierra,
        escapes=fields.escapes,
        system_id=fields.system_id,
        volume_id=fields.volume_id,
        publisher=fields.publisher,
        preparer=fields.preparer,
        application=fields.application,
        space_size=fields.space_size.le,
        block_size=fields.block_size.le,
        path_table_size=fields.path_table_size.le,
        path_table_l=fields.path_tables_l[0],
        path_table_m=fields.path_tables_m[0],
        root=fields.root,
        created_ns=iso_long_time_ns(fields.created + zone),
        modified_ns=iso_long_time_ns(fields.modified + zone),
        disagreements=tuple(
            name for name in _BOTH_FIELDS if getattr(fields, name).le != getattr(fields, name).be
        ),
    )


def is_gamecube_disc(device: BlockDevice) -> bool:
    """Whether the system area begins with a GameCube disc header that leads to a table of files."""
    header = device.pread(0, GAMECUBE_FST + 4)
    return header[GAMECUBE_MAGIC[0] :].startswith(GAMECUBE_MAGIC[1]) and any(header[GAMECUBE_FST:])


def is_udf_bridge(device: BlockDevice) -> bool:
    """Whether the volume recognition sequence announces UDF as well."""
    for sector in range(FIRST_SECTOR, FIRST_SECTOR + MAX_DESCRIPTORS):
        standard_id = device.pread(sector * SECTOR + 1, 5)
        if standard_id in UDF_IDS:
            return True
        if standard_id not in _RECOGNITION_IDS:
            return False
    return False
