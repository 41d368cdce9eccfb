"""The records of a filesystem's tree: inodes, directory entries, attributes, extents.

Reference, "File-System Objects".
"""

from __future__ import annotations

import os
import stat as s
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.fields import build
from imgmount.errors import FormatError
from imgmount.filesystems.apfs.btree import Record
from imgmount.filesystems.apfs.objects import NAME

# types of records
INODE, ATTRIBUTE, EXTENT, ENTRY = 3, 4, 8, 9
# numbers of inodes that are the filesystem's own
ROOT_PARENT, ROOT, PRIVATE, SNAPSHOTS = 1, 2, 3, 6

# parent, private id, created, modified, changed, accessed, flags, children or links, protection class,
# generation, BSD flags, owner, group, mode, size before compression; those between are not read
_INODE: Final = Struct("<QQqqqqQi8xIIIH10x")
_FIELDS_HEAD: Final = 4  # bytes: how many extended fields there are, and their bytes
_FIELD: Final = Struct("<BxH")  # type, size; flags between
_DATA: Final = Struct("<QQ")  # size, allocated; then the crypto id
FINDER, DATA, SPARSE, DEVICE = 7, 8, 13, 14  # types of extended fields
_KNOWN: Final = (DATA, FINDER, SPARSE, DEVICE)
_ENTRY: Final = Struct("<Q8xH")  # inode, flags; when it was added between
_KIND_MASK: Final = 15  # of an entry's flags
_HASHED: Final = Struct("<I")  # length and hash of a name
_PLAIN: Final = Struct("<H")
_LENGTH_MASK: Final = (1 << 10) - 1
_ATTRIBUTE: Final = Struct("<HH")  # flags, length
_STREAM: Final = Struct("<QQ")  # id, size
IS_STREAM: Final = 1
_EXTENT: Final = Struct("<QQQ")  # bytes and flags, block, crypto id
_SEALED_EXTENT: Final = Struct("<QQ")
_BYTES_MASK: Final = (1 << 56) - 1
_KEY: Final = 8  # bytes of a key before its own part

COMPRESSED: Final = 0x20  # BSD flags
FIRMLINK: Final = 0x0080_0000
DATALESS: Final = 0x4000_0000
MAX_SIZE: Final = (1 << 63) - 1
WHITEOUT: Final = 0o160000  # an entry that hides one of another volume
KINDS: Final = {
    1: s.S_IFIFO,
    2: s.S_IFCHR,
    4: s.S_IFDIR,
    6: s.S_IFBLK,
    8: s.S_IFREG,
    10: s.S_IFLNK,
    12: s.S_IFSOCK,
    14: WHITEOUT,
}


class Inode(NamedTuple):
    """An inode. Its extents belong to ``private``; ``size`` and ``allocated`` are of its data stream."""

    number: int
    parent: int
    private: int
    created: int
    modified: int
    changed: int
    accessed: int
    flags: int
    links: int  # of a file; of a directory its entries
    bsd_flags: int
    uid: int
    gid: int
    mode: int
    size: int
    allocated: int
    rdev: int
    finder: bytes


class Entry(NamedTuple):
    """An entry of a directory: ``kind`` as S_IFMT masks it, 0 where the entry does not say it."""

    name: bytes
    inode: int
    kind: int


class Attribute(NamedTuple):
    """An extended attribute: its value, or the id and size of the stream that holds it."""

    name: str
    value: bytes
    stream: int
    size: int


class Stretch(NamedTuple):
    """``length`` bytes of a file from ``start`` on, at ``block`` (0: a hole), whose tweak is ``crypto``."""

    start: int
    length: int
    block: int
    crypto: int


def number_of(record: Record) -> int:
    """The object that a record belongs to."""
    return record.order >> 68


def kind_of(record: Record) -> int:
    """The type of a record."""
    return record.order >> 64 & 15


def parse_inode(record: Record) -> Inode:
    """An inode. Raises ``FormatError``."""
    number, value = number_of(record), record.value
    if len(value) < _INODE.size:
        raise FormatError(NAME, f"inode {number} has {len(value)} bytes, {_INODE.size} at least are right")
    # fmt: off
    (parent, private, created, modified, changed, accessed, flags, links, bsd, uid, gid,
     mode) = _INODE.unpack_from(value)
    # fmt: on
    size = allocated = rdev = 0
    finder = b""
    extra = _extended(value, number) if len(value) > _INODE.size else {}
    if DATA in extra:
        size, allocated = _DATA.unpack(extra.pop(DATA)[: _DATA.size].ljust(_DATA.size, b"\0"))
        if size > MAX_SIZE:
            raise FormatError(NAME, f"inode {number} has {size} bytes of data")
    if extra:
        finder = extra.get(FINDER, b"")
        allocated = max(0, allocated - int.from_bytes(extra.get(SPARSE, b"")[:8], "little"))
        device = int.from_bytes(extra.get(DEVICE, b"")[:4], "little")
        rdev = os.makedev(device >> 24, device & 0xFF_FFFF)
    return build(Inode, (
        number, parent, private, created, modified, changed, accessed, flags, max(0, links), bsd, uid, gid,
        mode, size, allocated, rdev, finder,
    ))  # fmt: skip


def _extended(value: bytes, number: int) -> dict[int, bytes]:
    """The extended fields of an inode that mean something here, by type."""
    start = _INODE.size
    count = int.from_bytes(value[start : start + 2], "little")
    start += _FIELDS_HEAD
    at = start + count * _FIELD.size
    if at > len(value):
        raise FormatError(
            NAME, f"inode {number} has {count} extended fields in {len(value) - _INODE.size} bytes"
        )
    found = {}
    for kind, size in _FIELD.iter_unpack(value[start:at]):
        if at + size > len(value):
            raise FormatError(NAME, f"extended field {kind} of inode {number} lies outside its record")
        if kind in _KNOWN:
            found[kind] = value[at : at + size]
        at += size + 7 & ~7
    return found


def parse_entry(record: Record, *, hashed: bool) -> Entry:
    """A directory entry. Raises ``FormatError``."""
    _, key, value = record
    head = _HASHED if hashed else _PLAIN
    start = _KEY + head.size
    if len(key) <= start or len(value) < _ENTRY.size:
        raise FormatError(NAME, f"an entry of directory {number_of(record)} is too short")
    (length,) = head.unpack_from(key, _KEY)
    length = length & _LENGTH_MASK if hashed else length
    name = key[start : start + length]
    if len(name) != length or not length:
        raise FormatError(NAME, f"a name of {length} bytes in an entry of {len(key)}")
    inode, flags = _ENTRY.unpack_from(value)
    return build(Entry, (name.removesuffix(b"\0"), inode, KINDS.get(flags & _KIND_MASK, 0)))


def name_hash(record: Record) -> int:
    """The hash before the name of a directory entry."""
    return int(_HASHED.unpack_from(record.key, _KEY)[0]) >> 10


def parse_attribute(record: Record) -> Attribute:
    """An extended attribute. Raises ``FormatError``."""
    if len(record.key) < _KEY + _PLAIN.size or len(record.value) < _ATTRIBUTE.size:
        raise FormatError(NAME, f"an attribute of inode {number_of(record)} is too short")
    (length,) = _PLAIN.unpack_from(record.key, _KEY)
    name = (
        record.key[_KEY + _PLAIN.size : _KEY + _PLAIN.size + length]
        .removesuffix(b"\0")
        .decode("utf-8", "surrogateescape")
    )
    flags, size = _ATTRIBUTE.unpack_from(record.value)
    value = record.value[_ATTRIBUTE.size : _ATTRIBUTE.size + size]
    if len(value) != size:
        raise FormatError(
            NAME, f"attribute {name!r} of inode {number_of(record)} has {len(value)} of {size} bytes"
        )
    if not flags & IS_STREAM:
        return Attribute(name, value, 0, size)
    if size < _STREAM.size:
        raise FormatError(NAME, f"attribute {name!r} of inode {number_of(record)} names no stream")
    stream, size = _STREAM.unpack_from(value)
    if size > MAX_SIZE:
        raise FormatError(NAME, f"attribute {name!r} of inode {number_of(record)} has {size} bytes")
    return Attribute(name, b"", stream, size)


def parse_stretch(record: Record, start: int) -> Stretch:
    """An extent at byte ``start`` of a file. Raises ``FormatError``."""
    if len(record.value) >= _EXTENT.size:
        length, block, crypto = _EXTENT.unpack_from(record.value)
    elif len(record.value) >= _SEALED_EXTENT.size:
        (length, block), crypto = _SEALED_EXTENT.unpack_from(record.value), 0
    else:
        raise FormatError(NAME, f"an extent of {len(record.value)} bytes")
    return Stretch(start, length & _BYTES_MASK, block, crypto)


def parse_all(records: Iterator[Record]) -> Iterator[Attribute]:
    """Extended attributes."""
    return map(parse_attribute, records)
