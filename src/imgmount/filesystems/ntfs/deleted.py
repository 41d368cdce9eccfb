"""Deleted files: records that are no longer in use still hold the name, the folder and the runs.

Certain is that this was such a file's record, with its name, times and runs. A cluster that is in use by now
fails to be read. A folder's record that is used for something else leaves "(lost folder N)" in the path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.core.deleted import FreeSpace
from imgmount.core.device import BlockDevice
from imgmount.core.node import Directory, Lost, Node
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.boot import NAME
from imgmount.filesystems.ntfs.facts import Facts, facts_of
from imgmount.filesystems.ntfs.mft import ROOT
from imgmount.filesystems.ntfs.nodes import NtfsFile, NtfsNode
from imgmount.filesystems.ntfs.records import FileName, Record, parse_record
from imgmount.filesystems.ntfs.streams import Stream, assemble, parts_of, stream_device

if TYPE_CHECKING:
    from imgmount.filesystems.ntfs.volume import NtfsVolume

MAX_DEPTH: Final = 128  # folders in a path; a loop ends there
_SEQUENCES: Final = 0xFFFF  # then 1 follows


def deleted(volume: NtfsVolume) -> Iterator[tuple[str, Node]]:
    """(path as far as it is known, node) of each deleted file or folder whose record was not used again."""
    finder = _Finder(volume)
    for number, raw in volume.mft.scan():
        if raw[:4] != b"FILE" or raw[22] & records.IN_USE:
            continue
        try:
            record = parse_record(raw, number)
            name = None if record.base else _name(record)
        except ImageError:
            continue  # what is damaged is not deleted
        if name is not None:
            yield (
                finder.folder(name.parent) + name.name.replace("/", "\N{DIVISION SLASH}"),
                finder.node(record),
            )


def _name(record: Record) -> FileName | None:
    """The name of a record, rather not the short one of DOS. Raises ``FormatError``."""
    return min(records.file_names(record), key=lambda name: name.space == records.DOS, default=None)


def _was(record: Record, reference: int) -> bool:
    """Whether a free record is what ``reference`` meant: deleting counts its sequence number up."""
    before = record.sequence - 1 or _SEQUENCES
    return not record.in_use and reference >> 48 in (0, before, record.sequence)


class _Finder:
    """Tells what is left of a record, and of the folders above it."""

    def __init__(self, volume: NtfsVolume) -> None:
        self.volume = volume

        def first_used(first: int, count: int) -> int | None:
            return volume.clusters.first_used(first, count)  # where it is damaged, that is told by reading

        size = volume.boot.cluster_size
        clusters = FreeSpace(volume.device, NAME, "cluster", size, first_used=first_used)
        self.disk = volume.disk._replace(device=clusters)
        self._folders: dict[int, str] = {}

    def read(self, reference: int) -> Record:
        """Another record of a deleted file. Raises ``FormatError`` where it has been used again."""
        record = self.volume.mft.record(reference & records.RECORD_MASK)
        if not _was(record, reference):
            raise FormatError(NAME, f"record {record.number} of a deleted file has been used again")
        return record

    def folder(self, reference: int) -> str:
        """The path of a folder, deleted or not, with a slash behind it."""
        chain: list[tuple[int, str]] = []
        path = ""
        while reference & records.RECORD_MASK != ROOT and len(chain) < MAX_DEPTH:
            if reference in self._folders:
                path = self._folders[reference]
                break
            name = self._folder_name(reference)
            if name is None:
                path = f"(lost folder {reference & records.RECORD_MASK})/"
                break
            chain.append((reference, name.name.replace("/", "\N{DIVISION SLASH}")))
            reference = name.parent
        for known, name_here in reversed(chain):
            path += name_here + "/"
            self._folders[known] = path
        return path

    def _folder_name(self, reference: int) -> FileName | None:
        try:
            record = self.volume.mft.record(reference & records.RECORD_MASK)
            here = record.in_use and record.sequence == reference >> 48
            return (
                _name(record)
                if record.flags & records.DIRECTORY and (here or _was(record, reference))
                else None
            )
        except ImageError:
            return None

    def node(self, record: Record) -> Node:
        """What a record was, or why that is lost."""
        try:
            facts = facts_of(record, self.disk, self.read)
            return NtfsDeletedFolder(self, facts) if facts.is_directory else NtfsDeleted(self, facts)
        except FormatError as exc:
            return Lost(record.number, exc)


class _Deleted(NtfsNode):
    """What is deleted: its records are those that are free."""

    __slots__ = ("_finder",)

    def __init__(self, finder: _Finder, facts: Facts) -> None:
        super().__init__(finder.volume, facts, 0)
        self._finder = finder

    def _record(self) -> Record:
        return self._finder.read(self._facts.sequence << 48 | self._facts.number)

    def _stream(self, record: Record, kind: int, name: str = "") -> Stream | None:
        found = parts_of(record, self._finder.disk, self._finder.read, kind)
        parts = [part for part in found if part.name == name]
        return assemble(parts) if parts else None

    def _content(self, stream: Stream) -> BlockDevice:
        return stream_device(stream, self._finder.disk)


class NtfsDeleted(_Deleted, NtfsFile):
    """A deleted file: what is in a cluster that is in use cannot be read."""

    __slots__ = ()


class NtfsDeletedFolder(_Deleted, Directory):
    """A deleted folder. What it held is found by its path."""

    __slots__ = ()

    def _scan(self) -> Iterator[tuple[str, Node]]:
        return iter(())
