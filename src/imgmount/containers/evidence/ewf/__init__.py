"""Expert Witness Format: disk images (E01, S01, Ex01) and logical evidence (L01, Lx01) of EnCase and others.

Each chunk has a checksum, which is checked whenever the chunk is decoded: no byte reaches the kernel
unchecked. Source: libewf's documentation, "Expert Witness Compression Format" and "Expert Witness Compression
Format 2".
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from imgmount.containers.evidence.ewf import facts, medium
from imgmount.containers.evidence.ewf.chunk import decode, decode_run, read
from imgmount.containers.evidence.ewf.extent import settle
from imgmount.containers.evidence.ewf.names import segment_name, segment_number
from imgmount.containers.evidence.ewf.segment import Segment, read_number, read_segment
from imgmount.containers.evidence.ewf.tables import Tables
from imgmount.containers.evidence.options import ON_ERROR
from imgmount.containers.evidence.zero_fill import ZeroFill
from imgmount.core.cache import Content
from imgmount.core.checks import Finding, Note, Seal
from imgmount.core.device import BlockDevice, GroupedDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.errors import FormatError, MissingPartError

log = logging.getLogger(__name__)


class EwfDevice(GroupedDevice):
    """The disk in a set of segment files. What only segments hold that are ``missing`` cannot be read."""

    def __init__(self, segments: list[Segment], missing: list[str], context: Context) -> None:
        self._segments = segments
        self._missing = missing
        try:
            said, faults = facts.read_media(segments)
        except FormatError:
            if missing:
                raise MissingPartError(
                    f"ewf: {missing[0]} is missing: nothing else says what the disk is"
                ) from None
            raise
        self._tables = Tables(segments, said[0])
        self._media = said[0]
        self._problems: list[str] = []
        if not segments[0].logical:
            self._media, self._problems = settle(said, self._tables, whole=not missing and segments[-1].last)
        self._problems += faults
        self._problems += [problem for segment in segments for problem in segment.problems]
        self._problems += [f"missing: {names}: what was there cannot be read" for names in missing]
        self._problems += self._tables.unplaced
        self._zeroed = ZeroFill(context)
        super().__init__(self._measure(), self._media.chunk_size, context.cache)
        if self._tables.count < self.units:
            self._problems.append(
                f"the tables hold {self._tables.count} of {self.units} chunks: the others cannot be read"
            )
        for problem in self._problems:
            log.warning("ewf: %s", problem)

    def _measure(self) -> int:
        return self._media.size

    def _read_units(self, first: int, count: int) -> Content:
        chunks = range(first, first + count)
        if self._zeroed.wanted:
            return b"".join([self._decode_or_zeros(index) for index in chunks])
        places = [self._tables[index] for index in chunks]
        size = min(count * self.unit, self.size - first * self.unit)
        if (run := decode_run(places, size, self.unit)) is not None:
            return run
        triples = zip(chunks, places, read(places, self.unit), strict=True)
        return b"".join(
            [decode(place, raw, self.unit_size(index), self.unit) for index, place, raw in triples]
        )

    def _decode(self, index: int) -> Content:
        place = self._tables[index]
        return decode(place, read([place], self.unit)[0], self.unit_size(index), self.unit)

    def _decode_or_zeros(self, index: int) -> Content:
        try:
            return self._decode(index)
        except FormatError as exc:
            return self._zeroed.fill(index * self.unit, self.unit_size(index), exc)

    def info(self) -> Mapping[str, str]:
        found = dict(medium.describe(self._segments, self._media, self._tables))
        found |= facts.read_case(self._segments[0])
        found |= {f"stored {name}": value.hex() for name, value in facts.read_hashes(self._segments).items()}
        found["segments"] = str(len(self._segments))
        if self._missing:
            found["missing"] = ", ".join(self._missing)
        found["complete"] = self._completeness()
        found["chunks"] = f"{self._tables.count} of {self.unit} bytes"
        if errors := facts.read_errors(self._segments):
            found["read errors"] = facts.describe_errors(errors)
        return {**found, **self._zeroed.info()}

    def _completeness(self) -> str:
        if self._missing:
            return "no: segments are missing"
        if self._tables.count < self.units:
            return f"no: {self._tables.count} of {self.units} chunks are there"
        return "yes" if self._segments[-1].last else "no: the last segment is cut"

    def verify(self) -> Iterator[Finding]:
        yield from self._problems
        yield from self._tables.problems()
        if errors := facts.read_errors(self._segments):
            yield Note(f"could not be read when the image was made, zeros: {facts.describe_errors(errors)}")
        for name, stored in facts.read_hashes(self._segments).items():
            yield Seal.of(name, stored, self, facts.HASHES[name])


class LogicalEwfDevice(EwfDevice):
    """What logical evidence keeps of its files, one behind the other.

    The ltree section says which is where.
    """

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
        if self._missing:
            raise MissingPartError(f"ewf: {self._missing[-1]} is missing, and with it the list of files")
        raise FormatError("ewf", "logical evidence without a list of its files")


def open_ewf(file: BlockDevice, context: Context) -> EwfDevice:
    """The disk, or the files, of the set that ``file`` belongs to. Raises ``ImageError``."""
    segments, missing = open_set(file, context)
    return (LogicalEwfDevice if segments[0].logical else EwfDevice)(segments, missing, context)


def open_set(file: BlockDevice, context: Context) -> tuple[list[Segment], list[str]]:
    """The segments of the set that ``file`` is part of, in order, and the names of missing ones."""
    given, own = context.path.name, read_number(file)
    if not segment_name(given, own):
        return [_read_alone(file, given, own)], []
    here = {segment_number(given, name): name for name in context.siblings.names()}
    segments: list[Segment] = []
    missing: list[str] = []
    for number in sorted({own, *here} - {0}):
        before = segments[-1].number if segments else 0
        if number > before + 1:
            missing.append(segment_name(given, before + 1))
            if number > before + 2:
                missing[-1] += f" to {segment_name(given, number - 1)}"
        sibling, name = (
            (file, given) if number == own else (context.siblings.open(here[number]), here[number])
        )
        segments.append(_read(sibling, name, number, segments))
        if segments[-1].last:
            return segments, missing
    if not segments[-1].cut:  # a segment that is cut does not say whether another one follows
        missing.append(f"{segment_name(given, segments[-1].number + 1)} and what follows")
    return segments, missing


def _read_alone(file: BlockDevice, given: str, own: int) -> Segment:
    """A segment whose name is not numbered, so that the others cannot be found: it must be the only one."""
    segment = _read(file, given, own, [])
    if own != 1 or not (segment.last or segment.cut):
        raise MissingPartError(
            f"ewf: segment {own} is one of several, and {given!r} does not say what the others are called"
        )
    return segment


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
            with suppress(FormatError):  # reported where the media are read
                return facts.read_volume(segment, section).set_id.strip(b"\0")
    return segment.set_id.strip(b"\0")


FORMAT: Final = ContainerFormat(
    name="ewf",
    title="Expert Witness image (E01, S01, Ex01, L01, Lx01)",
    extensions=(".e01", ".s01", ".ex01", ".l01", ".lx01"),
    checks="Adler-32 of tables and chunks, MD5 and SHA-1 of the disk",
    open=open_ewf,
    limits="no encryption, no bzip2",
    guest=True,
    options=(ON_ERROR,),
)
