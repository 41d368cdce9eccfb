"""The tree of an NTFS volume.

A node knows the number of its file record; the library's objects live as long as one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.device_file import DeviceFile
from imgmount.core.format import Context
from imgmount.core.node import (
    DIRECTORY_MODE,
    FILE_MODE,
    SYMLINK_MODE,
    Directory,
    File,
    Filesystem,
    Node,
    Special,
    Stat,
    Symlink,
)
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.windows.options import STREAMS, SYSTEM
from imgmount.families.windows.times import filetime_ns
from imgmount.filesystems.library import (
    MAX_RUNS,
    MAX_XATTR,
    MAX_XATTR_NAME,
    Library,
    LibraryDevice,
    Run,
    holed,
    mapped,
)
from imgmount.filesystems.ntfs import records

MFT: Final = 0
VOLUME: Final = 3
ROOT: Final = 5
FIRST_USER: Final = 16  # file records below belong to the system
MAX_RECORD: Final = 1 << 40  # numbers; above them the id of a node counts streams
MAX_STREAMS: Final = 255
MAX_XATTRS: Final = 1 << 20  # bytes of all streams that are shown as attributes of one file
MAX_EXTENSIONS: Final = 64  # records looked at for one attribute
COUNTED_RUNS: Final = 4096  # for stat; a file in more pieces does not tell how much of it is allocated

HIDDEN_ATTRIBUTES: Final = 0xF000_0000  # the library's own, about the indexes that a record holds
OFFLINE: Final = 0x1000
REPARSE: Final = 0x400
SPARSE: Final = 0x200
COMPRESSED: Final = 0x800
ENCRYPTED: Final = 0x4000
RECALL: Final = 0x40_0000
RUN_SPARSE: Final = 1  # flag of a library's extent
WOF_STREAM: Final = "WofCompressedData"


class Facts(NamedTuple):
    """What a directory's scan learns of an entry."""

    number: int
    attributes: int
    stat: Stat


class NtfsVolume(Filesystem):
    """A volume and the library's handle on it."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        self.cache = context.cache
        self.library = Library("ntfs", "pyfsntfs")
        extra = context.options.extra
        self._system = SYSTEM.of(extra) == "show"
        self.streams_as_files = STREAMS.of(extra) == "files"
        self._file = DeviceFile(device)
        self._volume = self.library.module.volume()
        with self.library.call("the volume"):
            self._volume.open_file_object(self._file)
            self.label = self._volume.get_name() or ""
            self.uuid = f"{self._volume.get_serial_number():016X}"
            self._record_size: int = self._volume.mft_entry_size
            mft = self._volume.get_file_entry(MFT)
            self._mft = mapped(device, list(_runs(mft)), mft.size)

    @property
    def root(self) -> Directory:
        with self.library.call("the root directory"):
            facts, _ = _facts(self._volume.get_file_entry(ROOT), self.links(ROOT))
        return NtfsDirectory(self, facts, 0)

    def info(self) -> Mapping[str, str]:
        with self.library.call("the volume"):
            facts = {
                "serial": self.uuid,
                "cluster size": str(self._volume.cluster_block_size),
                "sector size": str(self._volume.bytes_per_sector),
                "record size": str(self._record_size),
            }
        try:
            facts["state"] = (
                "not unmounted: what was written last may be missing" if self._is_dirty() else "clean"
            )
        except ImageError as exc:
            facts["state"] = str(exc)
        return facts

    def verify(self) -> Iterator[str]:
        try:
            if self._is_dirty():
                yield "the volume was not unmounted properly"
        except ImageError as exc:
            yield str(exc)

    def _is_dirty(self) -> bool:
        """What the volume says of itself. Raises ``FormatError``."""
        found = self.attribute(VOLUME, records.VOLUME_INFORMATION)
        if found is None or found.content is None or len(found.content) < records.VOLUME_FLAGS + 2:
            raise FormatError("ntfs", "the volume does not tell its state")
        return bool(found.content[records.VOLUME_FLAGS] & records.DIRTY)

    def entry(self, number: int) -> Any:
        """The library's object for a file record. The lock must be held."""
        return self._volume.get_file_entry(number)

    def exists(self, path: str) -> bool:
        """Whether there is something at a path that begins with a backslash."""
        with self.library.call(path):
            return self._volume.get_file_entry_by_path(path) is not None

    def links(self, number: int) -> int:
        """How many names a file record says that it has, as ntfs-3g shows it: DOS names count."""
        raw = self._mft.pread(number * self._record_size + records.LINKS, 2)
        return max(1, int.from_bytes(raw, "little"))

    def attribute(self, number: int, kind: int) -> records.Attribute | None:
        """The first unnamed attribute of a type in a file record or in those that its attribute list names, if it is found."""
        later: list[int] = []
        for attribute in records.attributes(self._record(number)):
            if attribute.type == kind and not attribute.name:
                return attribute
            if attribute.type == records.ATTRIBUTE_LIST:
                later = sorted(set(records.listed(attribute.content or b"", kind)) - {number})
        for other in later[:MAX_EXTENSIONS]:
            for attribute in records.attributes(self._record(other)):
                if attribute.type == kind and not attribute.name:
                    return attribute
        return None

    def _record(self, number: int) -> bytes:
        return self._mft.read_exactly(number * self._record_size, self._record_size, "ntfs")

    def reparse(self, number: int) -> records.Reparse | None:
        """The reparse point of a file, if it can be found. Raises ``ImageError``."""
        found = self.attribute(number, records.REPARSE_POINT)
        return records.reparse(found.content) if found and found.content is not None else None

    def node(self, facts: Facts, depth: int, *, directory: bool) -> Node:
        """The node for an entry of a directory ``depth`` levels below the root."""
        point = None
        if facts.attributes & REPARSE:
            try:
                point = self.reparse(facts.number)
            except ImageError:
                return NtfsFile(self, facts, records.Reparse(0, b""))
        if point is not None and point.tag in (records.SYMLINK, records.MOUNT_POINT, records.LX_SYMLINK):
            return NtfsLink(self, facts, depth, point)
        if directory:
            return NtfsDirectory(self, facts, depth + 1)
        if point is not None and point.tag in records.SPECIALS:
            return NtfsSpecial(self, facts, point.tag)
        return NtfsFile(self, facts, point)

    def shown(self, number: int) -> bool:
        """Whether a file record is not one of the system's own, or those are asked for."""
        return self._system or number >= FIRST_USER


def _runs(entry: Any) -> Iterator[Run]:
    """The runs of the unnamed stream of the library's ``entry``. The lock must be held."""
    for number in range(entry.number_of_extents):
        offset, size, flags = entry.get_extent(number)
        yield Run(size, None if flags & RUN_SPARSE else offset)


def _facts(entry: Any, links: int) -> tuple[Facts, bool]:
    """(facts, whether it is a directory) of the library's ``entry``. The lock must be held."""
    directory = bool(entry.has_directory_entries_index())
    attributes = entry.get_file_attribute_flags() or 0
    size = 0 if directory or not entry.has_default_data_stream() else entry.size
    allocated = None
    if attributes & (SPARSE | COMPRESSED) and size and entry.number_of_extents <= COUNTED_RUNS:
        allocated = sum(run.length for run in _runs(entry) if run.offset is not None)
    stat = Stat(
        DIRECTORY_MODE if directory else FILE_MODE,
        size,
        filetime_ns(entry.get_modification_time_as_integer() or 0),
        filetime_ns(entry.get_access_time_as_integer() or 0),
        filetime_ns(entry.get_entry_modification_time_as_integer() or 0),
        nlink=1 if directory else links,
        allocated=allocated,
    )
    return Facts(
        entry.get_file_reference() & records.RECORD_MASK, attributes & ~HIDDEN_ATTRIBUTES, stat
    ), directory


class _NtfsNode(Node):
    """A node is a file record. ``id`` is its number."""

    __slots__ = ("_facts", "_volume")

    def __init__(self, volume: NtfsVolume, facts: Facts) -> None:
        self._volume = volume
        self._facts = facts
        self.id = facts.number

    def stat(self) -> Stat:
        return self._facts.stat

    def xattrs(self) -> Mapping[str, bytes]:
        volume, found = self._volume, {"user.ntfs.attributes": b"%#010x" % self._facts.attributes}
        left = 0 if volume.streams_as_files and self.id != ROOT else MAX_XATTRS
        with volume.library.call(f"record {self.id}"):
            for stream in _streams(volume.entry(self.id)):
                name, size = f"user.ads.{stream.name}", stream.size
                if size <= min(left, MAX_XATTR) and len(name.encode("utf-8", "replace")) <= MAX_XATTR_NAME:
                    found[name] = stream.read_buffer_at_offset(size, 0) if size else b""
                    left -= size
        return found


def _streams(entry: Any) -> Iterator[Any]:
    """The library's objects for the alternate data streams of ``entry``. The lock must be held."""
    for number in range(min(entry.number_of_alternate_data_streams, MAX_STREAMS)):
        stream = entry.get_alternate_data_stream(number)
        if stream.name != WOF_STREAM:
            yield stream


class NtfsDirectory(_NtfsNode, Directory):
    """A directory ``depth`` levels below the root."""

    __slots__ = ("_depth",)
    case_sensitive = False

    def __init__(self, volume: NtfsVolume, facts: Facts, depth: int) -> None:
        super().__init__(volume, facts)
        self._depth = depth

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume = self._volume
        damage: ImageError | None = None
        with volume.library.call(f"directory {self.id}"):
            entry = volume.entry(self.id)
            count = entry.number_of_sub_file_entries
        for index in range(count):
            try:
                with volume.library.call(f"directory {self.id}, entry {index}"):
                    found = self._entry(entry, index)
            except ImageError as exc:
                damage = exc
                continue
            yield from found
        if damage is not None:
            raise damage

    def _entry(self, parent: Any, index: int) -> list[tuple[str, Node]]:
        """The entry of a number, and its streams where they are files. The lock must be held."""
        volume = self._volume
        entry = parent.get_sub_file_entry(index)
        number = entry.get_file_reference() & records.RECORD_MASK
        if not volume.shown(number):
            return []
        if number >= MAX_RECORD:
            raise FormatError("ntfs", f"record number {number}")
        facts, directory = _facts(entry, volume.links(number))
        if directory:
            volume.library.claim(number, self.id)
        name = entry.name
        found: list[tuple[str, Node]] = [(name, volume.node(facts, self._depth, directory=directory))]
        if volume.streams_as_files and entry.number_of_alternate_data_streams:
            streams = enumerate(_streams(entry), 1)
            found += [
                (f"{name}:{stream.name}", NtfsStream(volume, facts, nth, stream)) for nth, stream in streams
            ]
        return found


class NtfsFile(_NtfsNode, File):
    """A regular file, and its reparse point if it has one."""

    __slots__ = ("_point",)

    def __init__(self, volume: NtfsVolume, facts: Facts, point: records.Reparse | None) -> None:
        super().__init__(volume, facts)
        self._point = point

    def open(self) -> BlockDevice:
        volume, facts, size = self._volume, self._facts, self._facts.stat.size
        self._refuse_what_is_elsewhere()
        if size == 0:
            return MemoryDevice(b"")
        with volume.library.call(f"record {self.id}"):
            entry = volume.entry(self.id)
            if self._is_plain() and 0 < entry.number_of_extents <= MAX_RUNS:
                return mapped(
                    volume.device, list(holed(_runs(entry), _valid_size(entry, facts.stat.size))), size
                )
        return LibraryDevice(volume.library, size, partial(_at, entry), volume.cache)

    def _refuse_what_is_elsewhere(self) -> None:
        """Raise ``UnsupportedError`` where the record's own stream is not the file's content."""
        attributes, point = self._facts.attributes, self._point
        if attributes & ENCRYPTED:
            raise UnsupportedError("ntfs: a file encrypted with EFS")
        if point is None:
            return
        kind = records.ELSEWHERE.get(point.tag)
        if (
            kind is None
            and point.tag & records.CLOUD_MASK == records.CLOUD
            and attributes & (OFFLINE | RECALL)
        ):
            kind = "cloud"
        if kind is not None:
            raise UnsupportedError(f"ntfs: a {kind} file, whose content is elsewhere")
        if point.tag == 0:
            raise FormatError("ntfs", f"record {self.id}: the reparse point cannot be read")

    def _is_plain(self) -> bool:
        """Whether the runs hold the bytes as they are: the attribute says so, and the file's flags do not deny it."""
        attributes = self._facts.attributes
        if attributes & COMPRESSED or (self._point is not None and self._point.tag == records.WOF):
            return False
        try:
            data = self._volume.attribute(self.id, records.DATA)
        except ImageError:
            return False
        return data is not None and not data.flags & (records.COMPRESSED | records.ENCRYPTED)


def _valid_size(entry: Any, size: int) -> int:
    """How many bytes of the unnamed stream were ever written. The lock must be held."""
    for attribute in entry.attributes:
        if attribute.attribute_type == records.DATA and attribute.attribute_name is None:
            return min(size, int(attribute.valid_data_size))
    return size


def _at(source: Any, offset: int, size: int) -> bytes:
    data: bytes = source.read_buffer_at_offset(size, offset)
    return data


class NtfsStream(_NtfsNode, File):
    """An alternate data stream as a file of its own. ``id`` has the stream's number above the record's."""

    __slots__ = ("_name", "_size")

    def __init__(self, volume: NtfsVolume, facts: Facts, number: int, stream: Any) -> None:
        super().__init__(volume, facts)
        self.id = number * MAX_RECORD + facts.number
        self._name: str = stream.name
        self._size: int = stream.size

    def stat(self) -> Stat:
        return self._facts.stat._replace(mode=FILE_MODE, size=self._size, allocated=None)

    def xattrs(self) -> Mapping[str, bytes]:
        return {}

    def open(self) -> BlockDevice:
        if self._facts.attributes & ENCRYPTED:
            raise UnsupportedError("ntfs: a file encrypted with EFS")
        volume, name = self._volume, self._name
        with volume.library.call(f"record {self._facts.number}"):
            stream = volume.entry(self._facts.number).get_alternate_data_stream_by_name(name)
        return LibraryDevice(volume.library, self._size, partial(_at, stream), volume.cache)


class NtfsLink(_NtfsNode, Symlink):
    """A symbolic link or a junction in a directory ``depth`` levels below the root."""

    __slots__ = ("_depth", "_point")

    def __init__(self, volume: NtfsVolume, facts: Facts, depth: int, point: records.Reparse) -> None:
        super().__init__(volume, facts)
        self._depth = depth
        self._point = point

    def stat(self) -> Stat:
        return self._facts.stat._replace(mode=SYMLINK_MODE, size=0, allocated=None)

    def readlink(self) -> str:
        """The target with slashes; one that lies on this volume is relative, whatever the letter of its drive."""
        if self._point.tag == records.LX_SYMLINK:
            return self._point.data[4:].decode("utf-8", "surrogateescape")  # a version stands first
        target, relative = records.link(self._point)
        if relative and not target.startswith("\\"):
            return target.replace("\\", "/")
        target = target.removeprefix("\\??\\")
        drive, colon, path = target.partition(":")
        if relative or (colon and len(drive) == 1 and (not path or self._volume.exists(path))):
            below = (target if relative else path).strip("\\").replace("\\", "/")
            return "../" * self._depth + below or "."
        if target.startswith("UNC\\"):
            target = "\\" + target.removeprefix("UNC")
        return target.replace("\\", "/")


class NtfsSpecial(_NtfsNode, Special):
    """A socket, FIFO or device node of the Windows Subsystem for Linux, without the number of its device."""

    __slots__ = ("_mode",)

    def __init__(self, volume: NtfsVolume, facts: Facts, tag: int) -> None:
        super().__init__(volume, facts)
        self._mode = records.SPECIALS[tag] | 0o444

    def stat(self) -> Stat:
        return self._facts.stat._replace(mode=self._mode, size=0, allocated=None)
