"""The master file table: its records one by one, by the batch, or from end to end.

Source: "$MFT" in the documentation of the Linux-NTFS project.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.holes import stretches
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.boot import NAME, Boot
from imgmount.filesystems.ntfs.records import Record, parse_record
from imgmount.filesystems.ntfs.runs import LOST, Disk, Runs, add_pairs, run_device
from imgmount.filesystems.ntfs.streams import Part, Stream, assemble, parts_of

log = logging.getLogger(__name__)

MFT, MIRROR, LOG_FILE, VOLUME, ATTRIBUTES, ROOT, CLUSTERS, BOOT, BAD, SECURE, UPCASE, EXTEND = range(12)
FIRST_USER: Final = 16  # records below belong to the system
MAX_RECORDS: Final = 1 << 40  # above them the id of a node counts streams
BATCH: Final = 256 << 10  # bytes of records read at once
GAP: Final = 16 << 10  # bytes between two wanted records that are read along


class Mft:
    """The table.

    ``damage`` is why its first record was taken from the mirror, or why some of the table is not known.
    """

    def __init__(self, disk: Disk, boot: Boot) -> None:
        self._disk = disk
        self.record_size = boot.record_size
        self.damage = ""
        self.own = self._first(disk.device, boot)
        self.stream, runs = self._extend(self.own, disk, boot)
        self.device = run_device(disk.device, runs, disk.cluster_size, self.stream.size)
        self.count = min(self.stream.size // self.record_size, MAX_RECORDS)

    def _first(self, device: BlockDevice, boot: Boot) -> Record:
        """Record 0, or its copy in the mirror. Raises ``FormatError``."""
        try:
            return self._table(device, boot.mft)
        except FormatError as exc:
            self.damage = f"{exc.reason}: its copy in $MFTMirr is used"
            try:
                found = self._table(device, boot.mirror)
            except FormatError:
                raise FormatError(
                    NAME, f"$MFT: {exc.reason}; nor is its copy sound", offset=boot.mft
                ) from None
            log.warning("%s: $MFT: %s", NAME, self.damage)
            return found

    def _table(self, device: BlockDevice, offset: int) -> Record:
        record = parse_record(device.read_exactly(offset, self.record_size, NAME), 0)
        if not record.in_use or not any(found.type == records.DATA for found in records.attributes(record)):
            raise FormatError(NAME, "record 0 has no data", offset=offset)
        return record

    def _extend(self, own: Record, disk: Disk, boot: Boot) -> tuple[Stream, Runs]:
        """The table's stream, where each record that tells more of it is found with what is known by then."""
        base = [found for found in records.attributes(own) if found.type == records.DATA and not found.name]
        if not base or base[0].resident:
            raise FormatError(NAME, "$MFT has no runs", offset=boot.mft)
        stream = assemble([Part(records.DATA, "", base[0].first_cluster, base[0])])
        runs = _runs(Runs(), stream.parts[0])

        def read(reference: int) -> Record:
            known = run_device(disk.device, runs, disk.cluster_size, runs.end * disk.cluster_size)
            number = reference & records.RECORD_MASK
            return parse_record(known.read_exactly(number * self.record_size, self.record_size, NAME), number)

        parts = [stream.parts[0]]
        try:
            for part in parts_of(own, disk, read, records.DATA):
                if part.name or part.first_cluster == 0:
                    continue
                parts.append(part)
                runs = _runs(runs, part)
        except FormatError as exc:
            self.damage = self.damage or f"{exc.reason}: the rest of $MFT is lost"
            log.warning("%s: $MFT: %s", NAME, self.damage)
        return stream._replace(parts=parts), runs

    def _offset(self, number: int) -> int:
        if not 0 <= number < self.count:
            raise FormatError(NAME, f"record {number} of a table of {self.count}")
        return number * self.record_size

    def raw(self, number: int) -> bytes:
        """The bytes of a record. Raises ``ImageError``."""
        return self.device.read_exactly(self._offset(number), self.record_size, NAME)

    def record(self, number: int) -> Record:
        """A record, in use or not. Raises ``ImageError``."""
        return parse_record(self.raw(number), number)

    def referred(self, reference: int) -> Record:
        """The record that is meant, unless it has been used for another file since. Raises ``ImageError``."""
        record = self.record(reference & records.RECORD_MASK)
        check_reference(record, reference)
        return record

    def batch(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """(number, bytes) of the records of the numbers, rising. Those that cannot be read are left out."""
        for found, data in self.spans(numbers):
            yield from self._cut(found, data)

    def spans(self, numbers: Iterable[int]) -> Iterator[tuple[Sequence[int], bytes]]:
        """The same by the span that is read at once: (numbers, bytes from the first of them on)."""
        gap, most = GAP // self.record_size, BATCH // self.record_size
        wanted = sorted({number for number in numbers if number < self.count})
        first = 0
        while first < len(wanted):
            stop = bisect_left(wanted, wanted[first] + most, first)
            if wanted[stop - 1] - wanted[first] >= stop - 1 - first + gap:  # else there is no such gap
                apart = (at for at in range(first + 1, stop) if wanted[at] - wanted[at - 1] > gap)
                stop = next(apart, stop)
            yield from self._span(wanted[first:stop])
            first = stop

    def _span(self, numbers: Sequence[int]) -> Iterator[tuple[Sequence[int], bytes]]:
        """(numbers, bytes) of records that are read at once, or one by one where some cannot be read."""
        size, first = self.record_size, numbers[0]
        try:
            data = self.device.read_exactly(first * size, (numbers[-1] + 1 - first) * size, NAME)
        except ImageError:
            for number in numbers if len(numbers) > 1 else ():
                yield from self._span([number])
        else:
            yield numbers, data

    def _cut(self, numbers: Sequence[int], data: bytes) -> Iterator[tuple[int, bytes]]:
        """(number, bytes) of the records of a span."""
        size, first = self.record_size, numbers[0]
        for number in numbers:
            yield number, data[(number - first) * size : (number - first + 1) * size]

    def scan(self) -> Iterator[tuple[int, bytes]]:
        """(number, bytes) of every record that holds something, rising.

        What cannot be read or is a hole is passed over.
        """
        size = self.record_size
        step = BATCH // size * size
        left = self._disk.device.size  # more can only be the same clusters again
        for offset, length in stretches(self.device, step):
            left -= length
            if left < 0:
                log.warning(
                    "%s: $MFT is larger than the volume: records from byte %#x of it on are left out",
                    NAME,
                    offset,
                )
                return
            first, last = offset // size, min(self.count, -(-(offset + length) // size))
            for numbers, data in self._span(range(first, last)) if first < last else ():
                for number, raw in self._cut(numbers, data):
                    if raw[:4] != bytes(4):
                        yield number, raw


def check_reference(record: Record, reference: int) -> None:
    """Raise ``FormatError`` unless ``record`` is in use for the file that ``reference`` means."""
    wanted = reference >> 48
    if not record.in_use:
        raise FormatError(NAME, f"record {record.number} is not in use")
    if wanted and wanted != record.sequence:
        raise FormatError(
            NAME,
            f"record {record.number} was used again: its sequence number is {record.sequence}, not {wanted}",
        )


def _runs(runs: Runs, part: Part) -> Runs:
    """``runs`` and what ``part`` adds to them. A part that is missing leaves a gap that cannot be read."""
    if part.attribute is None or part.attribute.resident or part.first_cluster < runs.end:
        return runs
    if part.first_cluster > runs.end:
        runs.add(part.first_cluster - runs.end, LOST)
    add_pairs(runs, part.attribute.pairs)
    return runs
