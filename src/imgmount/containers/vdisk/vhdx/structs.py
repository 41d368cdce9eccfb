"""The tables at the start of a VHDX file: headers, regions, metadata.

Each exists twice or says how long it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from uuid import UUID

from imgmount.codecs.crc32c import crc32c
from imgmount.core.device import BlockDevice
from imgmount.core.header import parsed
from imgmount.core.layout import Array, Bytes, Const, Int16ul, Int32ul, Int64ul, LayoutError, Padding, Struct
from imgmount.errors import ChecksumError, FormatError, UnsupportedError

KIB: Final = 1 << 10
MIB: Final = 1 << 20
CREATOR_OFFSET: Final = 8
CREATOR_SIZE: Final = 512
HEADERS: Final = (64 * KIB, 128 * KIB)
HEADER_SIZE: Final = 4 * KIB
REGION_TABLES: Final = (192 * KIB, 256 * KIB)
TABLE_SIZE: Final = 64 * KIB
MAX_ENTRIES: Final = 2047
CHECKSUM: Final = 4  # offset of the checksum in every structure
MAX_METADATA_ITEM: Final = 1 * MIB
MAX_METADATA: Final = 64 * MIB
MAX_PAIRS: Final = 64  # of a parent locator; five are known

_HEADER = Struct(  # offset
    "signature" / Const(b"head"),  # 0x00
    "checksum" / Int32ul,  # 0x04
    "sequence" / Int64ul,  # 0x08
    "file_write_id" / Bytes(16),  # 0x10
    "data_write_id" / Bytes(16),  # 0x20
    "log_id" / Bytes(16),  # 0x30  0: nothing to replay
    "log_version" / Int16ul,  # 0x40
    "version" / Int16ul,  # 0x42
    "log_length" / Int32ul,  # 0x44
    "log_offset" / Int64ul,  # 0x48
)
_REGION = Struct("id" / Bytes(16), "offset" / Int64ul, "length" / Int32ul, "required" / Int32ul)
_REGIONS = Struct("signature" / Const(b"regi"), "checksum" / Int32ul, "count" / Int32ul, Padding(4))
_METADATA = Struct("signature" / Const(b"metadata"), Padding(2), "count" / Int16ul, Padding(20))
_ITEM = Struct("id" / Bytes(16), "offset" / Int32ul, "length" / Int32ul, "flags" / Int32ul, Padding(4))
_LOCATOR = Struct("type" / Bytes(16), Padding(2), "count" / Int16ul)
_PAIR = Struct("key" / Int32ul, "value" / Int32ul, "key_length" / Int16ul, "value_length" / Int16ul)

BAT: Final = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA: Final = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
FILE_PARAMETERS: Final = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
DISK_SIZE: Final = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
DISK_ID: Final = UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL_SECTOR: Final = UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL_SECTOR: Final = UUID("cda348c7-445d-4471-9cc9-e9885251c556")
PARENT_LOCATOR: Final = UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
KNOWN_ITEMS: Final = (FILE_PARAMETERS, DISK_SIZE, DISK_ID, LOGICAL_SECTOR, PHYSICAL_SECTOR, PARENT_LOCATOR)
VHDX_LOCATOR: Final = UUID("b04aefb7-d19e-4a81-b789-25b8e9445913")
REQUIRED_ITEM: Final = 4
FIXED: Final = 1  # file parameters: blocks stay allocated
HAS_PARENT: Final = 2
MAX_SIZE: Final = 64 << 40
MIN_BLOCK: Final = 1 * MIB
MAX_BLOCK: Final = 256 * MIB


def sound(data: bytes) -> bool:
    """Whether a structure's checksum is right; it is taken with the field itself as zeros."""
    stored = int.from_bytes(data[CHECKSUM : CHECKSUM + 4], "little")
    return crc32c(data[:CHECKSUM] + bytes(4) + data[CHECKSUM + 4 :]) == stored


def header_at(file: BlockDevice, offset: int) -> Any:
    """One of the two headers. Raises ``FormatError``, ``ChecksumError``."""
    data = file.read_exactly(offset, HEADER_SIZE, "vhdx")
    header = parsed(_HEADER, data, offset, "vhdx", "the header")
    if not sound(data):
        raise ChecksumError("vhdx", "the header's checksum is wrong", offset=offset)
    return header


def current_header(file: BlockDevice) -> Any:
    """The valid header with the higher sequence number. [MS-VHDX] 2.2.2."""
    headers, errors = [], []
    for offset in HEADERS:
        try:
            headers.append(header_at(file, offset))
        except FormatError as exc:
            errors.append(exc)
    if not headers:
        raise errors[0].again()
    header = max(headers, key=lambda one: int(one.sequence))
    if header.version != 1 or header.log_version:
        raise UnsupportedError(f"vhdx: version {header.version}, log version {header.log_version}")
    return header


def regions_at(file: BlockDevice, offset: int) -> dict[UUID, tuple[int, int]]:
    """(offset, length) of each region that one of the two tables lists.

    Raises ``FormatError``, ``ChecksumError``.
    """
    data = file.read_exactly(offset, TABLE_SIZE, "vhdx")
    head = parsed(_REGIONS, data, offset, "vhdx", "the region table")
    if head.count > MAX_ENTRIES:
        raise FormatError("vhdx", f"{head.count} regions", offset=offset + 8)
    if not sound(data):
        raise ChecksumError("vhdx", "the region table's checksum is wrong", offset=offset)
    regions = {}
    for entry in Array(head.count, _REGION).parse(data[_REGIONS.sizeof() :]):
        identifier = UUID(bytes_le=entry.id)
        if identifier not in (BAT, METADATA) and entry.required & 1:
            raise UnsupportedError(f"vhdx: required region {identifier}")
        regions[identifier] = (int(entry.offset), int(entry.length))
    for identifier, name in ((BAT, "block table"), (METADATA, "metadata")):
        if identifier not in regions:
            raise FormatError("vhdx", f"no {name} region", offset=offset)
    return regions


def regions(file: BlockDevice) -> dict[UUID, tuple[int, int]]:
    """The first region table that is valid. [MS-VHDX] 2.2.3."""
    try:
        return regions_at(file, REGION_TABLES[0])
    except FormatError:
        return regions_at(file, REGION_TABLES[1])


class Metadata(NamedTuple):
    """What the disk is. Sizes in bytes. ``locator`` is empty without a parent. [MS-VHDX] 2.6."""

    block_size: int
    fixed: bool
    has_parent: bool
    size: int
    logical_sector: int
    physical_sector: int
    disk_id: UUID
    locator: dict[str, str]

    @classmethod
    def read(cls, file: BlockDevice, offset: int, length: int) -> Metadata:
        """Raises ``FormatError``, ``UnsupportedError``."""
        items = dict(_items(file, offset, length))

        def number(identifier: UUID, width: int) -> int:
            if len(items.get(identifier, b"")) < width:
                raise FormatError("vhdx", f"metadata item {identifier} is missing", offset=offset)
            return int.from_bytes(items[identifier][:width], "little")

        parameters = number(FILE_PARAMETERS, 8)
        block_size, flags = parameters & 0xFFFF_FFFF, parameters >> 32
        if not MIN_BLOCK <= block_size <= MAX_BLOCK or block_size & (block_size - 1):
            raise FormatError("vhdx", f"blocks of {block_size} bytes", offset=offset)
        sector = number(LOGICAL_SECTOR, 4)
        if sector not in (512, 4096):
            raise FormatError("vhdx", f"sectors of {sector} bytes", offset=offset)
        size = number(DISK_SIZE, 8)
        if not 0 < size <= MAX_SIZE or size % sector:
            raise FormatError("vhdx", f"a disk of {size} bytes in sectors of {sector}", offset=offset)
        return cls(
            block_size=block_size,
            fixed=bool(flags & FIXED),
            has_parent=bool(flags & HAS_PARENT),
            size=size,
            logical_sector=sector,
            physical_sector=number(PHYSICAL_SECTOR, 4) if PHYSICAL_SECTOR in items else sector,
            disk_id=UUID(bytes_le=items[DISK_ID][:16]) if len(items.get(DISK_ID, b"")) >= 16 else UUID(int=0),
            locator=_locator(items.get(PARENT_LOCATOR, b""), offset) if flags & HAS_PARENT else {},
        )


def _items(file: BlockDevice, offset: int, length: int) -> Iterator[tuple[UUID, bytes]]:
    """(identifier, content) of each metadata item that is known.

    Raises ``UnsupportedError`` for others that are required.
    """
    data = file.read_exactly(offset, TABLE_SIZE, "vhdx")
    head = parsed(_METADATA, data, offset, "vhdx", "the metadata table")
    seen: set[UUID] = set()
    if head.count > MAX_ENTRIES:
        raise FormatError("vhdx", f"{head.count} metadata items", offset=offset + 10)
    for item in Array(head.count, _ITEM).parse(data[_METADATA.sizeof() :]):
        identifier = UUID(bytes_le=item.id)
        if identifier not in KNOWN_ITEMS:
            if item.flags & REQUIRED_ITEM:
                raise UnsupportedError(f"vhdx: required metadata item {identifier}")
            continue
        if (
            identifier in seen
            or item.length > MAX_METADATA_ITEM
            or item.offset + item.length > min(length, MAX_METADATA)
        ):
            raise FormatError("vhdx", f"metadata item {identifier} of {item.length} bytes", offset=offset)
        seen.add(identifier)
        yield identifier, file.read_exactly(offset + item.offset, item.length, "vhdx")


def _locator(data: bytes, offset: int) -> dict[str, str]:
    """The parent locator's keys and values: "parent_linkage", "relative_path"... [MS-VHDX] 2.6.2.6."""
    head = parsed(_LOCATOR, data, offset, "vhdx", "the parent locator")
    if UUID(bytes_le=head.type) != VHDX_LOCATOR:
        raise UnsupportedError(f"vhdx: parent locator {UUID(bytes_le=head.type)}")
    if head.count > MAX_PAIRS:
        raise FormatError(
            "vhdx", f"a parent locator of {head.count} pairs: at most {MAX_PAIRS} are read", offset=offset
        )
    try:
        pairs = Array(head.count, _PAIR).parse(data[_LOCATOR.sizeof() :])
    except LayoutError as exc:
        raise FormatError("vhdx", "the parent locator is shorter than its pairs need", offset=offset) from exc

    def string(start: int, length: int) -> str:
        return data[start : start + length].decode("utf-16-le", "replace").rstrip("\0")

    return {string(pair.key, pair.key_length): string(pair.value, pair.value_length) for pair in pairs}
