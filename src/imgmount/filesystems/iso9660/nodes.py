"""Nodes of an ISO 9660 tree: a directory record in memory, read further when asked."""

from __future__ import annotations

import os
import stat as s
from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final, NoReturn

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.node import (
    DIRECTORY_MODE,
    FILE_MODE,
    SYMLINK_MODE,
    Directory,
    File,
    Node,
    Special,
    Stat,
    Symlink,
)
from imgmount.core.slices import Concat, Slice, ZeroDevice
from imgmount.errors import FormatError, UnsupportedError
from imgmount.families.optical.times import iso_time_ns
from imgmount.filesystems.iso9660 import susp, zisofs
from imgmount.filesystems.iso9660.descriptors import NAME
from imgmount.filesystems.iso9660.records import Section

if TYPE_CHECKING:
    from imgmount.filesystems.iso9660.tree import Tree

_PX: Final = Struct("<I4xI4xI4xI")  # mode, links, uid, gid
_PN: Final = Struct("<I4xI")  # device number, high and low words
_PN_SIZE: Final = 20  # of the whole field
_SF: Final = Struct("<I4xI")  # size of a sparse file, high and low words (RRIP 1.12)
_SF_SIZE: Final = 21  # of the whole field; that of RRIP 1.09 is shorter and has only a low word
_TIME_AT: Final = 18  # in a directory record
_NO_TIMES: Final = (None, None, None)
_MODE_MASK: Final = 0xFFFF
_MAJOR_MASK: Final = 0xFFF
_MINOR_MASK: Final = 0xF_FFFF


class RecordBlock:
    """Bytes in memory that hold directory records.

    They are those of a directory, whose first byte is at ``base`` of the device.

    A record with fields elsewhere has a block of its own, with all its fields in one row.
    """

    __slots__ = ("base", "data", "tree")

    def __init__(self, tree: Tree, data: bytes, base: int) -> None:
        self.tree = tree
        self.data = data
        self.base = base


class RareFacts:
    """What few records have: other Rock Ridge fields (position by signature), several extents, damage."""

    __slots__ = ("damage", "kept", "sections")

    def __init__(
        self, kept: susp.Kept | None = None, sections: tuple[Section, ...] = (), damage: str = ""
    ) -> None:
        self.kept: susp.Kept = kept or {}
        self.sections = sections
        self.damage = damage


# block address of the data, size in bytes, position in the block of PX and of TF (0: none), the rest.
# A tuple, because making one is what listing a large directory consists of.
Facts = tuple[int, int, int, int, RareFacts | None]


class RecordNode(Node):
    """What all nodes share: a record in a block. ``id`` is the byte offset of the record in the device."""

    __slots__ = ("block", "facts")
    file_type: ClassVar[int] = 0
    plain_mode: ClassVar[int] = 0

    def __init__(self, node_id: int, block: RecordBlock, facts: Facts) -> None:
        self.id = node_id
        self.block = block
        self.facts = facts

    @property
    def tree(self) -> Tree:
        """The tree that the node is of."""
        return self.block.tree

    @property
    def start(self) -> int:
        """The block address of the data."""
        return self.facts[0]

    @property
    def size(self) -> int:
        """The bytes of data in the image."""
        return self.facts[1]

    @property
    def rare(self) -> RareFacts:
        """What few records have."""
        return self.facts[4] or RareFacts()

    def stat(self) -> Stat:
        return self._stat(self.facts[1])

    def _stat(self, size: int, rdev: int = 0, allocated: int | None = None) -> Stat:
        block, (_, _, px, tf, _) = self.block, self.facts
        data = block.data
        mtime, atime, ctime = susp.times(data, tf) if tf else _NO_TIMES
        if mtime is None:
            mtime = block.tree.record_time(data, self.id - block.base)
        if not px:
            return Stat(self.plain_mode, size, mtime, atime, ctime, None, None, 1, rdev, allocated)
        mode, links, uid, gid = _PX.unpack_from(data, px + 4)
        mode = mode & 0o7777 | self.file_type
        return Stat(mode, size, mtime, atime, ctime, uid, gid, links, rdev, allocated)

    def _check(self) -> None:
        if self.rare.damage:
            raise FormatError(NAME, self.rare.damage, offset=self.id)


class IsoFile(RecordNode, File):
    """A file of one or several extents, plain or compressed by zisofs."""

    __slots__ = ()
    file_type = s.S_IFREG
    plain_mode = FILE_MODE

    def stat(self) -> Stat:
        rare, data = self.facts[4], self.block.data
        if rare is None:
            return self._stat(self.facts[1])
        if susp.SF in rare.kept:
            return self._stat(self._sparse_size(rare.kept[susp.SF][0]), allocated=self.size)
        if susp.ZF in rare.kept:
            return self._stat(zisofs.compression(data, rare.kept[susp.ZF][0]).size, allocated=self.size)
        return self._stat(self.size)

    def _sparse_size(self, position: int) -> int:
        if self.block.data[position + 2] < _SF_SIZE:
            return self.size
        high, low = _SF.unpack_from(self.block.data, position + 4)
        return int(high << 32 | low)

    def open(self) -> BlockDevice:
        self._check()
        kept = self.rare.kept
        if susp.SF in kept:
            raise UnsupportedError(f"{NAME}: Rock Ridge sparse files are not supported")
        if susp.ZF in kept:
            zf = zisofs.compression(self.block.data, kept[susp.ZF][0])
            return zisofs.open_compressed(self._stored(), zf, self.tree.cache) if zf.size else ZeroDevice(0)
        return self._stored()

    def _stored(self) -> BlockDevice:
        start, size, *_ = self.facts
        if not size:  # empty files have any extent
            return ZeroDevice(0)
        if not self.rare.sections:
            return self.tree.slice(start, size)
        parts = [open_section(self.tree, part) for part in self.rare.sections if part.size]
        return parts[0] if len(parts) == 1 else Concat.of(parts)


def open_section(tree: Tree, section: Section) -> BlockDevice:
    """The bytes of one extent. Raises ``UnsupportedError`` for features that no known writer uses."""
    if not section.unit:
        return tree.slice(section.start, section.size)
    if section.xar:
        raise UnsupportedError(
            f"{NAME}: an interleaved file with an extended attribute record is not supported"
        )
    return Interleaved(tree, section)


class Interleaved(MappedDevice):
    """A file in units of blocks with gaps between them. ECMA-119 6.4.3."""

    def __init__(self, tree: Tree, section: Section) -> None:
        self._unit = section.unit * tree.block_size
        self._stride = (section.unit + section.gap) * tree.block_size
        units = -(-section.size // self._unit)
        self._span: Slice = tree.slice(section.start, (units - 1) * self._stride + self._unit)
        self.size = section.size

    def _map(self, offset: int) -> Extent:
        unit, skip = divmod(offset, self._unit)
        return Extent(self._unit - skip, self._span, unit * self._stride + skip)


class IsoSymlink(RecordNode, Symlink):
    """A Rock Ridge symbolic link."""

    __slots__ = ()
    file_type = s.S_IFLNK
    plain_mode = SYMLINK_MODE

    def stat(self) -> Stat:
        try:
            return self._stat(len(self._target()))
        except (FormatError, UnsupportedError):  # readlink says so; the rest is known
            return self._stat(0)

    def readlink(self) -> str:
        return self.tree.names.decode(self._target())

    def _target(self) -> bytes:
        self._check()
        return susp.link_target(self.block.data, self.rare.kept.get(susp.SL, []))


class IsoSpecial(RecordNode, Special):
    """A device node, FIFO or socket: what kind, the mode in PX says."""

    __slots__ = ()

    def stat(self) -> Stat:
        facts = self._stat(0, self._device_number())
        mode, *_ = _PX.unpack_from(self.block.data, self.facts[2] + 4)
        return facts._replace(mode=mode & _MODE_MASK)

    def _device_number(self) -> int:
        fields = self.rare.kept.get(susp.PN)
        if not fields or self.block.data[fields[0] + 2] < _PN_SIZE:
            return 0
        high, low = _PN.unpack_from(self.block.data, fields[0] + 4)
        if not high:  # writers with a 16-bit dev_t put all of it into the low word
            high, low = low >> 8, low & 0xFF
        return os.makedev(high & _MAJOR_MASK, low & _MINOR_MASK)


class IsoDirectory(RecordNode, Directory):
    """A directory.

    ``ancestors`` are the block addresses of those above it, so that no directory holds itself.
    """

    __slots__ = ("ancestors",)
    file_type = s.S_IFDIR
    plain_mode = DIRECTORY_MODE

    def __init__(self, node_id: int, block: RecordBlock, facts: Facts, ancestors: frozenset[int]) -> None:
        super().__init__(node_id, block, facts)
        self.ancestors = ancestors

    def _scan(self) -> Iterable[tuple[str, Node]]:
        self._check()
        return self.tree.scan(self)


def fail(reason: str, offset: int) -> NoReturn:
    """A ``FormatError`` in the name of this format."""
    raise FormatError(NAME, reason, offset=offset)


def recorded_time(data: bytes, at: int, *, high_sierra: bool) -> int:
    """The recording time in a directory record; High Sierra has no zone."""
    if high_sierra:
        return iso_time_ns(data[at + _TIME_AT : at + _TIME_AT + 6] + b"\0")
    return iso_time_ns(data[at + _TIME_AT : at + _TIME_AT + 7])
