"""All records of a volume, looked at once for ``verify``: which are in use, their names and clusters."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.core.bitmap import Bitmap, lowest
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.bits import PAGE, Tally
from imgmount.filesystems.ntfs.boot import NAME
from imgmount.filesystems.ntfs.mft import FIRST_USER, MFT
from imgmount.filesystems.ntfs.records import Attribute, Record, parse_record
from imgmount.filesystems.ntfs.runs import Runs, add_pairs

if TYPE_CHECKING:
    from imgmount.filesystems.ntfs.volume import NtfsVolume

UNUSED: Final = 0  # instead of a sequence number
_RECORDS_STEP: Final = 1 << 15


class Census:
    """``folders`` are the numbers of all folders, once ``records`` has been through."""

    def __init__(self, volume: NtfsVolume) -> None:
        self._volume = volume
        self.folders = array("Q")
        self._sequences = array("H")  # by record
        self._links: dict[int, int] = {}  # what records say, less the names found: those that differ
        self._names: dict[int, tuple[int, int]] = {}  # by folder: how many, and a checksum of them
        self._used = Tally()
        self._count = volume.cluster_count
        self._left = 2 * self._count  # more are shared, and need not be counted

    def wrong(self, reference: int) -> str | None:
        """Why ``reference`` is to no file that is there, if so."""
        number, sequence = reference & records.RECORD_MASK, reference >> 48
        found = self._sequences[number] if number < len(self._sequences) else UNUSED
        if found == UNUSED:
            return f"record {number} is not in use"
        return (
            None
            if sequence in (0, found)
            else f"record {number} has the sequence number {found}, not {sequence}"
        )

    def named(self, folder: int) -> tuple[int, int]:
        """(how many names records say are in a folder, a checksum of them)."""
        return self._names.get(folder, (0, 0))

    def records(self) -> Iterator[str]:
        """Problems of single records."""
        extensions: list[tuple[int, int]] = []
        for number, raw in self._volume.mft.scan():
            self._sequences.extend([UNUSED] * (number - len(self._sequences)))
            used = raw[:4] == b"FILE" and raw[22] & records.IN_USE
            self._sequences.append(int.from_bytes(raw[16:18], "little") if used else UNUSED)
            try:
                if used:
                    record = parse_record(raw, number)
                    yield from self._record(record)
                    if record.base:
                        extensions.append((number, record.base))
                elif raw[:4] == b"BAAD":
                    yield f"record {number} was found damaged by Windows"
            except ImageError as exc:
                yield str(exc)
        for number, base in extensions:
            if (reason := self.wrong(base)) is not None:
                yield f"record {number} is a part of another file: {reason}"
        for number, links in self._links.items():
            if links:
                more = "more" if links > 0 else "less"
                yield f"record {number} says that it has {abs(links)} names {more} than it has"
        yield from self._bitmap()

    def _record(self, record: Record) -> Iterator[str]:
        """One that is in use."""
        if record.flags & records.DIRECTORY and not record.base:
            self.folders.append(record.number)
        base = record.base & records.RECORD_MASK if record.base else record.number
        links = 0 if record.base else record.links
        for attribute in records.attributes(record):
            if attribute.type == records.NAME_ATTRIBUTE and attribute.resident:
                links -= 1
                name = records.file_name(attribute.content)
                folder = name.parent & records.RECORD_MASK
                count, total = self._names.get(folder, (0, 0))
                self._names[folder] = count + 1, total ^ hash((base, name.name, name.space))
            elif not attribute.resident:
                yield from self._runs(record, attribute)
        if links or base in self._links:
            self._links[base] = self._links.get(base, 0) + links

    def _runs(self, record: Record, attribute: Attribute) -> Iterator[str]:
        start, last, _, _, allocated, size, valid = records.NON_RESIDENT.unpack_from(
            attribute.data, attribute.at
        )
        runs = Runs()
        add_pairs(runs, attribute.pairs)
        about = f"record {record.number}, attribute {attribute.type:#x}"
        if runs.end != last + 1 - start:
            yield f"{about}: runs of {runs.end} clusters, {last + 1 - start} are said to be there"
        if start == 0 and not 0 <= valid <= size <= allocated:
            yield f"{about}: {valid} of {size} bytes are valid, {allocated} allocated"
        for count, place in runs:
            if place < 0:
                continue
            if place + count > self._count:
                yield f"{about}: clusters {place} to {place + count}, there are {self._count}"
                continue
            self._left -= count
            if self._left >= 0 and self._used.add(place, count):
                yield f"{about}: clusters between {place} and {place + count} are in use twice"

    def _bitmap(self) -> Iterator[str]:
        """The bitmap of records against what they say."""
        try:
            found = self._volume.stream(self._volume.mft.own, records.BITMAP)
            if found is None:
                raise FormatError(NAME, "$MFT has no bitmap")
            bitmap = Bitmap(self._volume.content(found), self._volume.mft.count, NAME, "records")
            for first in range(0, len(self._sequences), _RECORDS_STEP):
                part = self._sequences[first : first + _RECORDS_STEP]
                marked = bitmap.part(first, len(part))
                for number, sequence in enumerate(part, first):
                    if bool(sequence) != bool(marked >> number - first & 1) and number >= FIRST_USER + 8:
                        used = "in use" if sequence else "not in use"
                        yield f"record {number} is {used}, the bitmap of records says otherwise"
        except ImageError as exc:
            yield f"record {MFT}: {exc}"

    def clusters(self) -> Iterator[str]:
        """The bitmap of clusters against the runs of all files."""
        if self._left < 0:
            yield "files have more clusters than there are"
            return
        lost, free = _Strays(), _Strays()
        try:
            bitmap = self._volume.clusters
            for page in range(-(-self._count // PAGE)):
                first = page * PAGE
                marked, used = bitmap.part(first, min(PAGE, self._count - first)), self._used.page(page)
                if marked != used:
                    lost.add(marked & ~used, first)
                    free.add(used & ~marked, first)
        except ImageError as exc:
            yield f"$Bitmap: {exc}"
        if lost.count:
            yield f"{lost.count} clusters are marked as in use by no file, the first is {lost.first}"
        if free.count:
            yield f"{free.count} clusters of files are marked as free, the first is {free.first}"


class _Strays:
    """Clusters that are not marked as they should be."""

    def __init__(self) -> None:
        self.count = 0
        self.first = -1

    def add(self, bits: int, base: int) -> None:
        """Count the bits that are set; the lowest is cluster ``base``."""
        if bits and not self.count:
            self.first = base + lowest(bits)
        self.count += bits.bit_count()
