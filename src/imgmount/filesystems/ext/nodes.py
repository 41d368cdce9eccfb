"""Nodes of an ext filesystem: a number, read further when asked."""

from __future__ import annotations

import base64
import stat as s
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from imgmount.core.device import BlockDevice
from imgmount.core.node import Directory, File, Node, Special, Stat, Symlink
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.ext.directory import UNKNOWN, entries
from imgmount.filesystems.ext.inode import ENCRYPT, Inode
from imgmount.filesystems.ext.superblock import NAME

if TYPE_CHECKING:
    from imgmount.filesystems.ext.volume import ExtVolume

MAX_DIRECTORY: Final = 256 << 20
MAX_LINK: Final = 1 << 16
_SPAN: Final = 1 << 18  # bytes of a directory read at a time
_INLINE_PARENT: Final = 4  # bytes: the number of the parent, in place of . and ..


class ExtNode(Node):
    """What all nodes share. ``id`` is the inode number."""

    __slots__ = ("_volume",)
    kinds: ClassVar[tuple[int, ...]] = ()

    def __init__(self, volume: ExtVolume, number: int) -> None:
        self._volume = volume
        self.id = number

    def inode(self) -> Inode:
        """The inode, of the kind that the directory says. Raises ``ImageError``."""
        inode = self._volume.inode(self.id)
        if inode.kind not in self.kinds:
            raise FormatError(NAME, f"inode {self.id} has the mode {inode.mode:#o}, its directory says otherwise")
        return inode

    def stat(self) -> Stat:
        return self.inode().stat

    def xattrs(self) -> Mapping[str, bytes]:
        return self._volume.xattrs(self.inode())


class ExtFile(ExtNode, File):
    """A regular file."""

    __slots__ = ()
    kinds = (s.S_IFREG,)

    def open(self) -> BlockDevice:
        inode = self.inode()
        if inode.flags & ENCRYPT:
            raise UnsupportedError(f"{NAME}: an encrypted file (inode {self.id})")
        return self._volume.content(inode)


class ExtSymlink(ExtNode, Symlink):
    """A symbolic link."""

    __slots__ = ()
    kinds = (s.S_IFLNK,)

    def readlink(self) -> str:
        inode = self.inode()
        if inode.flags & ENCRYPT:
            raise UnsupportedError(f"{NAME}: an encrypted symbolic link (inode {self.id})")
        if inode.size > MAX_LINK:
            raise FormatError(NAME, f"a symbolic link of {inode.size} bytes (inode {self.id})")
        return self._volume.link_target(inode).decode("utf-8", "surrogateescape")


class ExtSpecial(ExtNode, Special):
    """A device node, FIFO or socket."""

    __slots__ = ()
    kinds = (s.S_IFCHR, s.S_IFBLK, s.S_IFIFO, s.S_IFSOCK)

    def stat(self) -> Stat:
        return self.inode().stat._replace(size=0)


class ExtDirectory(ExtNode, Directory):
    """A directory. Indexed ones are read like the others: the index hides in entries that are not in use."""

    __slots__ = ("_place",)
    kinds = (s.S_IFDIR,)

    def __init__(self, volume: ExtVolume, number: int, place: tuple[int, int]) -> None:
        super().__init__(volume, number)
        self._place = place  # (directory, position) that it was found at

    def _scan(self) -> Iterator[tuple[str, Node]]:
        inode = self.inode()
        self._volume.owners.claim(self.id, self._place)
        encrypted = bool(inode.flags & ENCRYPT)
        damage: ImageError | None = None
        base = 0
        for piece in self._pieces(inode):
            if isinstance(piece, ImageError):
                damage = damage or piece
                continue
            try:
                for at, number, kind, name in entries(piece, self._volume.block_size, has_kind=self._volume.has_kind):
                    node = self._node(number, kind, (self.id, base + at))
                    yield _encoded(name) if encrypted else name.decode("utf-8", "surrogateescape"), node
            except ImageError as exc:
                damage = damage or exc
            base += len(piece)
        if damage is not None:
            raise damage

    def _pieces(self, inode: Inode) -> Iterator[bytes | ImageError]:
        """The bytes of the directory, in blocks or in longer runs; what is wrong with those that cannot be read."""
        volume = self._volume
        if volume.is_inline(inode):
            head, rest = volume.inline(inode)
            yield head[_INLINE_PARENT:]
            yield rest
            return
        if inode.size > MAX_DIRECTORY:
            yield FormatError(NAME, f"a directory of {inode.size} bytes (inode {self.id})")
            return
        content = volume.content(inode)
        step = max(_SPAN, volume.block_size)
        for start in range(0, content.size, step):
            try:
                yield content.pread(start, step)
            except ImageError:
                for block in range(start, min(start + step, content.size), volume.block_size):
                    try:
                        yield content.pread(block, volume.block_size)
                    except ImageError as exc:
                        yield exc

    def _node(self, number: int, kind: int, place: tuple[int, int]) -> Node:
        if kind == UNKNOWN:
            try:
                kind = self._volume.inode(number).kind
            except ImageError:
                kind = s.S_IFREG  # whose stat will say what is wrong
        if kind == s.S_IFDIR:
            return ExtDirectory(self._volume, number, place)
        node = ExtFile if kind == s.S_IFREG else ExtSymlink if kind == s.S_IFLNK else ExtSpecial
        return node(self._volume, number)


def _encoded(name: bytes) -> str:
    """An encrypted name in letters that a path may have."""
    return base64.urlsafe_b64encode(name).decode("ascii").rstrip("=")
