"""Partition maps: each partition of a logical volume as a device whose bytes lie in the image.

Source: ECMA-167 3/10.7, UDF 2.2.8 to 2.2.10.

Type 1 is a run of blocks. Of type 2 there are the virtual partition (a table says where each block of a
write-once disc is now), the sparable partition (worn packets are replaced) and the metadata partition (a file
that holds all directories, twice).
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.udf.icb import Entry, VolumeSpace
from imgmount.filesystems.udf.structs import (
    EXTENDED_FILE_ENTRY,
    FILE_ENTRY,
    FMT,
    SPARING_TABLE,
    TAG,
    check_tag,
    read_descriptor,
)

PHYSICAL: Final = b"physical"
VIRTUAL: Final = b"*UDF Virtual Partition"
SPARABLE: Final = b"*UDF Sparable Partition"
METADATA: Final = b"*UDF Metadata Partition"

MAX_MAPS: Final = 64
MAX_TABLE: Final = 64 << 20  # bytes of a virtual allocation table: a DVD has 2.3 million blocks
MAX_SPARING_TABLES: Final = 4
VAT_SEARCH: Final = 8192  # blocks before the end in which the table's file entry must lie: run-out, padding
MAX_RUN: Final = 64  # virtual blocks looked at for one extent

VAT_TYPE: Final = 248  # ICB file types (UDF 2.2.11, 2.2.13)
METADATA_TYPE: Final = 250
METADATA_MIRROR_TYPE: Final = 251
UNMAPPED: Final = 0xFFFF_FFFF

_TYPE_2: Final = struct.Struct(
    "<BB2xB23s8xHH"
)  # type, length; identifier; volume sequence number, partition number
_TYPE_1: Final = struct.Struct("<BBHH")
_TYPE_1_SIZE: Final = 6
_TYPE_2_SIZE: Final = 64
_DETAILS_AT: Final = 40
_SPARABLE_DETAILS: Final = struct.Struct("<HBxI4I")  # packet length, tables, table size, table places
_METADATA_DETAILS: Final = struct.Struct("<IIIIHB")  # main, mirror, bitmap, allocation unit, alignment, flags
_DUPLICATE: Final = 1

# UDF 1.50 2.2.10: identifier, previous table, after the entries
_VAT_TRAILER: Final = struct.Struct("<B23s8xI")
_VAT_IDENTIFIER: Final = b"*UDF Virtual Alloc Tbl"
# UDF 2.00 2.2.10: its own length, files, directories; before the entries
_VAT_HEADER: Final = struct.Struct("<H134xII")

_SPARING_HEADER: Final = struct.Struct("<16xB23s8xH2xI")  # identifier, entries, sequence number
_SPARING_ENTRIES_AT: Final = 56
_SPARING_IDENTIFIER: Final = b"*UDF Sparing Table"
_SPARING_FREE: Final = 0xFFFF_FFF0  # this and above: no packet is replaced


class MapEntry(NamedTuple):
    """A partition map: ``kind`` is the identifier of type 2 or PHYSICAL, ``raw`` the map as stored."""

    kind: bytes
    number: int
    raw: bytes

    @property
    def title(self) -> str:
        """``sparable``."""
        return self.kind.decode("ascii", "replace").removeprefix("*UDF ").removesuffix(" Partition").lower()


def parse_maps(raw: bytes, count: int) -> Iterator[MapEntry]:
    """The ``count`` maps in ``raw`` (3/10.7). Raises ``FormatError``, ``UnsupportedError``."""
    if count > MAX_MAPS:
        raise FormatError(FMT, f"the volume has {count} partition maps, more than {MAX_MAPS}")
    at = 0
    for index in range(count):
        if at + _TYPE_1_SIZE > len(raw):
            raise FormatError(FMT, f"partition map {index} of {count} is not in the descriptor")
        kind, length, _, number = _TYPE_1.unpack_from(raw, at)
        entry = MapEntry(PHYSICAL, number, raw[at : at + length])
        if (kind, length) == (2, _TYPE_2_SIZE) and at + length <= len(raw):
            _, _, _, identifier, _, number = _TYPE_2.unpack_from(raw, at)
            entry = MapEntry(identifier.rstrip(b"\0"), number, raw[at : at + length])
        elif (kind, length) != (1, _TYPE_1_SIZE):
            raise UnsupportedError(f"{FMT}: partition map of type {kind} is not 1 or 2")
        if entry.kind not in (PHYSICAL, VIRTUAL, SPARABLE, METADATA):
            name = entry.kind.decode("ascii", "replace")
            raise UnsupportedError(f"{FMT}: partition map {name!r} is not virtual, sparable or metadata")
        yield entry
        at += length


class Disc(NamedTuple):
    """The image, the block where the session of interest ends, and the partitions by number.

    Partitions are (start, length) in blocks.

    ``damage`` collects what was wrong with structures that have copies.
    """

    image: BlockDevice
    block_size: int
    end: int
    extents: Mapping[int, tuple[int, int]]
    damage: list[str]

    def extent(self, number: int) -> tuple[int, int]:
        """Start and length in blocks of partition ``number``. Raises ``FormatError``."""
        if number not in self.extents:
            raise FormatError(FMT, f"partition {number} has no descriptor (is this one volume of several?)")
        return self.extents[number]


def build(disc: Disc, maps: list[MapEntry]) -> VolumeSpace:
    """The partitions that ``maps`` describe. Raises ``ImageError``."""
    space = VolumeSpace(disc.block_size)
    space.partitions = [
        _sparable(disc, entry) if entry.kind == SPARABLE else _physical(disc, entry) for entry in maps
    ]
    for index, entry in enumerate(maps):
        if entry.kind in (VIRTUAL, METADATA):
            below = _below(maps, entry)
            (_add_virtual if entry.kind == VIRTUAL else _add_metadata)(disc, space, entry, index, below)
    return space


def _below(maps: list[MapEntry], layered: MapEntry) -> int:
    """The reference number of the partition in which a virtual or metadata partition keeps its blocks."""
    for index, entry in enumerate(maps):
        if entry.kind in (PHYSICAL, SPARABLE) and entry.number == layered.number:
            return index
    raise FormatError(
        FMT, f"{layered.title} partition stands on partition {layered.number}, which has no map"
    )


def _physical(disc: Disc, entry: MapEntry) -> BlockDevice:
    start, length = disc.extent(entry.number)
    return Slice(disc.image, start * disc.block_size, length * disc.block_size)


class SparablePartition(MappedDevice):
    """A run of blocks of which some packets lie elsewhere.

    ``spared`` maps packet numbers to blocks of the disc.
    """

    def __init__(self, disc: Disc, number: int, packet: int, spared: Mapping[int, int]) -> None:
        start, length = disc.extent(number)
        self.block_size = disc.block_size
        self.size = length * disc.block_size
        self.spared = spared
        self._image = disc.image
        self._start = start * disc.block_size
        self._packet = packet * disc.block_size
        self._moved = sorted(spared)

    def _map(self, offset: int) -> Extent:
        packet, skip = divmod(offset, self._packet)
        if (block := self.spared.get(packet)) is not None:
            return Extent(self._packet - skip, self._image, block * self.block_size + skip)
        following = bisect_right(self._moved, packet)
        end = self._moved[following] * self._packet if following < len(self._moved) else self.size
        return Extent(end - offset, self._image, self._start + offset)


def _sparable(disc: Disc, entry: MapEntry) -> BlockDevice:
    """The newest of the sparing tables that can be read (UDF 2.2.12) decides."""
    packet, count, size, *places = _SPARABLE_DETAILS.unpack_from(entry.raw, _DETAILS_AT)
    if not packet or count > MAX_SPARING_TABLES:
        raise FormatError(
            FMT,
            f"a sparable partition has packets of {packet} blocks and {count} tables, not 1 to {len(places)}",
        )
    tables = []
    problem: ImageError = FormatError(FMT, "no sparing table of the sparable partition can be read")
    for place in places[:count]:
        try:
            tables.append(read_sparing_table(disc, place, size, packet))
        except ImageError as exc:
            problem = exc
            disc.damage.append(f"sparing table at block {place}: {exc}")
    if not tables:
        raise problem
    return SparablePartition(disc, entry.number, packet, max(tables, key=lambda found: found[0])[1])


def read_sparing_table(disc: Disc, block: int, size: int, packet: int) -> tuple[int, dict[int, int]]:
    """Its sequence number, and which packets (by number) now begin at which block of the disc.

    Raises ``FormatError``.
    """
    raw = read_descriptor(disc.image, disc.block_size, block, SPARING_TABLE)
    _, identifier, count, sequence = _SPARING_HEADER.unpack_from(raw)
    offset = block * disc.block_size
    if not identifier.startswith(_SPARING_IDENTIFIER) or _SPARING_ENTRIES_AT + 8 * count > max(
        size, len(raw)
    ):
        raise FormatError(FMT, f"a sparing table with {count} entries is too large", offset=offset)
    entries = table(disc.image.read_exactly(offset + _SPARING_ENTRIES_AT, 8 * count, FMT), 4, "little")
    pairs = zip(entries[::2], entries[1::2], strict=True)
    return sequence, {original // packet: mapped for original, mapped in pairs if original < _SPARING_FREE}


class VirtualPartition(MappedDevice):
    """Blocks that lie where ``entries`` says, in the partition ``below``.

    ``counts``: files, directories of the volume.
    """

    def __init__(
        self, below: BlockDevice, entries: array[int], block_size: int, counts: tuple[int, int] | None
    ) -> None:
        self.counts = counts
        self.block_size = block_size
        self.size = len(entries) * block_size
        self.entries = entries
        self._below = below

    def _map(self, offset: int) -> Extent:
        block, skip = divmod(offset, self.block_size)
        stored = self.entries[block]
        if stored == UNMAPPED:
            raise FormatError(FMT, f"virtual block {block} is not in use")
        run = 1
        for entry in self.entries[block + 1 : block + MAX_RUN]:
            if entry != stored + run:
                break
            run += 1
        return Extent(run * self.block_size - skip, self._below, stored * self.block_size + skip)


class LaterSessionError(FormatError):
    """The table at the end of the image belongs to a partition that begins later: there are more sessions."""


def _add_virtual(disc: Disc, space: VolumeSpace, entry: MapEntry, index: int, below: int) -> None:
    start, _ = disc.extent(entry.number)
    found = _find_vat(disc, space, start, below)
    if found.size > MAX_TABLE:
        raise FormatError(
            FMT,
            f"a virtual allocation table of {found.size} bytes is empty or too large",
            offset=found.offset,
        )
    raw = space.content(found).read_exactly(0, found.size, FMT)
    counts = None
    if found.file_type == VAT_TYPE:
        header, files, directories = _VAT_HEADER.unpack_from(raw.ljust(_VAT_HEADER.size, b"\0"))
        entries, counts = table(raw[header:], 4, "little"), (files, directories)
    else:
        entries = table(raw[: -_VAT_TRAILER.size], 4, "little")
    space.partitions[index] = VirtualPartition(space.device(below), entries, disc.block_size, counts)
    space.aliases[index] = entries


def _find_vat(disc: Disc, space: VolumeSpace, start: int, below: int) -> Entry:
    """The file entry of the virtual allocation table: the last thing written (UDF 2.2.10).

    Raises ``FormatError``.
    """
    size = disc.block_size
    for end in range(disc.end, max(0, disc.end - VAT_SEARCH), -MAX_RUN):
        first = max(0, end - MAX_RUN)
        raw = disc.image.pread(first * size, (end - first) * size)
        for block in range(end - 1, first - 1, -1):
            at = (block - first) * size
            if (found := _vat_entry(raw[at : at + size], space, below, (block - start) * size)) is None:
                continue
            if TAG.unpack_from(found.raw)[-1] != block - start:
                raise LaterSessionError(
                    FMT, "virtual allocation table of another session", offset=block * size
                )
            return found
    raise FormatError(FMT, "no virtual allocation table at the end of the disc", offset=disc.end * size)


def _vat_entry(raw: bytes, space: VolumeSpace, below: int, offset: int) -> Entry | None:
    """The entry in ``raw``, if it is one of a virtual allocation table."""
    if len(raw) < space.block_size or TAG.unpack_from(raw)[0] not in (FILE_ENTRY, EXTENDED_FILE_ENTRY):
        return None
    try:
        check_tag(raw, (FILE_ENTRY, EXTENDED_FILE_ENTRY), (TAG.unpack_from(raw)[-1],), offset)
        entry = Entry(raw, below, space.device(below), offset)
        if entry.file_type == VAT_TYPE:
            return entry
        if entry.file_type != 0 or not _VAT_TRAILER.size <= entry.size <= MAX_TABLE:
            return None
        trailer = space.content(entry).pread(entry.size - _VAT_TRAILER.size, _VAT_TRAILER.size)
    except ImageError:
        return None
    return entry if _VAT_TRAILER.unpack(trailer)[1].startswith(_VAT_IDENTIFIER) else None


def _add_metadata(disc: Disc, space: VolumeSpace, entry: MapEntry, index: int, below: int) -> None:
    """Main file and mirror (UDF 2.2.13); either will do."""
    main, mirror, _, _, _, flags = _METADATA_DETAILS.unpack_from(entry.raw, _DETAILS_AT)
    copies: list[BlockDevice] = []
    problem: ImageError | None = None
    for block, file_type in ((main, METADATA_TYPE), (mirror, METADATA_MIRROR_TYPE)):
        try:
            copies.append(_metadata_file(space, below, block, file_type))
        except ImageError as exc:
            problem = problem or exc
            disc.damage.append(f"metadata file at block {block} of its partition: {exc}")
    if not copies:
        raise problem or FormatError(
            FMT, "neither the metadata file nor its mirror is found", offset=main * disc.block_size
        )
    space.partitions[index] = copies[0]
    if len(copies) > 1 and flags & _DUPLICATE:
        space.mirrors[index] = copies[1]


def _metadata_file(space: VolumeSpace, below: int, block: int, file_type: int) -> BlockDevice:
    raw, device = space.descriptor(below, block, FILE_ENTRY, EXTENDED_FILE_ENTRY)
    found = Entry(raw, below, device, block * space.block_size)
    if found.file_type != file_type:
        raise FormatError(
            FMT, f"the metadata file is of type {found.file_type}, not a metadata file", offset=found.offset
        )
    return space.content(found)
