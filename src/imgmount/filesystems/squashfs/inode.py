"""Inodes of version 4: one layout for each kind, and a longer one for what is unusual. Kernel documentation, squashfs.rst."""

from __future__ import annotations

import os
import stat as s
from struct import Struct
from typing import Final, NamedTuple

from imgmount.errors import FormatError
from imgmount.filesystems.squashfs.metadata import Metadata
from imgmount.filesystems.squashfs.superblock import NAME, Superblock

_COMMON: Final = Struct("<HHHHII")  # type, permissions, owner, group, time, number
_TYPE: Final = Struct("<H")
NOTHING: Final = 0xFFFF_FFFF  # no fragment, no attributes
MAX_LINK: Final = 1 << 16
KINDS: Final = (0, s.S_IFDIR, s.S_IFREG, s.S_IFLNK, s.S_IFBLK, s.S_IFCHR, s.S_IFIFO, s.S_IFSOCK)
_LONG_LINK: Final = 10
MAX_FILE: Final = 1 << 62
DOTS: Final = 3  # a directory's size counts these bytes for . and ..


class _Layout(NamedTuple):
    kind: int
    fields: Struct
    names: tuple[str, ...]


def _layout(kind: int, fields: str, names: str) -> _Layout:
    return _Layout(kind, Struct(fields), tuple(names.split()))


_LAYOUTS: Final = (
    _layout(0, "<", ""),
    _layout(s.S_IFDIR, "<IIHHI", "start links size offset parent"),
    _layout(s.S_IFREG, "<IIII", "start fragment offset size"),
    _layout(s.S_IFLNK, "<II", "links size"),
    _layout(s.S_IFBLK, "<II", "links rdev"),
    _layout(s.S_IFCHR, "<II", "links rdev"),
    _layout(s.S_IFIFO, "<I", "links"),
    _layout(s.S_IFSOCK, "<I", "links"),
    _layout(s.S_IFDIR, "<IIIIHHI", "links size start parent indexes offset attributes"),
    _layout(s.S_IFREG, "<QQQIIII", "start size holes links fragment offset attributes"),
    _layout(s.S_IFLNK, "<II", "links size"),  # then the target, then the attributes
    _layout(s.S_IFBLK, "<III", "links rdev attributes"),
    _layout(s.S_IFCHR, "<III", "links rdev attributes"),
    _layout(s.S_IFIFO, "<II", "links attributes"),
    _layout(s.S_IFSOCK, "<II", "links attributes"),
)

Place = tuple[int, int]  # (start of a metadata block, bytes into it)


class Inode(NamedTuple):
    """An inode. ``place`` is where its list of blocks or its target begins; ``start`` is where its data does."""

    kind: int
    mode: int
    owner: int
    group: int
    time: int
    size: int
    links: int
    start: int
    offset: int  # of a directory: in the block at ``start``; of a file: in its fragment
    fragment: int
    rdev: int
    attributes: int
    holes: int
    place: Place


def read_inode(metadata: Metadata, super_block: Superblock, reference: int) -> Inode:
    """The inode at ``reference`` (block << 16 | offset). Raises ``FormatError``."""
    place = super_block.inode_table + (reference >> 16), reference & 0xFFFF
    (kind,) = _TYPE.unpack(metadata.read(*place, _TYPE.size))
    if not 0 < kind < len(_LAYOUTS):
        raise FormatError(NAME, f"an inode of type {kind}", offset=place[0])
    layout = _LAYOUTS[kind]
    raw = metadata.read(*place, _COMMON.size + layout.fields.size)
    _, mode, owner, group, time, _ = _COMMON.unpack_from(raw)
    found = dict(zip(layout.names, layout.fields.unpack_from(raw, _COMMON.size), strict=True))
    size, number, attributes = found.get("size", 0), found.get("rdev", 0), found.get("attributes", NOTHING)
    if layout.kind == s.S_IFDIR:
        size = max(0, size - DOTS)
    elif size > (MAX_LINK if layout.kind == s.S_IFLNK else MAX_FILE):
        raise FormatError(NAME, f"an inode of {size} bytes", offset=place[0])
    if kind == _LONG_LINK:  # behind the target
        attributes = int.from_bytes(metadata.read(*place, len(raw) + size + 4)[-4:], "little")
    return Inode(
        kind=layout.kind,
        mode=layout.kind | mode & 0o7777,
        owner=owner,
        group=group,
        time=time,
        size=size,
        links=found.get("links", 1),
        start=found.get("start", 0),
        offset=found.get("offset", 0),
        fragment=found.get("fragment", NOTHING),
        rdev=os.makedev(number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xF_FF00),
        attributes=attributes,
        holes=found.get("holes", 0),
        place=(place[0], place[1] + len(raw)),
    )
