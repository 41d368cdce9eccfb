"""Descriptors of ECMA-167 as UDF uses them.

Here are the tag that begins each, names, addresses, and the few that are read at open.

Everything is little endian. References: ECMA-167 3rd edition (part/section), OSTA UDF 1.02 to 2.60.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from imgmount.codecs.crc16 import crc16
from imgmount.core.device import BlockDevice
from imgmount.core.layout import Bytes, Decoded, Field, Int8ul, Int16ul, Int32ul, Int64ul, Padding, Struct
from imgmount.errors import ChecksumError, FormatError

FMT: Final = "udf"
BLOCK_SIZES: Final = (2048, 512, 4096, 1024, 8192, 16384, 32768)  # in order of likelihood

# Tag identifiers (3/7.2.1, 4/7.2.1; UDF 2.2.11 for the sparing table)
SPARING_TABLE: Final = 0
ANCHOR: Final = 2
VOLUME_POINTER: Final = 3
PARTITION: Final = 5
LOGICAL_VOLUME: Final = 6
TERMINATING: Final = 8
INTEGRITY: Final = 9
FILE_SET: Final = 256
FILE_IDENTIFIER: Final = 257
ALLOCATION_EXTENT: Final = 258
INDIRECT_ENTRY: Final = 259
TERMINAL_ENTRY: Final = 260
FILE_ENTRY: Final = 261
SPACE_BITMAP: Final = 264
EXTENDED_FILE_ENTRY: Final = 266

TAG: Final = struct.Struct("<H2xBxHHHI")  # identifier, checksum, serial, CRC, CRC length, location
TAG_SIZE: Final = 16
CHECKSUM_AT: Final = 4  # the byte of the tag that its checksum does not cover


class Place(NamedTuple):
    """A block of a partition, and the length in bytes of the extent that begins there."""

    partition: int
    block: int
    length: int

    @property
    def id(self) -> int:
        """A number below 2**48 that no other block of the volume has."""
        return self.partition << 32 | self.block


LONG_AD: Final = struct.Struct("<IIH")  # length, block, partition reference (4/14.14.2)
LENGTH_MASK: Final = 0x3FFF_FFFF  # the two bits above it say what kind of extent it is


def long_ad(raw: bytes, offset: int) -> Place:
    """The address at ``offset``."""
    length, block, partition = LONG_AD.unpack_from(raw, offset)
    return Place(partition, block, length & LENGTH_MASK)


def tag_checksum(raw: bytes) -> int:
    """3/7.2.3: the sum of the tag's bytes but the checksum itself."""
    return (sum(raw[:TAG_SIZE]) - raw[CHECKSUM_AT]) & 0xFF


def check_tag(raw: bytes, idents: tuple[int, ...], locations: tuple[int, ...], offset: int) -> int:
    """The identifier of the descriptor in ``raw``, which lies at ``offset`` of the device.

    It must be one of ``idents`` and say that it belongs to one of the blocks ``locations``.

    A CRC that covers more than ``raw`` is not checked here. Raises ``FormatError``, ``ChecksumError``.
    """
    ident, checksum, _, crc, crc_length, location = TAG.unpack_from(raw)
    if ident not in idents:
        wanted = " or ".join(map(str, idents))
        raise FormatError(FMT, f"descriptor {ident} is here, where {wanted} should be", offset=offset)
    if checksum != tag_checksum(raw):
        raise ChecksumError(FMT, f"the tag checksum of descriptor {ident} is wrong", offset=offset)
    if location not in locations:
        raise FormatError(
            FMT,
            f"descriptor {ident} says that it belongs to block {location}, not {locations[0]}",
            offset=offset,
        )
    if TAG_SIZE + crc_length <= len(raw) and crc16(raw[TAG_SIZE : TAG_SIZE + crc_length], 0) != crc:
        raise ChecksumError(FMT, f"the CRC of descriptor {ident} is wrong", offset=offset)
    return int(ident)


def read_descriptor(device: BlockDevice, block_size: int, block: int, *idents: int) -> bytes:
    """The descriptor at ``block``, whole even where it is longer than a block. Raises ``FormatError``."""
    offset = block * block_size
    raw = device.read_exactly(offset, block_size, FMT)
    if crc_length := TAG.unpack_from(raw)[4]:
        blocks = -(-(TAG_SIZE + crc_length) // block_size)
        raw = raw if blocks == 1 else device.read_exactly(offset, blocks * block_size, FMT)
    check_tag(raw, idents, (block,), offset)
    return raw


def cs0(raw: bytes) -> str:
    """OSTA compressed Unicode (UDF 2.1.1): a compression identifier, then 8 or 16 bits a character.

    No terminator.
    """
    kind, body = raw[:1], raw[1:]
    if kind in (b"\x10", b"\xff"):
        return body.decode("utf-16-be", "replace")
    if kind in (b"\x08", b"\xfe"):
        return body.decode("latin-1")
    return raw.decode("utf-8", "surrogateescape")


def _dstring(size: int) -> Field:
    """A fixed field of CS0 characters whose last byte says how many bytes are used (1/7.2.12)."""
    return Decoded(Bytes(size), lambda raw: cs0(raw[: min(raw[-1], size - 1)]).split("\0", 1)[0])


EXTENT_AD: Final = Struct("length" / Int32ul, "location" / Int32ul)  # 3/7.1
REGID: Final = Struct("flags" / Int8ul, "identifier" / Bytes(23), "suffix" / Bytes(8))  # 1/7.4

ANCHOR_DESCRIPTOR: Final = Struct(Padding(16), "main" / EXTENT_AD, "reserve" / EXTENT_AD)  # 3/10.2
POINTER_DESCRIPTOR: Final = Struct(Padding(16), "sequence" / Int32ul, "next" / EXTENT_AD)  # 3/10.3
PARTITION_DESCRIPTOR: Final = Struct(  # 3/10.5
    Padding(16),
    "sequence" / Int32ul,
    "flags" / Int16ul,
    "number" / Int16ul,
    "contents" / REGID,
    "use" / Bytes(128),  # partition header (4/14.3)
    "access" / Int32ul,
    "start" / Int32ul,
    "length" / Int32ul,
)
LOGICAL_VOLUME_DESCRIPTOR: Final = Struct(  # 3/10.6
    Padding(16),
    "sequence" / Int32ul,
    Padding(64),
    "identifier" / _dstring(128),
    "block_size" / Int32ul,
    "domain" / REGID,
    "contents" / Bytes(16),  # long_ad of the file set descriptor
    "maps_length" / Int32ul,
    "maps_count" / Int32ul,
    Padding(32 + 128),
    "integrity" / EXTENT_AD,
)
MAPS_AT: Final = 440
INTEGRITY_DESCRIPTOR: Final = Struct(  # 3/10.10
    Padding(28),
    "type" / Int32ul,
    "next" / EXTENT_AD,
    "unique_id" / Int64ul,
    Padding(24),
    "partitions" / Int32ul,
    "use_length" / Int32ul,
)
INTEGRITY_TABLES_AT: Final = 80
INTEGRITY_CLOSED: Final = 1
INTEGRITY_USE: Final = Struct(  # UDF 2.2.6.4
    "implementation" / REGID, "files" / Int32ul, "directories" / Int32ul,
    "min_read" / Int16ul, "min_write" / Int16ul, "max_write" / Int16ul,
)  # fmt: skip
FILE_SET_DESCRIPTOR: Final = Struct(  # 4/14.1
    Padding(40),
    "number" / Int32ul,
    "descriptor_number" / Int32ul,
    Padding(64),
    "volume_identifier" / _dstring(128),
    Padding(64),
    "identifier" / _dstring(32),
    Padding(64),
    "root" / Bytes(16),
    Padding(32),
    "next" / Bytes(16),
)
