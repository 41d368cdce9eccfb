"""The nodes of an NTFS volume.

Each keeps what a listing tells of its file record; the record is read again for its content.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import TYPE_CHECKING, Final

from imgmount.core.device import BlockDevice
from imgmount.core.node import FILE_MODE, SYMLINK_MODE, Directory, File, Lost, Node, Special, Stat, Symlink
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.windows import attributes, names, reparse
from imgmount.families.windows.times import filetime_ns
from imgmount.filesystems.ntfs import records, wof
from imgmount.filesystems.ntfs.boot import NAME
from imgmount.filesystems.ntfs.facts import SYSTEM, Facts, bare_folder
from imgmount.filesystems.ntfs.mft import FIRST_USER, MAX_RECORDS, ROOT
from imgmount.filesystems.ntfs.records import Record
from imgmount.filesystems.ntfs.streams import Stream
from imgmount.filesystems.ntfs.xattrs import xattrs_of

if TYPE_CHECKING:
    from imgmount.filesystems.ntfs.volume import NtfsVolume

log = logging.getLogger(__name__)

_NAME_TIMES: Final = Struct("<8xQQQQ")  # created, modified, record changed, accessed
MAX_STREAMS: Final = 255  # of one file, that are shown
MAX_POINT: Final = 64 << 10  # bytes of a reparse point; Windows has 16 KiB at most
INTERIX_LINK: Final = b"IntxLNK\1"  # then UTF-16: so ntfs-3g and Interix keep symbolic links
MAX_INTERIX: Final = len(INTERIX_LINK) + 2 * 4096


class NtfsNode(Node):
    """A node is a file record in a folder ``depth`` levels below the root. ``id`` is the record's number."""

    __slots__ = ("_depth", "_facts", "_volume")

    def __init__(self, volume: NtfsVolume, facts: Facts, depth: int) -> None:
        self._volume = volume
        self._facts = facts
        self._depth = depth
        self.id = facts.number

    def stat(self) -> Stat:
        return self._facts.stat

    def xattrs(self) -> Mapping[str, bytes]:
        as_files = self._volume.streams_as_files and self.id != ROOT
        return xattrs_of(self._volume, self._record(), self._facts, streams=not as_files)

    def more_stats(self, name: str) -> Mapping[str, Stat]:
        """The times that are kept with the name, which programs that forge times leave alone."""
        contents = [
            (records.file_name(content), content) for content in records.name_contents(self._record())
        ]
        if not contents:
            return {}
        _, content = min(
            contents, key=lambda found: (names.shown(found[0].name) != name, found[0].space == records.DOS)
        )
        created, modified, changed, accessed = map(filetime_ns, _NAME_TIMES.unpack_from(content))
        stat = self.stat()._replace(size=len(content), mtime_ns=modified, atime_ns=accessed)
        return {"$FILE_NAME": stat._replace(ctime_ns=changed, birth_ns=created)}

    def _record(self) -> Record:
        """The file record, if it is still this file's. Raises ``ImageError``."""
        return self._volume.mft.referred(self._facts.sequence << 48 | self._facts.number)

    def _stream(self, record: Record, kind: int, name: str = "") -> Stream | None:
        """An attribute of the file, put together; None where it has none. Raises ``ImageError``."""
        return self._volume.stream(record, kind, name)

    def _content(self, stream: Stream) -> BlockDevice:
        """What a stream of the file holds. Raises ``ImageError``."""
        return self._volume.content(stream)

    def _point(self) -> reparse.Point:
        """The reparse point. Raises ``ImageError``."""
        stream = self._stream(self._record(), records.REPARSE_POINT)
        if stream is None or stream.size > MAX_POINT:
            raise FormatError(NAME, f"record {self.id}: the reparse point cannot be read")
        return reparse.parse(self._content(stream).pread(0, stream.size), NAME)


class NtfsDirectory(NtfsNode, Directory):
    """A directory; ``parent`` is the number of the one that it was found in."""

    __slots__ = ("_parent", "_system")
    case_sensitive = False

    def __init__(
        self, volume: NtfsVolume, facts: Facts, depth: int, parent: int, *, system: bool = False
    ) -> None:
        super().__init__(volume, facts, depth)
        self._parent = parent
        self._system = system

    def fold(self, name: str) -> str:
        capitals = self._volume.upcase
        return name.translate(capitals) if capitals else super().fold(name)

    def _scan_names(self) -> Iterator[str]:
        if self._volume.streams_as_files or self._volume.shows_system:
            yield from (name for name, _ in self._scan())  # streams are known to records alone
            return
        entries, damage = self._entries()
        yield from (names.shown(name) for _, name in entries)
        if damage is not None:
            raise damage

    def _entries(self) -> tuple[list[tuple[int, str]], ImageError | None]:
        """(reference, name) of each entry; and what is lost, where index and records are damaged."""
        volume = self._volume
        volume.owners.claim(self.id, self._parent)
        shown = 0 if volume.shows_system else FIRST_USER
        found: list[tuple[int, str]] = []
        try:
            found.extend(volume.index(self._record()).names())
            damage = None
        except ImageError as exc:
            from imgmount.filesystems.ntfs.rescue import rescue

            damage = rescue(volume, self.id, found, exc)
        mask = records.RECORD_MASK
        return [entry for entry in found if shown <= entry[0] & mask != self.id], damage

    def _scan(self) -> Iterator[tuple[str, Node]]:
        entries, damage = self._entries()
        mask = records.RECORD_MASK
        known = self._volume.facts_by_number(reference & mask for reference, _ in entries)
        for reference, stored in entries:
            number, name = reference & mask, names.shown(stored)
            facts = known.get(number)
            if facts is None or isinstance(facts, str):
                yield name, self._lost(reference, facts or f"record {number} cannot be read")
            elif reference >> 48 not in (0, facts.sequence):
                yield name, lost(number, f"record {number} was used again for another file than this")
            elif facts.is_directory and facts.parent and facts.parent & mask != self.id:
                yield (
                    name,
                    lost(number, f"folder {number} belongs to {facts.parent & mask}, not to {self.id}"),
                )
            else:
                yield name, self._node(facts)
                if facts.has_streams:
                    yield from self._streams(name, facts)
        if damage is not None:
            raise damage

    def _lost(self, reference: int, reason: str) -> Node:
        """The node for an entry without facts: still a folder where only its record is damaged."""
        number = reference & records.RECORD_MASK
        if number >= MAX_RECORDS:
            return lost(0, reason)
        try:
            self._volume.mft.record(number)
        except ImageError:
            from imgmount.filesystems.ntfs.rescue import folders

            if reference in folders(self._volume, self.id):
                facts = bare_folder(number, reference >> 48)
                return NtfsDirectory(self._volume, facts, self._depth + 1, self.id, system=self._system)
        return lost(number, reason)

    def _streams(self, name: str, facts: Facts) -> Iterator[tuple[str, Node]]:
        """The streams of an entry where they are files."""
        volume, number = self._volume, facts.number
        system = self._system or number < FIRST_USER
        if not (volume.streams_as_files or system):
            return
        try:
            for nth, stream in enumerate(volume.streams(volume.mft.record(number)), 1):
                if nth > MAX_STREAMS:
                    break
                if stream.name != wof.STREAM or system:
                    yield (
                        f"{name}:{stream.name}",
                        NtfsStream(volume, facts, nth, stream),
                    )
        except ImageError as exc:
            log.warning("%s: streams of record %d: %s", NAME, number, exc)

    def _node(self, facts: Facts) -> Node:
        if not (facts.tag or facts.is_directory or facts.attributes & SYSTEM):
            return NtfsFile(self._volume, facts, self._depth)
        return self._unusual(facts)

    def _unusual(self, facts: Facts) -> Node:
        volume, depth, tag = self._volume, self._depth, facts.tag
        if tag in reparse.LINKS:
            return NtfsLink(volume, facts, depth)
        if facts.is_directory:
            system = self._system or facts.number < FIRST_USER
            return NtfsDirectory(volume, facts, depth + 1, self.id, system=system)
        if tag in reparse.SPECIALS:
            return NtfsSpecial(volume, facts, depth)
        if facts.attributes & SYSTEM and len(INTERIX_LINK) < facts.stat.size <= MAX_INTERIX and not tag:
            file = NtfsFile(volume, facts, depth)
            if (target := file.interix()) is not None:
                return NtfsInterixLink(volume, facts, depth, target)
            return file
        return NtfsFile(volume, facts, depth)


class NtfsFile(NtfsNode, File):
    """A regular file."""

    __slots__ = ()

    def open(self) -> BlockDevice:
        volume, facts = self._volume, self._facts
        if facts.attributes & attributes.ENCRYPTED:
            raise UnsupportedError(f"{NAME}: a file encrypted with EFS")
        self._refuse_what_is_elsewhere()
        record = self._record()
        if facts.tag == reparse.WOF:
            method = wof.algorithm(self._point())
            if not facts.stat.size:
                return MemoryDevice(b"")
            if (packed := self._stream(record, records.DATA, wof.STREAM)) is None:
                raise FormatError(NAME, f"record {self.id}: the compressed stream of the file is lost")
            return wof.WofDevice(self._content(packed), facts.stat.size, method, volume.disk.cache)
        if (stream := self._stream(record, records.DATA)) is None:
            raise FormatError(NAME, f"record {self.id} has no data")
        return self._content(stream)

    def _refuse_what_is_elsewhere(self) -> None:
        """Raise ``UnsupportedError`` where the record's own stream is not the file's content."""
        tag, flags = self._facts.tag, self._facts.attributes
        if tag != reparse.WOF and reparse.is_elsewhere(tag, flags):
            raise UnsupportedError(f"{NAME}: {reparse.name(tag)}, whose content is elsewhere")
        if flags & attributes.REPARSE_POINT and not tag:
            raise FormatError(NAME, f"record {self.id}: the reparse point cannot be read")

    def interix(self) -> str | None:
        """The target, if this is a symbolic link of Interix."""
        try:
            content = self.open().pread(0, MAX_INTERIX)
        except ImageError:
            return None
        return names.decode(content[len(INTERIX_LINK) :]) if content.startswith(INTERIX_LINK) else None


class NtfsStream(NtfsNode, File):
    """An alternate data stream as a file of its own. ``id`` has the stream's number above the record's."""

    __slots__ = ("_name", "_size")

    def __init__(self, volume: NtfsVolume, facts: Facts, nth: int, stream: Stream) -> None:
        super().__init__(volume, facts, 0)
        self.id = nth * MAX_RECORDS + facts.number
        self._name = stream.name
        self._size = stream.size

    def stat(self) -> Stat:
        return self._facts.stat._replace(mode=FILE_MODE, size=self._size, allocated=None)

    def xattrs(self) -> Mapping[str, bytes]:
        return {}

    def open(self) -> BlockDevice:
        if self._facts.attributes & attributes.ENCRYPTED:
            raise UnsupportedError(f"{NAME}: a file encrypted with EFS")
        stream = self._volume.stream(self._record(), records.DATA, self._name)
        if stream is None:
            raise FormatError(NAME, f"record {self._facts.number} has no stream {self._name!r}")
        return self._content(stream)


class NtfsLink(NtfsNode, Symlink):
    """A symbolic link or a junction."""

    __slots__ = ()

    def stat(self) -> Stat:
        return self._facts.stat._replace(mode=SYMLINK_MODE, size=0, allocated=None)

    def readlink(self) -> str:
        return reparse.posix_target(self._point(), self._depth, self._volume.exists, NAME)


class NtfsInterixLink(NtfsNode, Symlink):
    """A symbolic link that POSIX programs left: of ntfs-3g, Interix, old Cygwin."""

    __slots__ = ("_target",)

    def __init__(self, volume: NtfsVolume, facts: Facts, depth: int, target: str) -> None:
        super().__init__(volume, facts, depth)
        self._target = target

    def stat(self) -> Stat:
        return self._facts.stat._replace(mode=SYMLINK_MODE, size=0, allocated=None)

    def readlink(self) -> str:
        up = "../" * self._depth if self._target.startswith("/") else ""
        return reparse.kept_in(up + names.shown_path(self._target.lstrip("/")), self._depth)


class NtfsSpecial(NtfsNode, Special):
    """A socket, FIFO or device node of the Windows Subsystem for Linux."""

    __slots__ = ()

    def stat(self) -> Stat:
        stat = self._facts.stat
        return stat._replace(
            mode=reparse.SPECIALS[self._facts.tag] | stat.mode & 0o7777, size=0, allocated=None
        )


def lost(number: int, reason: str) -> Lost:
    """A name whose record is damaged, or has been used for another file since."""
    return Lost(number, FormatError(NAME, reason))
