"""Directories, files, symbolic links and special files.

Whether an entry is a directory stands in the directory; whether it is a link or a device stands only in its
file entry. So a listing reads the file entries, one block each, and every node knows its stat: a mount asks
for it anyway. Most writers put the entries of a directory next to each other; neighbours are read together,
and nothing that lies between distant ones is.
"""

from __future__ import annotations

import os
import stat as s
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Final, NamedTuple

from imgmount.codecs.crc16 import crc16
from imgmount.core.device import BlockDevice
from imgmount.core.header import short
from imgmount.core.node import Directory, File, Lost, Node, Special, Stat, Symlink
from imgmount.errors import FormatError, ImageError
from imgmount.families.optical.times import udf_time_ns
from imgmount.filesystems.udf.icb import Entry, VolumeSpace
from imgmount.filesystems.udf.structs import (
    FILE_IDENTIFIER,
    FMT,
    LENGTH_MASK,
    TAG,
    TAG_SIZE,
    Place,
    cs0,
    tag_checksum,
)

MAX_DIRECTORY: Final = 256 << 20  # a million entries
MAX_LINK: Final = 64 << 10
MAX_STREAM: Final = 64 << 10  # what Linux allows an extended attribute
MAX_STREAMS: Final = 64
WINDOW: Final = 256 << 10  # read of a directory at once
SMALL_WINDOW: Final = 512  # the smallest block
MAX_TRIES: Final = 1 << 14  # places where a damaged directory might go on
BATCH: Final = 512  # entries whose file entries are looked up together

# File types (4/14.6.6, UDF 2.3.5.2)
DIRECTORY: Final = 4
BLOCK_DEVICE: Final = 6
CHARACTER_DEVICE: Final = 7
FIFO: Final = 9
SOCKET: Final = 10
SYMLINK: Final = 12
STREAM_DIRECTORY: Final = 13
_SPECIAL: Final = {BLOCK_DEVICE: s.S_IFBLK, CHARACTER_DEVICE: s.S_IFCHR, FIFO: s.S_IFIFO, SOCKET: s.S_IFSOCK}
_KIND: Final = _SPECIAL | {DIRECTORY: s.S_IFDIR, STREAM_DIRECTORY: s.S_IFDIR, SYMLINK: s.S_IFLNK}

# File characteristics (4/14.4.3)
DIRECTORY_BIT: Final = 2
DELETED: Final = 4
PARENT: Final = 8

# version, characteristics, name length, ICB and number, implementation use length
_FID: Final = struct.Struct("<16xHBBIIH2xIH")
_FID_SIZE: Final = 38
_FID_MAX: Final = _FID_SIZE + 0xFFFF + 0xFF + 3
_FID_TAG: Final = FILE_IDENTIFIER.to_bytes(2, "little")
_NOBODY: Final = 0xFFFF_FFFF  # no user or group is meant
_SET_UID: Final = 6  # ICB flags bits 6-8: set-uid, set-gid, sticky

_ATTRIBUTE: Final = struct.Struct("<IB3xI")  # type, subtype, length (4/14.10.1)
_ATTRIBUTES_HEADER: Final = 24
_DEVICE_SPECIFICATION: Final = 12
_DEVICE: Final = struct.Struct("<II")  # major, minor (4/14.10.7)
_DEVICE_AT: Final = 16
_COMPONENT: Final = struct.Struct("<BBH")  # type, length, version (4/14.16.1)
_COMPONENT_WORDS: Final = {3: "..", 4: "."}
_ROOTS: Final = (1, 2)


class Fid(NamedTuple):
    """A file identifier descriptor (4/14.4): a name and the ICB it stands for.

    ``unique`` is the file's number there, or 0.
    """

    name: bytes
    characteristics: int
    icb: Place
    unique: int


def _parse_fid(raw: bytes, at: int) -> tuple[Fid, int] | None:
    """The descriptor at ``at`` and where the next one begins; None where there is no valid one."""
    if raw[at : at + 2] != _FID_TAG or len(raw) < at + _FID_SIZE:
        return None
    _, checksum, _, crc, crc_length, _ = TAG.unpack_from(raw, at)
    _, characteristics, name_length, length, block, partition, unique, use_length = _FID.unpack_from(raw, at)
    start = at + _FID_SIZE + use_length
    end = start + name_length
    body = raw[at + TAG_SIZE : at + TAG_SIZE + crc_length]
    if end > len(raw) or checksum != tag_checksum(raw[at : at + TAG_SIZE]) or crc16(body, 0) != crc:
        return None
    fid = Fid(raw[start:end], characteristics, Place(partition, block, length & LENGTH_MASK), unique)
    return fid, at + (_FID_SIZE + use_length + name_length + 3 & ~3)


def identifiers(
    content: BlockDevice, mirror: BlockDevice | None = None, hidden: int = DELETED | PARENT
) -> Iterator[Fid]:
    """The file identifiers of a directory without those that have ``hidden`` characteristics.

    By default those are deleted ones and the parent.

    What is damaged is looked for in ``mirror``, then skipped, and is the error raised at the end. Raises
    ``FormatError``.
    """
    if content.size > MAX_DIRECTORY:
        raise FormatError(FMT, f"a directory of {content.size} bytes is larger than {short(MAX_DIRECTORY)}")
    damage: int | None = None
    offset = base = tries = 0
    window = b""
    while offset < content.size:
        found = _parse_fid(window, offset - base)
        if found is None and base + len(window) < min(offset + _FID_MAX, content.size):
            base, window = offset, _window(content, mirror, offset)
            found = _parse_fid(window, 0)
        if found is None and mirror is not None:
            found = _parse_fid(mirror.pread(offset, _FID_MAX), 0)
            found = found and (found[0], found[1] + offset - base)
        if found is None:
            if window.count(0, offset - base) == len(window) - (offset - base):
                offset = base + len(window)  # padding
                continue
            damage = offset if damage is None else damage
            if (tries := tries + 1) > MAX_TRIES:
                break
            following = window.find(_FID_TAG, offset - base + 4)
            offset = max(offset + 4, (base + following if following >= 0 else base + len(window)) & ~3)
            continue
        fid, following = found
        offset = base + following
        if not fid.characteristics & hidden:
            yield fid
    if damage is not None:
        raise FormatError(FMT, "a directory is damaged: entries are missing from here on", offset=damage)


def _window(content: BlockDevice, mirror: BlockDevice | None, offset: int) -> bytes:
    """A part of a directory from whichever copy can be read; where none can, what comes before the gap.

    Raises ``ImageError``.
    """
    size = WINDOW
    while size >= SMALL_WINDOW:
        for device in (content, mirror):
            if device is not None:
                with suppress(ImageError):
                    return device.pread(offset, size - offset % SMALL_WINDOW)
        size //= 2
    return content.pread(offset, 1)


def directory_content(space: VolumeSpace, entry: Entry, hidden: int = DELETED | PARENT) -> Iterator[Fid]:
    """The file identifiers in the directory that ``entry`` describes, see ``identifiers``."""
    mirror = space.content(entry, mirrored=True) if space.mirrors and not entry.embedded else None
    return identifiers(space.content(entry), mirror, hidden)


def _status(space: VolumeSpace, entry: Entry, size: int | None = None, rdev: int = 0) -> Stat:
    uid, gid, permissions, links = entry.owner
    blocks, accessed, modified, changed = entry.times
    # Five bits each for others, group and owner: execute, write, read as in Unix, then change attributes and
    # delete.
    mode = permissions & 7 | (permissions >> 5 & 7) << 3 | (permissions >> 10 & 7) << 6
    mode |= (
        (entry.flags >> _SET_UID & 1) << 11
        | (entry.flags >> _SET_UID + 1 & 1) << 10
        | (entry.flags >> _SET_UID + 2 & 1) << 9
    )
    recorded = blocks * space.block_size
    return Stat(
        _KIND.get(entry.file_type, s.S_IFREG) | mode,
        entry.size if size is None else size,
        udf_time_ns(modified),
        udf_time_ns(accessed),
        udf_time_ns(changed),
        None if uid == _NOBODY else uid,
        None if gid == _NOBODY else gid,
        max(1, links),
        rdev,
        recorded if recorded < entry.size and not entry.embedded else None,
    )


class _UdfNode(Node):
    """What every node has: the volume and its file entry."""

    __slots__ = ("_entry", "_space")

    def __init__(self, space: VolumeSpace, place: Place, entry: Entry) -> None:
        self.id = place.id
        self._space = space
        self._entry = entry

    def stat(self) -> Stat:
        return _status(self._space, self._entry)

    def xattrs(self) -> Mapping[str, bytes]:
        """Named streams (UDF 3.3.5) as ``user.udf.stream.NAME``: the first 64 of at most 64 KiB."""
        place = self._entry.streams
        if place is None:
            return {}
        fids = list(islice(directory_content(self._space, self._space.entry(place)), MAX_STREAMS))
        found = {}
        for fid in fids:
            entry = self._space.entry(fid.icb)
            if entry.size <= MAX_STREAM:
                found[f"user.udf.stream.{cs0(fid.name)}"] = self._space.content(entry).pread(0, entry.size)
        return found


class UdfFile(_UdfNode, File):
    """A regular or real-time file."""

    __slots__ = ()

    def open(self) -> BlockDevice:
        return self._space.content(self._entry)


class UdfSymlink(_UdfNode, Symlink):
    """A symbolic link, stored as path components (4/14.16)."""

    __slots__ = ()

    def stat(self) -> Stat:
        return _status(self._space, self._entry, len(os.fsencode(self.readlink())))

    def readlink(self) -> str:
        if self._entry.size > MAX_LINK:
            raise FormatError(
                FMT,
                f"a link of {self._entry.size} bytes is longer than {MAX_LINK}",
                offset=self._entry.offset,
            )
        raw = self._space.content(self._entry).read_exactly(0, self._entry.size, FMT)
        parts: list[str] = []
        at = 0
        while at + _COMPONENT.size <= len(raw):
            kind, length, _ = _COMPONENT.unpack_from(raw, at)
            at += _COMPONENT.size
            if kind in _ROOTS:
                parts = [""]
            else:
                parts.append(_COMPONENT_WORDS.get(kind) or cs0(raw[at : at + length]))
            at += length
        return "/".join(parts) if parts != [""] else "/"


class UdfSpecial(_UdfNode, Special):
    """A device node, FIFO or socket."""

    __slots__ = ()

    def stat(self) -> Stat:
        return _status(self._space, self._entry, 0, self._rdev())

    def _rdev(self) -> int:
        """The device number in the device specification, an extended attribute (4/14.10.7)."""
        raw = self._entry.attributes
        at = _ATTRIBUTES_HEADER
        while at + _DEVICE_AT + _DEVICE.size <= len(raw):
            kind, _, length = _ATTRIBUTE.unpack_from(raw, at)
            if kind == _DEVICE_SPECIFICATION:
                major, minor = _DEVICE.unpack_from(raw, at + _DEVICE_AT)
                return os.makedev(major & 0xFFF, minor & 0xF_FFFF)
            at += max(length, _ATTRIBUTE.size)
        return 0


class UdfDirectory(_UdfNode, Directory):
    """A directory.

    ``ancestors`` are the ids above it: a directory that is its own ancestor is not entered again.
    """

    __slots__ = ("_ancestors",)

    def __init__(
        self, space: VolumeSpace, place: Place, entry: Entry, ancestors: frozenset[int] = frozenset()
    ) -> None:
        super().__init__(space, place, entry)
        self._ancestors = ancestors

    def _scan_names(self) -> Iterator[str]:
        return (cs0(fid.name) for fid in self._identifiers())

    def _identifiers(self) -> Iterator[Fid]:
        if self.id in self._ancestors:
            raise FormatError(FMT, "a directory is inside itself", offset=self._entry.offset)
        return directory_content(self._space, self._entry)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        space, ancestors = self._space, self._ancestors | {self.id}
        batch: list[Fid] = []
        damage: ImageError | None = None
        fids = self._identifiers()
        while True:
            try:
                batch = []
                for fid in islice(fids, BATCH):
                    batch.append(fid)  # what came before the damage is kept
            except ImageError as exc:
                damage = exc
            for fid, entry in zip(batch, space.entries([fid.icb for fid in batch]), strict=True):
                yield cs0(fid.name), make_node(space, fid.icb, entry, ancestors)
            if damage is not None:
                raise damage
            if len(batch) < BATCH:
                return


def make_node(
    space: VolumeSpace, place: Place, entry: Entry | ImageError, ancestors: frozenset[int] = frozenset()
) -> Node:
    """The node of the ICB at ``place``."""
    if isinstance(entry, ImageError):
        return Lost(place.id, entry)
    if entry.file_type in (DIRECTORY, STREAM_DIRECTORY):
        return UdfDirectory(space, place, entry, ancestors)
    if entry.file_type == SYMLINK:
        return UdfSymlink(space, place, entry)
    if entry.file_type in _SPECIAL:
        return UdfSpecial(space, place, entry)
    return UdfFile(space, place, entry)
