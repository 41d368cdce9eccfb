"""Nodes of a SquashFS: a reference to an inode, read further when asked."""

from __future__ import annotations

import stat as s
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from imgmount.core.device import BlockDevice
from imgmount.core.fields import NS
from imgmount.core.node import Directory, File, Node, Special, Stat, Symlink
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.squashfs.content import content
from imgmount.filesystems.squashfs.inode import KINDS, Inode
from imgmount.filesystems.squashfs.superblock import NAME
from imgmount.filesystems.squashfs.xattrs import PREFIXES

if TYPE_CHECKING:
    from imgmount.filesystems.squashfs.volume import SquashVolume

MAX_DIRECTORY: Final = 256 << 20


class SquashNode(Node):
    """What all nodes share. ``id`` is the reference of the inode: 48 bits."""

    __slots__ = ("_kind", "_volume")

    def __init__(self, volume: SquashVolume, reference: int, kind: int) -> None:
        self._volume = volume
        self._kind = kind
        self.id = reference

    def inode(self) -> Inode:
        """The inode, of the kind that the directory says. Raises ``ImageError``."""
        inode = self._volume.inode(self.id)
        if inode.kind != self._kind:
            raise FormatError(
                NAME, f"inode {self.id:#x} has the mode {inode.mode:#o}, its directory says otherwise"
            )
        return inode

    def stat(self) -> Stat:
        inode = self.inode()
        owners = self._volume.owners
        time = inode.time * NS
        allocated = max(0, inode.size - inode.holes) if inode.holes else None
        try:
            owner, group = owners[inode.owner], owners[inode.group]
        except IndexError as exc:
            raise FormatError(NAME, f"owner {inode.owner} or group {inode.group} of {len(owners)}") from exc
        return Stat(
            inode.mode, inode.size, time, time, time, owner, group, inode.links, inode.rdev, allocated
        )

    def xattrs(self) -> Mapping[str, bytes]:
        return self._volume.xattrs(self.inode().attributes)

    @property
    def xattr_prefixes(self) -> tuple[str, ...]:
        return PREFIXES if self._volume.super.has_xattrs else ()


class SquashFile(SquashNode, File):
    """A regular file."""

    __slots__ = ()

    def open(self) -> BlockDevice:
        return content(self._volume, self.inode())


class SquashSymlink(SquashNode, Symlink):
    """A symbolic link."""

    __slots__ = ()

    def readlink(self) -> str:
        inode = self.inode()
        return self._volume.metadata.read(*inode.place, inode.size).decode("utf-8", "surrogateescape")


class SquashSpecial(SquashNode, Special):
    """A device node, FIFO or socket."""

    __slots__ = ()


class SquashDirectory(SquashNode, Directory):
    """A directory."""

    __slots__ = ("_place",)

    def __init__(self, volume: SquashVolume, reference: int, place: tuple[int, int]) -> None:
        super().__init__(volume, reference, s.S_IFDIR)
        self._place = place  # (directory, position in it) that it was found at

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume, inode = self._volume, self.inode()
        volume.places.claim(self.id, self._place)
        if inode.size > MAX_DIRECTORY:
            raise FormatError(NAME, f"a directory of {inode.size} bytes")
        data, damage = self._read(inode)
        try:
            for at, reference, kind, name in volume.entries(data):
                yield name.decode("utf-8", "surrogateescape"), self._node(reference, kind, at)
        except FormatError as exc:
            damage = damage or exc
        if damage is not None:
            raise damage

    def _read(self, inode: Inode) -> tuple[bytes, ImageError | None]:
        """The entries, as far as they can be read, and what ended them."""
        metadata = self._volume.metadata
        start = self._volume.super.directory_table + inode.start
        try:
            return metadata.read(start, inode.offset, inode.size) if inode.size else b"", None
        except ImageError as exc:
            try:
                return metadata.block(start)[inode.offset : inode.offset + inode.size], exc
            except ImageError:
                return b"", exc

    def _node(self, reference: int, kind: int, at: int) -> Node:
        mode = KINDS[kind]
        if mode == s.S_IFDIR:
            return SquashDirectory(self._volume, reference, (self.id, at))
        node = SquashFile if mode == s.S_IFREG else SquashSymlink if mode == s.S_IFLNK else SquashSpecial
        return node(self._volume, reference, mode)
