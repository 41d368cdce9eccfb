"""GUID partition tables, in sectors of 512 to 4096 bytes; the backup is used where the primary is damaged.

Source: the UEFI specification 2.10, section 5.3. All numbers are little endian, LBAs count sectors, last LBAs
are inclusive.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from struct import Struct as Record
from typing import Any, Final, NamedTuple, Self
from uuid import UUID
from zlib import crc32

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Match, Partition, PartitionsFormat
from imgmount.core.header import parse_header, within
from imgmount.core.layout import Bytes, Const, Int32ul, Int64ul, Struct
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


class Table(NamedTuple):
    """A header and its entries. ``sector`` is in bytes; ``fault`` is a checksum that is wrong."""

    offset: int
    sector: int
    disk_guid: UUID
    entry_size: int
    entries: bytes
    fault: ImageError | None = None

    @classmethod
    def read(cls, device: BlockDevice, offset: int, sector: int) -> Self:
        """The table whose header is at ``offset``. Raises ``FormatError`` where its fields make no sense."""
        raw = device.read_exactly(offset, sector, "gpt")
        header = parse_header(_HEADER, device, offset, "gpt", "the header")
        size = within("gpt", "header size", header.header_size, HEADER_SIZE, sector, offset=offset + 0x0C)
        fault: ImageError | None = None
        if crc32(raw[:0x10] + bytes(4) + raw[0x14:size]) != header.header_crc32:
            fault = ChecksumError("gpt", "the header's CRC is wrong", offset=offset + 0x10)
        if header.my_lba * sector != offset:
            reason = (
                f"header says it is sector {header.my_lba}, it is sector {offset // sector} of {sector} bytes"
            )
            raise FormatError("gpt", reason, offset=offset + 0x18)
        count, size = header.number_of_partition_entries, header.size_of_partition_entry
        within("gpt", "entry size", size, MIN_ENTRY, MAX_TABLE, multiple_of=8, offset=offset + 0x54)
        within("gpt", "number of entries", count, 0, MAX_TABLE // size, offset=offset + 0x50)
        entries = device.read_exactly(header.partition_entry_lba * sector, count * size, "gpt")
        if crc32(entries) != header.partition_entry_array_crc32:
            fault = fault or ChecksumError("gpt", "the CRC of the entries is wrong", offset=offset + 0x58)
        return cls(offset, sector, UUID(bytes_le=header.disk_guid), size, entries, fault)

    @classmethod
    def sound(cls, device: BlockDevice, offset: int, sector: int) -> Self:
        """The table at ``offset`` if both its checksums hold. Raises ``FormatError``, ``ChecksumError``."""
        found = cls.read(device, offset, sector)
        if found.fault is not None:
            raise found.fault.again()
        return found

    def makes_sense(self, device: BlockDevice) -> bool:
        """Whether all entries in use lie on the disk, in front of each other, and there are some."""
        spans = sorted((first, last) for _, (_, _, first, last, *_) in self.used())
        ends = [0, *(last for _, last in spans)]
        inside = all(end < first <= last for end, (first, last) in zip(ends, spans, strict=False))
        return bool(spans) and inside and ends[-1] * self.sector < device.size

    def used(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """(slot from 1, fields) of each entry that describes a partition."""
        for number, start in enumerate(range(0, len(self.entries), self.entry_size), 1):
            fields = _ENTRY.unpack_from(self.entries, start)
            if any(fields[0]):
                yield number, fields


def _primaries(device: BlockDevice) -> Iterator[tuple[int, int]]:
    """(offset, sector size) of what may be primary headers."""
    for sector in SECTORS:
        if device.pread(sector, len(SIGNATURE)) == SIGNATURE:
            yield sector, sector


def _backups(device: BlockDevice) -> Iterator[tuple[int, int]]:
    """(offset, sector size) of possible backup headers: what the primary names, and the last sector."""
    for sector in SECTORS:
        alternate = int.from_bytes(device.pread(sector + 0x20, 8), "little") * sector
        for place in dict.fromkeys((alternate, (device.size // sector - 1) * sector)):
            if place > 0 and device.pread(place, len(SIGNATURE)) == SIGNATURE:
                yield place, sector


def _read(device: BlockDevice, told: int = logging.DEBUG) -> Table:
    """The first good table, primary before backup; else one with wrong checksums whose entries make sense.

    ``told`` is the log level of the message that it is not the primary, or damaged. Raises the error of the
    first bad one if there is no good one.
    """
    first: ImageError | None = None
    for places in (_primaries, _backups):
        for offset, sector in places(device):
            try:
                found = Table.sound(device, offset, sector)
            except ImageError as exc:
                first = first or exc
                continue
            if places is _backups:
                log.log(
                    told,
                    "%s: using the backup table at %#x",
                    first or "gpt: the primary header is lost",
                    offset,
                )
            return found
    for offset, sector in (*_primaries(device), *_backups(device)):
        with suppress(ImageError):
            found = Table.read(device, offset, sector)
            if found.makes_sense(device):
                log.log(told, "%s, and no copy is better: the table is used as it is", found.fault)
                return found
    if first is None:
        raise FormatError("gpt", f"a header begins with {SIGNATURE!r}, there is none", offset=SECTORS[0])
    raise first.again()


def has_header(device: BlockDevice) -> bool:
    """Whether something begins as a table does where a table may be."""
    return any(chain(_primaries(device), _backups(device)))


def has_partitions(device: BlockDevice) -> bool:
    """Whether a table that can be read describes a partition, or none can be read that is there."""
    if not has_header(device):
        return False
    try:
        return any(_read(device).used())
    except ImageError:
        return True


def probe(device: BlockDevice) -> Match:
    """CERTAIN behind a protective (or hybrid) MBR, as the UEFI specification demands.

    Without one, a sound table counts only where nothing better is known: disks that were divided anew keep
    old backups. One without entries leaves the disk to an MBR that has some.
    """
    sector = device.pread(0, 512)
    signed = sector[510:512] == b"\x55\xaa"
    types = sector[450:510:16]
    if signed and PROTECTIVE in types:
        others = any(kind not in (0, PROTECTIVE) for kind in types)
        return Match.CERTAIN if not others or has_partitions(device) else Match.NO
    table = _read(device)
    if table.fault is not None:
        return Match.NO
    primary = device.pread(table.sector, len(SIGNATURE)) == SIGNATURE
    return Match.FALLBACK if primary or not signed else Match.NO


def check(device: BlockDevice) -> Iterator[str]:
    """One line for each header that is damaged, with its entries, and for a primary that is lost."""
    primaries = list(_primaries(device))
    for offset, sector in primaries or _backups(device):
        backups = [place for place in _backups(device) if place[1] == sector]
        if not primaries:
            yield f"the primary table is lost, the backup is at {offset:#x}"
        elif not backups:
            yield "the backup table is lost"
        for name, places in (("primary", [(offset, sector)] if primaries else []), ("backup", backups)):
            for place in places:
                try:
                    Table.sound(device, *place)
                except ImageError as exc:
                    yield f"{name} table: {exc}"
        return


def open_gpt(device: BlockDevice, _: Context) -> list[Partition]:
    """The partitions in use, numbered by slot from 1. ``kind`` is the type's name, or its GUID."""
    table = _read(device, logging.WARNING)
    parts: list[Partition] = []
    for number, (kind, unique, first, last, _attributes, name) in table.used():
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


def about(device: BlockDevice) -> dict[str, str]:
    """The disk's GUID, and what is wrong with the table that is used."""
    table = _read(device)
    facts = {"disk GUID": str(table.disk_guid), "sectors": f"{table.sector} bytes"}
    return facts | ({"damage": str(table.fault)} if table.fault else {})


FORMAT: Final = PartitionsFormat(
    name="gpt",
    title="GUID partition table",
    extensions=(".img", ".dd", ".raw"),
    checks="CRC-32 of header and entries, in both copies",
    probe=probe,
    open=open_gpt,
    about=about,
    check=check,
)
