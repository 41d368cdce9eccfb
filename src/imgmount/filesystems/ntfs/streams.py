"""Attributes put together, also from several records, and streams as devices.

Source: "$ATTRIBUTE_LIST" and "Compressed Runs" in the documentation of the Linux-NTFS project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.boot import NAME
from imgmount.filesystems.ntfs.compressed import CompressedDevice
from imgmount.filesystems.ntfs.records import Attribute, Listed, Record
from imgmount.filesystems.ntfs.runs import LOST, Disk, Runs, add_pairs, run_device, valid_until

MAX_LIST: Final = 1 << 20  # bytes of an attribute list; Windows keeps to 256 KiB
MAX_LOST: Final = 1024  # pieces of one file that may be missing
MAX_SIZE: Final = 1 << 63
MAX_UNIT: Final = 1 << 20  # bytes of a compression unit; Windows has 64 KiB at most

ReadRecord = Callable[[int], Record]  # of a reference


class Part(NamedTuple):
    """One attribute, or the piece of one from a cluster on; ``attribute`` is None where it is lost."""

    type: int
    name: str
    first_cluster: int
    attribute: Attribute | None


class Stream(NamedTuple):
    """An attribute put together. ``content`` is what a resident one holds."""

    name: str
    flags: int
    size: int
    valid: int
    unit: int  # clusters in a compression unit, 0 for none
    content: bytes | None
    parts: Sequence[Part]

    @property
    def is_encrypted(self) -> bool:
        return bool(self.flags & records.ENCRYPTED)

    @property
    def is_sparse(self) -> bool:
        """Whether it may take up less than its size."""
        return bool(self.flags & (records.SPARSE | records.COMPRESSED))


def parts_of(record: Record, disk: Disk, read: ReadRecord, kind: int | None = None) -> Iterator[Part]:
    """The attributes of a file, of one type or of all.

    ``read`` gives its other records. Raises ``FormatError``.
    """
    own = list(records.attributes(record))
    content = next((attribute for attribute in own if attribute.type == records.ATTRIBUTE_LIST), None)
    if content is None:
        yield from (
            Part(found.type, found.name, found.first_cluster, found)
            for found in own
            if kind in (None, found.type)
        )
        return
    known: dict[int, list[Attribute]] = {record.number: own}
    lost = 0
    for entry in records.listed(_list_content(content, disk)):
        if kind in (None, entry.type):
            found = _find(entry, record, known, read)
            lost += found is None
            if lost > MAX_LOST:
                raise FormatError(
                    NAME, f"record {record.number}: more than {MAX_LOST} records of the file are lost"
                )
            yield Part(entry.type, entry.name, entry.first_cluster, found)


def _list_content(found: Attribute, disk: Disk) -> bytes:
    part = Part(found.type, found.name, 0, found)
    stream = assemble([part])
    if stream.size > MAX_LIST:
        raise FormatError(NAME, f"an attribute list of {stream.size} bytes, {MAX_LIST} at most are read")
    return stream_device(stream, disk).pread(0, stream.size)


def _find(
    entry: Listed, base: Record, known: dict[int, list[Attribute]], read: ReadRecord
) -> Attribute | None:
    """The attribute that an entry of an attribute list means, if it is there. Records are read once."""
    number = entry.reference & records.RECORD_MASK
    if number not in known:
        try:
            other = read(entry.reference)
            of_this = other.base & records.RECORD_MASK == base.number
            known[number] = list(records.attributes(other)) if of_this else []
        except ImageError:
            known[number] = []
    for attribute in known[number]:
        if (
            attribute.type == entry.type
            and attribute.instance == entry.instance
            and attribute.name == entry.name
        ):
            return attribute
    return None


def assemble(parts: Sequence[Part]) -> Stream:
    """One attribute of its parts. Raises ``FormatError`` where the first of them is missing or damaged."""
    ordered = sorted(parts, key=lambda part: part.first_cluster)
    first = ordered[0].attribute
    if first is None or ordered[0].first_cluster:
        raise FormatError(NAME, f"the record with the beginning of attribute {ordered[0].type:#x} is lost")
    if first.resident:
        content = first.content
        return Stream(first.name, first.flags, len(content), len(content), 0, content, ordered)
    _, _, _, exponent, _, size, valid = records.NON_RESIDENT.unpack_from(first.data, first.at)
    if not 0 <= size < MAX_SIZE or exponent > 16:
        raise FormatError(
            NAME, f"attribute {first.type:#x} has {size} bytes in units of 2**{exponent} clusters"
        )
    unit = 1 << exponent if exponent else 0
    return Stream(first.name, first.flags, size, min(max(valid, 0), size), unit, None, ordered)


def runs_of(stream: Stream) -> Runs:
    """The clusters of a stream.

    What a missing part held is ``LOST``. Raises ``FormatError`` where they are damaged.
    """
    runs = Runs()
    for _, _, first_cluster, attribute in stream.parts:
        if first_cluster < runs.end:
            raise FormatError(NAME, f"parts of a stream overlap at cluster {first_cluster}")
        if first_cluster > runs.end:
            runs.add(first_cluster - runs.end, LOST)
        if attribute is None:
            continue
        start, last, *_ = records.NON_RESIDENT.unpack_from(attribute.data, attribute.at)
        if attribute.resident or start != first_cluster:
            reason = f"a part of a stream begins at cluster {start}, its attribute list says {first_cluster}"
            raise FormatError(NAME, reason)
        add_pairs(runs, attribute.pairs)
        if last > 0 and runs.end > last + 1:
            raise FormatError(
                NAME, f"runs of a stream up to cluster {runs.end}, which say that {last} is the last"
            )
    return runs


def stream_device(stream: Stream, disk: Disk) -> BlockDevice:
    """The content of a stream, ``stream.size`` bytes. Raises ``ImageError``."""
    if stream.is_encrypted:
        raise UnsupportedError(f"{NAME}: a file encrypted with EFS")
    if stream.content is not None:
        return MemoryDevice(stream.content)
    cluster = disk.cluster_size
    method = stream.flags & records.COMPRESSED
    if not method:
        return valid_until(
            run_device(disk.device, runs_of(stream), cluster, stream.size), stream.valid, stream.size
        )
    if method != records.LZNT1:
        raise UnsupportedError(f"{NAME}: compression method {method}, only LZNT1 (1) is read")
    if not stream.unit or stream.unit * cluster > MAX_UNIT:
        raise FormatError(
            NAME, f"a compression unit of {stream.unit} clusters of {cluster} bytes, 64 KiB is right"
        )
    content = CompressedDevice(disk, runs_of(stream), stream.unit, stream.size)
    return valid_until(content, stream.valid, stream.size)
