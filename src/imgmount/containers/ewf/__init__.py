"""Expert Witness Format: disk images (E01, S01, Ex01) and logical evidence (L01, Lx01) of EnCase, FTK Imager, SMART and others.

Each chunk has a checksum and it is checked whenever the chunk is decoded: nothing is handed to the kernel unseen.
Source: libewf's documentation, "Expert Witness Compression Format" and "Expert Witness Compression Format 2".
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from typing import Final

from imgmount.containers.ewf import facts
from imgmount.containers.ewf.chunk import decode, read
from imgmount.containers.ewf.names import segment_name
from imgmount.containers.ewf.segment import Segment, read_number, read_segment
from imgmount.containers.ewf.tables import Tables
from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice, GroupedDevice
from imgmount.core.format import Context, Format, Kind
from imgmount.errors import FormatError, MissingPartError, MountError

log = logging.getLogger(__name__)

ON_ERROR: Final = "on-error"  # -X on-error=zero
MAX_ZEROED: Final = 1 << 16  # chunks that are remembered
SHOWN_ZEROED: Final = 8


class EwfDevice(GroupedDevice):
    """The disk in a set of segment files."""

    def __init__(self, segments: list[Segment], context: Context) -> None:
        self._segments = segments
        self._media = facts.read_media(self._segments[0])
        self._tables = Tables(self._segments)
        self._problems = [problem for segment in self._segments for problem in segment.problems]
        self._zeros = _zeros_wanted(context)
        self._zeroed: set[int] = set()
        super().__init__(self._measure(), self._media.chunk_size, context.cache)
        if self._tables.count < self.units:
            self._problems.append(f"the tables hold {self._tables.count} of {self.units} chunks: what follows cannot be read")
        for problem in self._problems:
            log.warning("ewf: %s", problem)

    def _measure(self) -> int:
        return self._media.size

    def _read_units(self, first: int, count: int) -> bytes:
        chunks = range(first, first + count)
        if self._zeros:
            return b"".join([self._decode_or_zeros(index) for index in chunks])
        places = [self._tables[index] for index in chunks]
        triples = zip(chunks, places, read(places, self.unit), strict=True)
        return b"".join([decode(place, raw, self.unit_size(index), self.unit) for index, place, raw in triples])

    def _decode(self, index: int) -> Content:
        place = self._tables[index]
        return decode(place, read([place], self.unit)[0], self.unit_size(index), self.unit)

    def _decode_or_zeros(self, index: int) -> Content:
        try:
            return self._decode(index)
        except FormatError as exc:
            if index not in self._zeroed and len(self._zeroed) < MAX_ZEROED:
                self._zeroed.add(index)
                log.warning("%s: chunk %d reads as zeros", exc, index)
            return bytes(self.unit_size(index))

    def info(self) -> Mapping[str, str]:
        first = self._segments[0]
        found = dict(facts.read_case(first))
        found |= {f"stored {name}": value for name, value in facts.read_hashes(self._segments).items()}
        found["segments"] = str(len(self._segments))
        found["chunks"] = f"{self._tables.count} of {self.unit} bytes"
        if errors := facts.read_errors(self._segments):
            found["read errors"] = facts.describe_errors(errors)
        if self._zeroed:
            found["damaged, read as zeros"] = self._describe_zeroed()
        return found

    def _describe_zeroed(self) -> str:
        chunks = sorted(self._zeroed)
        shown = ", ".join(f"{chunk * self.unit:#x}+{self.unit_size(chunk):#x}" for chunk in chunks[:SHOWN_ZEROED])
        return f"{len(chunks)} chunks: {shown}{', ...' if len(chunks) > SHOWN_ZEROED else ''}"

    def verify(self) -> Iterator[str]:
        yield from self._problems
        yield from self._tables.problems()
        digests = {"MD5": hashlib.md5(usedforsecurity=False), "SHA-1": hashlib.sha1(usedforsecurity=False)}
        whole = True
        for index in range(min(self.units, self._tables.count)):
            try:
                chunk = self._decode(index)
            except FormatError as exc:
                whole = False
                yield f"chunk {index}, {index * self.unit:#x}+{self.unit_size(index):#x}: {exc}"
                continue
            for digest in digests.values():
                digest.update(chunk)
        if not whole or self._tables.count < self.units:
            yield "the stored hashes cannot be checked: chunks are missing"
            return
        for name, stored in facts.read_hashes(self._segments).items():
            if digests[name].hexdigest() != stored:
                yield f"{name} is {digests[name].hexdigest()}, stored is {stored}"


class LogicalEwfDevice(EwfDevice):
    """What logical evidence keeps of its files, one behind the other. The ltree section says which is where."""

    def _measure(self) -> int:
        """The volume section counts no sectors; the list says how many bytes there are."""
        stored = self._tables.count * self._media.chunk_size
        record = facts.table_of(self.catalog().decode("utf-16-le", "replace").lstrip("\ufeff"), "rec")
        size = record.get("tb", "")
        return min(int(size), stored) if size.isdecimal() else stored

    def catalog(self) -> bytes:
        for segment in reversed(self._segments):
            for section in segment.sections:
                if section.kind == "ltree":
                    return facts.read_catalog(segment, section)
        raise FormatError("ewf", "logical evidence without a list of its files")


def open_ewf(file: BlockDevice, context: Context) -> EwfDevice:
    """The disk, or the files, of the set that ``file`` belongs to. Raises ``ImageError``."""
    segments = open_set(file, context)
    return (LogicalEwfDevice if segments[0].logical else EwfDevice)(segments, context)


def open_set(file: BlockDevice, context: Context) -> list[Segment]:
    """Every segment of the set that ``file`` is part of, in order. Raises ``MissingPartError`` for a gap."""
    given = context.path.name
    number = read_number(file)
    if number != 1:
        file = _sibling(context, given, 1)
    segments = [_read(file, given if number == 1 else segment_name(given, 1), 1, [])]
    while not segments[-1].last:
        following = len(segments) + 1
        if segments[-1].cut and segment_name(given, following) not in context.siblings.names():
            break
        segments.append(_read(_sibling(context, given, following), segment_name(given, following), following, segments))
    return segments


def _sibling(context: Context, given: str, number: int) -> BlockDevice:
    name = segment_name(given, number)
    if not name:
        raise MissingPartError(f"ewf: segment {number} is missing, and {given!r} does not say what it is called")
    return context.siblings.open(name)


def _read(file: BlockDevice, name: str, number: int, before: list[Segment]) -> Segment:
    segment = read_segment(file, name)
    if segment.number != number:
        raise FormatError("ewf", f"{name} is segment {segment.number}, not {number}", offset=9)
    if before and _set_id(segment) and _set_id(before[0]) and _set_id(segment) != _set_id(before[0]):
        raise FormatError("ewf", f"{name} belongs to another set than {before[0].name}")
    if before and (segment.version, segment.logical) != (before[0].version, before[0].logical):
        raise FormatError("ewf", f"{name} is of another format than {before[0].name}")
    return segment


def _set_id(segment: Segment) -> bytes:
    """The set's GUID; empty if the segment does not say it."""
    for section in segment.sections:
        if section.kind in ("volume", "disk", "data") and segment.version == 1:
            return facts.read_volume(segment, section).set_id.strip(b"\0")
    return segment.set_id.strip(b"\0")


def _zeros_wanted(context: Context) -> bool:
    choice = context.options.extra.get(ON_ERROR, "fail")
    if choice not in ("fail", "zero"):
        raise MountError(f"{ON_ERROR}={choice}: 'fail' or 'zero'")
    return choice == "zero"


FORMAT: Final = Format(
    name="ewf",
    title="Expert Witness image (E01, S01, Ex01, L01, Lx01)",
    kind=Kind.CONTAINER,
    open=open_ewf,
    limits="no encryption, no bzip2",
    guest=True,
)
