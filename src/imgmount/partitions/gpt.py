"""GUID partition tables, in sectors of 512 to 4096 bytes; the backup is used where the primary is damaged.

Source: the UEFI specification 2.10, section 5.3. All numbers are little endian, LBAs count sectors, last LBAs
are inclusive.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct as Record
from typing import Final, Self
from uuid import UUID
from zlib import crc32

from construct import Bytes, Const, ConstructError, Int32ul, Int64ul, Struct

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Match, Partition, PartitionsFormat
from imgmount.core.slices import Slice
from imgmount.errors import ChecksumError, FormatError, ImageError

log = logging.getLogger(__name__)

_HEADER = Struct(                           # offset
    "signature" / Const(b"EFI PART"),       # 0x00
    "revision" / Int32ul,                   # 0x08
    "header_size" / Int32ul,                # 0x0C
    "header_crc32" / Int32ul,               # 0x10  with this field as zero
    "reserved" / Int32ul,                   # 0x14
    "my_lba" / Int64ul,                     # 0x18
    "alternate_lba" / Int64ul,              # 0x20
    "first_usable_lba" / Int64ul,           # 0x28
    "last_usable_lba" / Int64ul,            # 0x30
    "disk_guid" / Bytes(16),                # 0x38
    "partition_entry_lba" / Int64ul,        # 0x48
    "number_of_partition_entries" / Int32ul,  # 0x50
    "size_of_partition_entry" / Int32ul,    # 0x54
    "partition_entry_array_crc32" / Int32ul,  # 0x58
)  # fmt: skip
HEADER_SIZE: Final = 92
_ENTRY: Final = Record("<16s16sQQQ72s")  # type GUID, unique GUID, first LBA, last LBA, attributes, name
MIN_ENTRY: Final = 128
MAX_TABLE: Final = 4 << 20  # bytes of entries; 128 entries of 128 bytes are usual
MAX_PARTITIONS: Final = 512  # shown
MAX_SIZE: Final = 1 << 63  # bytes; no file could show more
SECTORS: Final = (512, 1024, 2048, 4096)
SIGNATURE: Final = b"EFI PART"
PROTECTIVE: Final = 0xEE

TYPES: Final = {
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "EFI system",
    "21686148-6449-6e6f-744e-656564454649": "BIOS boot",
    "024dee41-33e7-11d3-9d69-0008c781f39f": "MBR",
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "Microsoft basic data",
    "e3c9e316-0b5c-4db8-817d-f92df00215ae": "Microsoft reserved",
    "de94bba4-06d1-4d40-a16a-bfd50179d6ac": "Windows recovery",
    "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3": "Windows LDM metadata",
    "af9b60a0-1431-4f62-bc68-3311714a69ad": "Windows LDM data",
    "e75caf8f-f680-4cee-afa3-b001e56efc2d": "Windows Storage Spaces",
    "0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux filesystem",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
    "e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
    "a19d880f-05fc-4d3b-a006-743f0f84911e": "Linux RAID",
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "Linux home",
    "bc13c2ff-59e6-4262-a352-b275fd6f7172": "Linux extended boot",
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root x86-64",
    "ca7d7ccb-63ed-4c53-861c-1742536059cc": "Linux LUKS",
    "48465300-0000-11aa-aa11-00306543ecac": "Apple HFS+",
    "7c3457ef-0000-11aa-aa11-00306543ecac": "Apple APFS",
    "55465300-0000-11aa-aa11-00306543ecac": "Apple UFS",
    "426f6f74-0000-11aa-aa11-00306543ecac": "Apple boot",
    "53746f72-6167-11aa-aa11-00306543ecac": "Apple Core Storage",
    "83bd6b9d-7f41-11dc-be0b-001560b84f0f": "FreeBSD boot",
    "516e7cb4-6ecf-11d6-8ff8-00022d09712b": "FreeBSD data",
    "516e7cb5-6ecf-11d6-8ff8-00022d09712b": "FreeBSD swap",
    "516e7cb6-6ecf-11d6-8ff8-00022d09712b": "FreeBSD UFS",
    "516e7cba-6ecf-11d6-8ff8-00022d09712b": "FreeBSD ZFS",
    "6a898cc3-1dd2-11b2-99a6-080020736631": "ZFS",
    "aa31e02a-400f-11db-9590-000c2911d1b8": "VMware VMFS",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A header whose checksums hold, and its entries. ``sector`` is in bytes."""

    sector: int
    disk_guid: UUID
    entry_size: int
    entries: bytes

    @classmethod
    def read(cls, device: BlockDevice, offset: int, sector: int) -> Self:
        """The table whose header is at ``offset``. Raises ``FormatError``, ``ChecksumError``."""
        raw = device.read_exactly(offset, sector, "gpt")
        try:
            header = _HEADER.parse(raw)
        except ConstructError as exc:
            raise FormatError("gpt", "no header", offset=offset) from exc
        if not HEADER_SIZE <= header.header_size <= sector:
            raise FormatError("gpt", f"header of {header.header_size} bytes", offset=offset + 0x0C)
        if crc32(raw[:0x10] + bytes(4) + raw[0x14 : header.header_size]) != header.header_crc32:
            raise ChecksumError("gpt", "the header's CRC is wrong", offset=offset + 0x10)
        if header.my_lba * sector != offset:
            raise FormatError(
                "gpt", f"header says it is sector {header.my_lba} of {sector} bytes", offset=offset + 0x18
            )
        count, size = header.number_of_partition_entries, header.size_of_partition_entry
        if size < MIN_ENTRY or size % 8:
            raise FormatError("gpt", f"entries of {size} bytes", offset=offset + 0x54)
        if count * size > MAX_TABLE:
            raise FormatError("gpt", f"{count} entries of {size} bytes", offset=offset + 0x50)
        entries = device.read_exactly(header.partition_entry_lba * sector, count * size, "gpt")
        if crc32(entries) != header.partition_entry_array_crc32:
            raise ChecksumError("gpt", "the CRC of the entries is wrong", offset=offset + 0x58)
        return cls(sector, UUID(bytes_le=header.disk_guid), size, entries)


def _primaries(device: BlockDevice) -> Iterator[tuple[int, int]]:
    """(offset, sector size) of what may be primary headers."""
    for sector in SECTORS:
        if device.pread(sector, len(SIGNATURE)) == SIGNATURE:
            yield sector, sector


def _backups(device: BlockDevice) -> Iterator[tuple[int, int]]:
    """(offset, sector size) of what may be backup headers: where a damaged primary points, and in the last sector."""
    for sector in SECTORS:
        alternate = int.from_bytes(device.pread(sector + 0x20, 8), "little") * sector
        for place in dict.fromkeys((alternate, (device.size // sector - 1) * sector)):
            if place > 0 and device.pread(place, len(SIGNATURE)) == SIGNATURE:
                yield place, sector


def _read(device: BlockDevice) -> Table:
    """The first good table, primary before backup.

    Raises the error of the first bad one where none is good.
    """
    first: ImageError | None = None
    for places in (_primaries, _backups):
        for offset, sector in places(device):
            try:
                found = Table.read(device, offset, sector)
            except ImageError as exc:
                first = first or exc
                continue
            if places is _backups:
                log.warning(
                    "%s: using the backup table at %#x", first or "gpt: the primary header is lost", offset
                )
            return found
    raise first or FormatError("gpt", "no header", offset=SECTORS[0])


def probe(device: BlockDevice) -> Match:
    """CERTAIN behind a protective (or hybrid) MBR, as the UEFI specification demands.

    Without one, a sound table counts only where nothing better is known: disks that were divided anew keep
    old backups.
    """
    sector = device.pread(0, 512)
    signed = sector[510:512] == b"\x55\xaa"
    if signed and PROTECTIVE in sector[450:510:16]:
        return Match.CERTAIN
    table = _read(device)
    primary = device.pread(table.sector, len(SIGNATURE)) == SIGNATURE
    return Match.FALLBACK if primary or not signed else Match.NO


def open_gpt(device: BlockDevice, _: Context) -> list[Partition]:
    """The partitions in use, numbered by slot from 1. ``kind`` is the type's name, or its GUID."""
    table = _read(device)
    parts: list[Partition] = []
    for number, start in enumerate(range(0, len(table.entries), table.entry_size), 1):
        kind, unique, first, last, _attributes, name = _ENTRY.unpack_from(table.entries, start)
        if not any(kind):
            continue
        if len(parts) == MAX_PARTITIONS:
            log.warning(
                "gpt: more than %d partitions: those from number %d on are left out", MAX_PARTITIONS, number
            )
            break
        size = (last + 1 - first) * table.sector  # last is inclusive
        if not 0 < size < MAX_SIZE or first * table.sector >= device.size:
            log.warning("gpt: partition %d of sectors %d to %d is not on the disk", number, first, last)
            continue
        guid = str(UUID(bytes_le=kind))
        label = name.decode("utf-16-le", "replace").partition("\0")[0]
        content = Slice(device, first * table.sector, size)
        parts.append(
            Partition(number, TYPES.get(guid, guid), label, content, uuid=str(UUID(bytes_le=unique)))
        )
    return parts


FORMAT: Final = PartitionsFormat(
    name="gpt",
    title="GUID partition table",
    probe=probe,
    open=open_gpt,
)
