"""Nodes of an ISO 9660 tree: a directory record in memory, read further when asked."""

from __future__ import annotations

import os
import stat as s
from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final, NoReturn

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import iso_time_ns
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, SYMLINK_MODE, Directory, File, Node, Special, Stat, Symlink
from imgmount.core.slices import Concat, Slice, ZeroDevice
from imgmount.errors import FormatError, UnsupportedError
from imgmount.filesystems.iso9660 import susp, zisofs
from imgmount.filesystems.iso9660.descriptors import NAME
from imgmount.filesystems.iso9660.records import Section

if TYPE_CHECKING:
    from imgmount.filesystems.iso9660.tree import Tree

_PX: Final = Struct("<I4xI4xI4xI")  # mode, links, uid, gid
_PN: Final = Struct("<I4xI")  # device number, high and low words
_SF: Final = Struct("<I4xI")  # size of a sparse file, high and low words (RRIP 1.12)
_SF_SIZE: Final = 21  # of the whole field; that of RRIP 1.09 is shorter and has only a low word
_TIME_AT: Final = 18  # in a directory record
_MAJOR_MASK: Final = 0xFFF
_MINOR_MASK: Final = 0xF_FFFF


class Recorded(Node):
    """What all nodes share: their record ``data[at:]`` and where its PX and TF stand in ``data`` (0: nowhere).

    ``id`` is the byte offset of the record. ``start`` is a block address, ``size`` in bytes; ``kept`` are the positions of
    rarer Rock Ridge fields; ``damage`` is why the node cannot be read.
    """

    __slots__ = ("at", "damage", "data", "kept", "px", "sections", "size", "start", "tf", "tree")
    file_type: ClassVar[int]
    plain_mode: ClassVar[int]

    def __init__(
        self, node_id: int, tree: Tree, data: bytes, at: int, start: int, size: int, px: int = 0, tf: int = 0,
        kept: susp.Kept | None = None,
    ) -> None:  # fmt: skip
        self.id = node_id
        self.tree = tree
        self.data = data
        self.at = at
        self.start = start
        self.size = size
        self.px = px
        self.tf = tf
        self.kept = kept
        self.sections: tuple[Section, ...] = ()
        self.damage = ""

    def stat(self) -> Stat:
        return self._stat(self.size)

    def _stat(self, size: int, rdev: int = 0, allocated: int | None = None) -> Stat:
        mtime = atime = ctime = None
        if self.tf:
            mtime, atime, ctime = susp.times(self.data, self.tf)
        if mtime is None:
            mtime = self.tree.record_time(self.data, self.at)
        if not self.px:
            return Stat(self.plain_mode, size, mtime, atime, ctime, None, None, 1, rdev, allocated)
        mode, links, uid, gid = _PX.unpack_from(self.data, self.px + 4)
        return Stat(mode & 0o7777 | self.file_type, size, mtime, atime, ctime, uid, gid, links, rdev, allocated)

    def _check(self) -> None:
        if self.damage:
            raise FormatError(NAME, self.damage, offset=self.id)


class IsoFile(Recorded, File):
    """A file of one or several extents, plain or compressed by zisofs."""

    __slots__ = ()
    file_type = s.S_IFREG
    plain_mode = FILE_MODE

    def stat(self) -> Stat:
        if self.kept is None:
            return self._stat(self.size)
        if susp.SF in self.kept:
            return self._stat(self._sparse_size(self.kept[susp.SF][0]), allocated=self.size)
        if susp.ZF in self.kept:
            return self._stat(zisofs.compression(self.data, self.kept[susp.ZF][0]).size, allocated=self.size)
        return self._stat(self.size)

    def _sparse_size(self, position: int) -> int:
        if self.data[position + 2] < _SF_SIZE:
            return self.size
        high, low = _SF.unpack_from(self.data, position + 4)
        return int(high << 32 | low)

    def open(self) -> BlockDevice:
        self._check()
        if self.kept is None:
            return self._stored()
        if susp.SF in self.kept:
            raise UnsupportedError(f"{NAME}: Rock Ridge sparse file")
        if susp.ZF in self.kept:
            zf = zisofs.compression(self.data, self.kept[susp.ZF][0])
            return zisofs.open_compressed(self._stored(), zf, self.tree.cache) if zf.size else ZeroDevice(0)
        return self._stored()

    def _stored(self) -> BlockDevice:
        if not self.size:  # empty files have any extent
            return ZeroDevice(0)
        if not self.sections:
            return self.tree.slice(self.start, self.size)
        parts = [open_section(self.tree, part) for part in self.sections if part.size]
        return parts[0] if len(parts) == 1 else Concat.of(parts)


def open_section(tree: Tree, section: Section) -> BlockDevice:
    """The bytes of one extent. Raises ``UnsupportedError`` for what nobody is known to have written."""
    if not section.unit:
        return tree.slice(section.start, section.size)
    if section.xar:
        raise UnsupportedError(f"{NAME}: interleaved file with an extended attribute record")
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


class IsoSymlink(Recorded, Symlink):
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
        return susp.link_target(self.data, (self.kept or {}).get(susp.SL, []))


class IsoSpecial(Recorded, Special):
    """A device node, FIFO or socket: what kind, the mode in PX says."""

    __slots__ = ()

    def stat(self) -> Stat:
        facts = self._stat(0, self._device_number())
        (mode,) = _PX.unpack_from(self.data, self.px + 4)[:1]
        return facts._replace(mode=mode & 0xFFFF)

    file_type = 0
    plain_mode = 0

    def _device_number(self) -> int:
        fields = (self.kept or {}).get(susp.PN)
        if not fields or self.data[fields[0] + 2] < 20:
            return 0
        high, low = _PN.unpack_from(self.data, fields[0] + 4)
        if not high:  # writers with a 16-bit dev_t put all of it into the low word
            high, low = low >> 8, low & 0xFF
        return os.makedev(high & _MAJOR_MASK, low & _MINOR_MASK)


class IsoDirectory(Recorded, Directory):
    """A directory. ``ancestors`` are the block addresses of those above it, so that no directory holds itself."""

    __slots__ = ("ancestors",)
    file_type = s.S_IFDIR
    plain_mode = DIRECTORY_MODE
    ancestors: frozenset[int]

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
