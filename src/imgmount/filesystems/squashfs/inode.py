"""Inodes of version 4: one layout for each kind, and a longer one for what is unusual.

Kernel documentation, squashfs.rst.
"""

from __future__ import annotations

import os
import stat as s
from collections.abc import Callable, Mapping
from operator import itemgetter
from struct import Struct
from typing import Any, Final, NamedTuple

from imgmount.errors import FormatError
from imgmount.filesystems.squashfs.metadata import Metadata
from imgmount.filesystems.squashfs.superblock import NAME, Superblock

_COMMON: Final = "type permissions owner group time number"
_TYPE: Final = {"little": Struct("<H"), "big": Struct(">H")}
_TYPE_SIZE: Final = 2
NOTHING: Final = 0xFFFF_FFFF  # no fragment, no attributes
MAX_LINK: Final = 1 << 16
KINDS: Final = (0, s.S_IFDIR, s.S_IFREG, s.S_IFLNK, s.S_IFBLK, s.S_IFCHR, s.S_IFIFO, s.S_IFSOCK)
_LONG_LINK: Final = 10
_LARGEST: Final = 56
MAX_FILE: Final = 1 << 62
DOTS: Final = 3  # a directory's size counts these bytes for . and ..


Place = tuple[int, int]  # (start of a metadata block, bytes into it)


class Inode(NamedTuple):
    """An inode.

    ``place`` is where its list of blocks or its target begins; ``start`` is where its data does.
    """

    kind: int
    permissions: int
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

    @property
    def mode(self) -> int:
        """Kind and permissions."""
        return self.kind | self.permissions & 0o7777


_DEFAULTS: Final = dict.fromkeys(Inode._fields, 0) | {"links": 1, "fragment": NOTHING, "attributes": NOTHING}


class _Layout(NamedTuple):
    """One type of inode; ``pick`` takes an Inode's fields from those stored, ``defaults`` and the place."""

    kind: int
    fields: Mapping[str, Struct]  # by byte order
    size: int
    defaults: tuple[int, ...]
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]


def _layout(kind: int, fields: str, names: str) -> _Layout:
    """``fields`` and ``names`` are those behind the common ones."""
    known = f"{_COMMON} {names}".split()
    missing = {
        name: default for name, default in _DEFAULTS.items() if name not in known and name != "place"
    } | {"kind": kind}
    order = [*known, *missing, "place"]
    return _Layout(
        kind,
        {"little": Struct("<HHHHII" + fields), "big": Struct(">HHHHII" + fields)},
        Struct("<HHHHII" + fields).size,
        tuple(missing.values()),
        itemgetter(*(order.index(name) for name in Inode._fields)),
    )


_LAYOUTS: Final = (
    _layout(0, "", ""),
    _layout(s.S_IFDIR, "IIHHI", "start links size offset parent"),
    _layout(s.S_IFREG, "IIII", "start fragment offset size"),
    _layout(s.S_IFLNK, "II", "links size"),
    _layout(s.S_IFBLK, "II", "links rdev"),
    _layout(s.S_IFCHR, "II", "links rdev"),
    _layout(s.S_IFIFO, "I", "links"),
    _layout(s.S_IFSOCK, "I", "links"),
    _layout(s.S_IFDIR, "IIIIHHI", "links size start parent indexes offset attributes"),
    _layout(s.S_IFREG, "QQQIIII", "start size holes links fragment offset attributes"),
    _layout(s.S_IFLNK, "II", "links size"),  # then the target, then the attributes
    _layout(s.S_IFBLK, "III", "links rdev attributes"),
    _layout(s.S_IFCHR, "III", "links rdev attributes"),
    _layout(s.S_IFIFO, "II", "links attributes"),
    _layout(s.S_IFSOCK, "II", "links attributes"),
)
assert max(layout.size for layout in _LAYOUTS) == _LARGEST


def read_inode(metadata: Metadata, super_block: Superblock, reference: int) -> Inode:
    """The inode at ``reference`` (block << 16 | offset). Raises ``FormatError``."""
    start, skip, order = super_block.inode_table + (reference >> 16), reference & 0xFFFF, super_block.order
    raw, at = metadata.block(start), skip
    if at + _LARGEST > len(raw):  # it may go on in the next block
        raw, at = metadata.read(start, skip, _TYPE_SIZE), 0
    (kind,) = _TYPE[order].unpack_from(raw, at)
    if not 0 < kind < len(_LAYOUTS):
        raise FormatError(NAME, f"an inode of type {kind}", offset=start)
    layout = _LAYOUTS[kind]
    size = layout.size
    if len(raw) == _TYPE_SIZE:
        raw = metadata.read(start, skip, size)
    inode = Inode._make(
        layout.pick((*layout.fields[order].unpack_from(raw, at), *layout.defaults, (start, skip + size)))
    )
    if layout.kind == s.S_IFREG and inode.size <= MAX_FILE:
        return inode
    if layout.kind == s.S_IFDIR:
        return inode._replace(size=max(0, inode.size - DOTS))
    if inode.size > MAX_LINK:
        raise FormatError(NAME, f"an inode of {inode.size} bytes", offset=start)
    if kind == _LONG_LINK:  # behind the target
        attributes = int.from_bytes(metadata.read(start, skip + size, inode.size + 4)[-4:], order)
        return inode._replace(attributes=attributes)
    number = inode.rdev
    return (
        inode._replace(rdev=os.makedev(number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xF_FF00))
        if number
        else inode
    )
