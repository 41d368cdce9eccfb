"""Where the chunks of an EWF set are.

One table per table section, read when a chunk of it is wanted, few kept.

A table is 4 bytes a chunk (EWF1) or 16 (EWF2): those of an 8 TB set fill gigabytes.
Source: libewf, "Table section", EWF2 "Sector table".
"""

from __future__ import annotations

import struct
import threading
import zlib
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from imgmount.containers.evidence.ewf.facts import Media
from imgmount.containers.evidence.ewf.segment import Section, Segment
from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.errors import ChecksumError, FormatError

_HEADER1 = struct.Struct("<I4xQ4xI")  # entries, base offset, checksum of the 20 bytes before
_HEADER2 = struct.Struct("<QI4xI12x")  # first chunk, entries, checksum of the 16 bytes before
_ENTRY2 = struct.Struct("<QII")  # offset or pattern, size, flags
CHECKSUM_SIZE: Final = 4
COMPRESSED: Final = 1  # flags of an EWF2 chunk
CHECKSUMED: Final = 2
PATTERN: Final = 4
BIT31: Final = 1 << 31  # of an EWF1 entry: the chunk is compressed
MAX_BYTES: Final = 16 << 20  # of one table: EnCase stops at 65 534 chunks
KEPT_BYTES: Final = 16 << 20  # of loaded tables, and at least one


class Chunk(NamedTuple):
    """``size`` bytes at ``offset`` of ``file``; for a pattern, ``offset`` is the pattern."""

    file: BlockDevice
    offset: int
    size: int
    flags: int


class Place(NamedTuple):
    """A table section on disk: ``chunks`` entries, the first is ``first``.

    ``data`` is the sectors section before it, if any.
    """

    segment: Segment
    section: Section
    mirror: Section | None
    data: Section | None
    first: int
    chunks: int


class Tables:
    """All tables of the segments that are here. ``count`` is the number of chunks they hold.

    ``unplaced`` names the segments behind a missing one whose place in the disk is not known.
    """

    def __init__(self, segments: Sequence[Segment], media: Media) -> None:
        self.unplaced: list[str] = []
        self._places: list[Place] = []
        for run in _runs(segments):
            first = 0 if run[0].number == 1 else None
            if first is None and run[0].version == 1:
                first = _first_from_end(run, media)
                if first is None:
                    self.unplaced += [
                        f"{segment.name} cannot be used: nothing says where it belongs" for segment in run
                    ]
                    continue
            self._places += _find(run, first)
        for place, following in pairwise(self._places):
            if place.first + place.chunks > following.first:
                raise FormatError("ewf", f"{following.segment.name}: chunk {following.first} is here again")
        self._starts = [place.first for place in self._places]
        self.count = sum(place.chunks for place in self._places)
        self._loaded: OrderedDict[int, _Table1 | _Table2] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> Chunk:
        number = bisect_right(self._starts, index) - 1
        if number < 0 or index - self._starts[number] >= self._places[number].chunks:
            raise FormatError("ewf", f"chunk {index} is in no table: they hold {self.count}")
        return self._load(number)[index - self._starts[number]]

    def chunks(self, units: int) -> Iterator[int]:
        """The numbers below ``units`` of the chunks that the tables hold."""
        for place in self._places:
            yield from range(place.first, min(units, place.first + place.chunks))

    def _load(self, number: int) -> _Table1 | _Table2:
        with self._lock:
            loaded = self._loaded.get(number)
            if loaded is not None:
                self._loaded.move_to_end(number)
                return loaded
        place = self._places[number]
        loaded = _Table1(place) if place.segment.version == 1 else _Table2(place)
        with self._lock:
            self._loaded[number] = loaded
            while len(self._loaded) > 1 and sum(kept.bytes for kept in self._loaded.values()) > KEPT_BYTES:
                self._loaded.popitem(last=False)
        return loaded

    def problems(self) -> Iterator[str]:
        """Tables that are damaged, or that their mirror contradicts."""
        for place in self._places:
            sections = [place.section, *([place.mirror] if place.mirror else [])]
            copies = []
            for section in sections:
                try:
                    copies.append(_entries(place, section))
                except FormatError as exc:
                    yield str(exc)
            if len(copies) == 2 and copies[0] != copies[1]:
                yield f"{place.segment.name}: table and table2 at {place.section.offset:#x} differ"


def _runs(segments: Sequence[Segment]) -> list[list[Segment]]:
    """The segments, cut where one is missing."""
    runs: list[list[Segment]] = []
    for segment in segments:
        if not runs or segment.number != runs[-1][-1].number + 1:
            runs.append([])
        runs[-1].append(segment)
    return runs


def _first_from_end(run: Sequence[Segment], media: Media) -> int | None:
    """The first chunk of the segments that end an EWF1 set, whose tables do not number them.

    None if that is unknown.
    """
    chunks = sum(place.chunks for place in _find(run, 0))
    known = (
        run[-1].last and media.chunks * media.chunk_size >= media.size > (media.chunks - 1) * media.chunk_size
    )
    return media.chunks - chunks if known and chunks <= media.chunks else None


def _find(segments: Sequence[Segment], first: int | None) -> Iterator[Place]:
    """The tables of segments that follow each other, from chunk ``first`` on.

    None for where an EWF2 table says it begins.
    """
    for segment in segments:
        data: Section | None = None
        sections = segment.sections
        for section, follower in pairwise([*sections, Section("", 0, 0)]):
            if section.kind == "sectors":
                data = section
            elif section.kind == "table":
                mirror = follower if follower.kind == "table2" else None
                place = _place(segment, section, mirror, data, first)
                first = place.first + place.chunks
                if place.chunks:
                    yield place


def _place(
    segment: Segment, section: Section, mirror: Section | None, data: Section | None, first: int | None
) -> Place:
    try:
        said, chunks = _measure(segment, section)
    except FormatError:
        if mirror is None:
            raise
        said, chunks = _measure(segment, mirror)
    if first is None or said is None:
        return Place(segment, section, mirror, data, said or first or 0, chunks)
    if said != first:
        raise FormatError(
            "ewf", f"{segment.name}: a table begins with chunk {said}, not {first}", offset=section.offset
        )
    return Place(segment, section, mirror, data, first, chunks)


def _measure(segment: Segment, section: Section) -> tuple[int | None, int]:
    """(number of the first chunk, where a table says it; how many it says it has). Raises ``FormatError``."""
    header, width = (_HEADER1, 4) if segment.version == 1 else (_HEADER2, _ENTRY2.size)
    raw = segment.file.read_exactly(section.offset, header.size, "ewf")
    if not _header_agrees(raw, segment.version):
        raise ChecksumError(
            "ewf", f"{segment.name}: a table's header disagrees with its checksum", offset=section.offset
        )
    fields = header.unpack(raw)
    chunks = int(fields[0 if segment.version == 1 else 1])
    if chunks * width > min(MAX_BYTES, section.size - header.size):
        raise FormatError(
            "ewf",
            f"{segment.name}: a table of {chunks} chunks does not fit in its section of {section.size} bytes",
            offset=section.offset,
        )
    return None if segment.version == 1 else int(fields[0]), chunks


def _header_agrees(raw: bytes, version: int) -> bool:
    size = 20 if version == 1 else 16
    stored = int.from_bytes(raw[size : size + CHECKSUM_SIZE], "little")
    return stored == zlib.adler32(raw[:size]) or (stored == 0 and version == 1)  # 0: Logicube


def _entries(place: Place, section: Section) -> tuple[int, bytes]:
    """(base offset, entries) of a table or its mirror. Raises ``ChecksumError``."""
    version = place.segment.version
    header, width = (_HEADER1, 4) if version == 1 else (_HEADER2, _ENTRY2.size)
    where = f"{place.segment.name}: {section.kind} at chunk {place.first} disagrees with its checksum"
    file, size = place.segment.file, place.chunks * width
    if header.size + size > section.size:
        raise ChecksumError("ewf", where, offset=section.offset)
    raw = file.read_exactly(section.offset, header.size, "ewf")
    entries = file.read_exactly(section.offset + header.size, size, "ewf")
    fields = header.unpack(raw)
    if not _header_agrees(raw, version) or fields[0 if version == 1 else 1] != place.chunks:
        raise ChecksumError("ewf", where, offset=section.offset)
    base = fields[1] if version == 1 else 0
    left = section.size - header.size - size
    if version == 1 and (left < CHECKSUM_SIZE or _chunks_inside(entries, base, section)):
        return base, entries  # SMART, EnCase 1
    footer = file.read_exactly(section.offset + header.size + size, CHECKSUM_SIZE, "ewf")
    stored = int.from_bytes(footer, "little")
    if stored != zlib.adler32(entries) and (stored or version == 2):
        raise ChecksumError("ewf", where, offset=section.offset)
    return base, entries


def _chunks_inside(entries: bytes, base: int, section: Section) -> bool:
    """Whether a table is followed by its chunks in its own section."""
    first = base + (int.from_bytes(entries[:4], "little") & ~BIT31)
    return section.offset + _HEADER1.size + len(entries) <= first < section.end


def _sound(place: Place) -> tuple[int, bytes]:
    """The entries of a table, or of its mirror if it is damaged. Raises ``ChecksumError``."""
    try:
        return _entries(place, place.section)
    except FormatError:
        if place.mirror is None:
            raise
        return _entries(place, place.mirror)


class _Table1:
    """A chunk ends where the next one begins; the last ends with the section that holds it."""

    def __init__(self, place: Place) -> None:
        self._file = place.segment.file
        self._base, raw = _sound(place)
        self._entries: array[int] = table(raw, 4, "little")
        self._name, self._first = place.segment.name, place.first
        self._stored = 0 if place.segment.unchecked else CHECKSUMED
        inside = place.data is None or _chunks_inside(raw, self._base, place.section)
        holder = place.section if inside or place.data is None else place.data
        self._start, self._end = holder.offset, holder.end
        self._wrap = self._find_wrap() if self._end - self._base > BIT31 else len(self._entries)
        self.bytes = len(raw)

    def _find_wrap(self) -> int:
        """From which chunk on none is compressed: EnCase 6.7.1 needs that bit for offsets beyond 31 bits."""
        previous = 0
        for index, entry in enumerate(self._entries):
            if entry & ~BIT31 < previous:
                return index
            previous = entry & ~BIT31
        return len(self._entries)

    def _offset(self, index: int) -> int:
        entry = self._entries[index]
        return self._base + (entry & ~BIT31 if index < self._wrap else entry)

    def __getitem__(self, index: int) -> Chunk:
        start = self._offset(index)
        end = self._offset(index + 1) if index + 1 < len(self._entries) else self._end
        if not self._start <= start < end <= self._end:
            raise FormatError(
                "ewf",
                f"{self._name}: chunk {self._first + index} is stored from {start:#x} to {end:#x}, "
                "outside its section",
            )
        flags = COMPRESSED if index < self._wrap and self._entries[index] & BIT31 else self._stored
        return Chunk(self._file, start, end - start, flags)


class _Table2:
    """Each chunk has its size and flags."""

    def __init__(self, place: Place) -> None:
        self._file = place.segment.file
        self._name, self._first = place.segment.name, place.first
        _, self._raw = _sound(place)
        self.bytes = len(self._raw)

    def __getitem__(self, index: int) -> Chunk:
        offset, size, flags = _ENTRY2.unpack_from(self._raw, index * _ENTRY2.size)
        if flags & PATTERN and not flags & COMPRESSED:
            flags &= ~PATTERN
        if not flags & PATTERN and offset + size > self._file.size:
            raise FormatError(
                "ewf",
                f"{self._name}: chunk {self._first + index} at {offset:#x}+{size:#x} ends beyond the file",
            )
        return Chunk(self._file, offset, size, flags)
