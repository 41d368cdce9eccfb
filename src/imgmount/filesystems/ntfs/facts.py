"""The facts of a file that a listing has, from its record in one pass.

Sources: "$STANDARD_INFORMATION" in the documentation of the Linux-NTFS project; the extended attributes of
the Windows Subsystem for Linux as Microsoft documents them ("File Permissions for WSL").
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from stat import S_IFDIR, S_IFREG, S_IMODE, S_ISBLK, S_ISCHR
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Stat
from imgmount.errors import FormatError, ImageError
from imgmount.families.windows.reparse import SPECIALS, WOF
from imgmount.families.windows.times import filetime_ns
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.boot import NAME
from imgmount.filesystems.ntfs.ea import extended_attributes
from imgmount.filesystems.ntfs.records import NON_RESIDENT, Attribute, Record
from imgmount.filesystems.ntfs.runs import Disk, Runs, add_pairs
from imgmount.filesystems.ntfs.streams import (
    MAX_SIZE,
    Part,
    ReadRecord,
    Stream,
    assemble,
    parts_of,
    runs_of,
    stream_device,
)

_STANDARD: Final = Struct("<QQQQI")  # created, modified, record changed, accessed, attributes
_WORD: Final = Struct("<I")
_DEVICE: Final = Struct("<II")
_RESIDENT: Final = (records.STANDARD_INFORMATION, records.NAME_ATTRIBUTE, records.REPARSE_POINT)
MAX_EAS: Final = 1 << 20

SYSTEM: Final = 0x4  # a file attribute


class Facts(NamedTuple):
    """A file as its folder shows it.

    ``created`` is a FILETIME; ``parent`` a reference; ``tag`` of a reparse point, or 0.
    """

    number: int
    sequence: int
    is_directory: bool
    attributes: int
    created: int
    parent: int
    tag: int
    has_streams: bool  # perhaps: some of its attributes are named
    stat: Stat


def bare_folder(number: int, sequence: int) -> Facts:
    """A folder of which nothing else is known."""
    return Facts(number, sequence, True, 0, 0, 0, 0, False, Stat(DIRECTORY_MODE))


class _Found:
    """What one pass over a record finds. ``stored`` counts clusters."""

    __slots__ = ("dos", "ea", "listed", "parent", "size", "standard", "stored", "streams", "tag")
    standard: tuple[int, ...] | None
    stored: int | None

    def __init__(self) -> None:
        self.standard = self.stored = None
        self.size = -1
        self.parent = self.tag = self.dos = 0
        self.listed = self.streams = self.ea = False


def facts_of(record: Record, disk: Disk, read: ReadRecord) -> Facts:
    """The facts of a file. ``read`` gives the other records that it may have. Raises ``ImageError``."""
    found = _pass(record)
    if found.listed:
        _gather(found, record, disk, read)
    if found.standard is None:
        raise FormatError(NAME, f"record {record.number} has no standard information")
    created, modified, changed, accessed, attributes = found.standard
    modified, accessed, changed = filetime_ns(modified), filetime_ns(accessed), filetime_ns(changed)
    birth = filetime_ns(created) or None
    if directory := bool(record.flags & records.DIRECTORY):
        stat = Stat(DIRECTORY_MODE, 0, modified, accessed, changed, birth_ns=birth)
    else:
        links = record.links - found.dos
        stored = None if found.stored is None or found.tag == WOF else found.stored * disk.cluster_size
        size = max(found.size, 0)
        links = max(1, links)
        stat = Stat(FILE_MODE, size, modified, accessed, changed, None, None, links, 0, stored, birth)
    if found.ea:
        stat = _as_linux(stat, found.tag, list(parts_of(record, disk, read, records.EA)), disk)
    return Facts(
        record.number,
        record.sequence,
        directory,
        attributes,
        created,
        found.parent,
        found.tag,
        found.streams,
        stat,
    )


def _pass(record: Record) -> _Found:
    """Look at each attribute of ``record`` once. Raises ``FormatError``."""
    found = _Found()
    for attribute in records.attributes(record):
        kind = attribute.type
        if kind == records.DATA:
            _data(found, attribute)
        elif kind == records.ATTRIBUTE_LIST:
            found.listed = True
        elif kind == records.EA:
            found.ea = True
        elif kind in _RESIDENT and attribute.resident:
            _content(found, kind, attribute.content)
    return found


def _content(found: _Found, kind: int, content: bytes) -> None:
    """What an attribute of one of the types in ``_RESIDENT`` says."""
    if kind == records.STANDARD_INFORMATION and len(content) >= _STANDARD.size:
        found.standard = _STANDARD.unpack_from(content)
    elif kind == records.NAME_ATTRIBUTE:
        name = records.file_name(content)
        found.parent = name.parent
        found.dos += name.space == records.DOS
    elif kind == records.REPARSE_POINT:
        found.tag = int.from_bytes(content[:4], "little")


def _data(found: _Found, attribute: Attribute) -> None:
    """The size of the unnamed stream, and how much of it is stored."""
    if attribute.name or found.size >= 0:
        found.streams = found.streams or bool(attribute.name)
        return
    if attribute.resident:
        found.size = len(attribute.content)
        return
    first, _, _, _, _, size, _ = NON_RESIDENT.unpack_from(attribute.data, attribute.at)
    if first:
        return
    if not 0 <= size < MAX_SIZE:
        raise FormatError(NAME, f"a stream of {size} bytes")
    found.size = size
    if attribute.flags & (records.SPARSE | records.COMPRESSED):
        runs = Runs()
        try:
            add_pairs(runs, attribute.pairs)
        except FormatError:  # reading it says so
            return
        found.stored = runs.stored


def _gather(found: _Found, record: Record, disk: Disk, read: ReadRecord) -> None:
    """What an attribute list says besides."""
    by_type: dict[tuple[int, str], list[Part]] = {}
    for part in parts_of(record, disk, read):
        by_type.setdefault((part.type, part.name), []).append(part)
    found.streams = any(kind == records.DATA and name for kind, name in by_type)
    found.ea = (records.EA, "") in by_type
    if parts := by_type.get((records.STANDARD_INFORMATION, "")):
        content = assemble(parts).content
        _content(found, records.STANDARD_INFORMATION, content or b"")
    names = [
        part.attribute.content for part in by_type.get((records.NAME_ATTRIBUTE, ""), []) if part.attribute
    ]
    spaces = [records.file_name(content) for content in names]
    found.dos = sum(name.space == records.DOS for name in spaces)
    found.parent = spaces[-1].parent if spaces else found.parent
    if parts := by_type.get((records.REPARSE_POINT, "")):
        point = assemble(parts)
        found.tag = int.from_bytes(stream_device(point, disk).pread(0, 4), "little")
    if parts := by_type.get((records.DATA, "")):
        stream = assemble(parts)
        found.size = stream.size
        found.stored = _stored(stream)


def _stored(stream: Stream) -> int | None:
    """Clusters of a stream that may have holes; None where it has none, or that cannot be told."""
    if stream.content is not None or not stream.is_sparse:
        return None
    try:
        return runs_of(stream).stored
    except ImageError:
        return None


def _as_linux(stat: Stat, tag: int, parts: Iterable[Part], disk: Disk) -> Stat:
    """``stat`` as the Windows Subsystem for Linux has it, where it left its attributes."""
    try:
        stream = assemble(list(parts))
        found = dict(extended_attributes(stream_device(stream, disk).pread(0, min(stream.size, MAX_EAS))))
    except ImageError:
        return stat
    numbers = {
        name: _WORD.unpack(value)[0]
        for name, value in found.items()
        if name.startswith("$LX") and len(value) == 4
    }
    kind = SPECIALS.get(tag, S_IFDIR if stat.mode & S_IFDIR == S_IFDIR else S_IFREG)
    if "$LXMOD" in numbers:
        stat = stat._replace(mode=kind | S_IMODE(numbers["$LXMOD"]))
    if (S_ISCHR(kind) or S_ISBLK(kind)) and len(device := found.get("$LXDEV", b"")) == _DEVICE.size:
        stat = stat._replace(rdev=os.makedev(*(part & 0xFFF_FFFF for part in _DEVICE.unpack(device))))
    return stat._replace(uid=numbers.get("$LXUID", stat.uid), gid=numbers.get("$LXGID", stat.gid))
