"""Files, folders, links as the rest of the program sees them.

A node knows its volume and its inode's number.
"""

from __future__ import annotations

import os
import stat as s
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from imgmount.core.device import BlockDevice
from imgmount.core.fields import build
from imgmount.core.node import SYMLINK_MODE, Directory, File, Node, Special, Stat, Symlink
from imgmount.core.xattrs import collect
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.apple import decmpfs, forks
from imgmount.filesystems.apfs import records as r
from imgmount.filesystems.apfs.numbers import number
from imgmount.filesystems.apfs.objects import NAME
from imgmount.filesystems.apfs.volume import Volume

if TYPE_CHECKING:
    from imgmount.filesystems.apfs.view import View

LINK: Final = "com.apple.fs.symlink"
FIRMLINK: Final = "com.apple.fs.firmlink"
# extended attributes that are shown in another way, or not at all
HIDDEN: Final = (LINK, decmpfs.ATTRIBUTE, forks.FINDER_INFO, forks.RESOURCE_FORK)
MAX_VALUE: Final = 64 << 10  # bytes of an attribute: as many as Linux allows
MAX_LINK: Final = 1 << 16

Find = Callable[[str], r.Attribute | None]  # the attribute of that name


class ApfsNode(Node):
    """What all nodes share."""

    __slots__ = ("_number", "_view")
    kinds: tuple[int, ...] = ()

    def __init__(self, view: View, inode: int) -> None:
        self._view = view
        self._number = inode
        self.id = number(view.space, inode)

    @property
    def _volume(self) -> Volume:
        return self._view.volume

    def inode(self) -> r.Inode:
        """The inode, of the kind that its directory says. Raises ``ImageError``."""
        inode = self._volume.inode(self._number)
        if s.S_IFMT(inode.mode) not in self.kinds:
            raise FormatError(
                NAME, f"inode {self._number} has the mode {inode.mode:#o}, its directory says otherwise"
            )
        return inode

    def stat(self) -> Stat:
        return stat_of(self.inode())

    def finder_info(self) -> bytes:
        """As ``forks.Forked`` has it."""
        return self._finder_info(self._attribute)

    def resource_fork(self) -> BlockDevice | None:
        """As ``forks.Forked`` has it. The fork of a compressed file holds its content and is none."""
        return self._resource_fork(self._attribute)

    def _attribute(self, name: str) -> r.Attribute | None:
        return self._volume.attribute(self._number, name)

    def _finder_info(self, find: Find) -> bytes:
        stored = find(forks.FINDER_INFO)
        info = self._value(stored) if stored is not None else self.inode().finder
        return info[: forks.FINDER_INFO_SIZE] if any(info) else b""

    def _resource_fork(self, find: Find) -> BlockDevice | None:
        stored = find(forks.RESOURCE_FORK)
        if stored is None or not stored.size:
            return None
        if (
            self.inode().bsd_flags & r.COMPRESSED
            and (header := self._compression(find)) is not None
            and header.uses_fork
        ):
            return None
        return self._volume.value(stored)

    def _compression(self, find: Find) -> decmpfs.Header | None:
        """How a file is compressed that has the flag for it; None without the attribute."""
        stored = find(decmpfs.ATTRIBUTE)
        return decmpfs.parse(self._value(stored)) if stored is not None else None

    def _value(self, attribute: r.Attribute) -> bytes:
        return self._volume.value(attribute).pread(0, MAX_VALUE)

    def xattrs(self) -> Mapping[str, bytes]:
        hidden: dict[str, r.Attribute] = {}  # the tree is searched once
        plain = collect(self._shown(hidden), NAME)
        fork = self._resource_fork(hidden.get)
        return plain | forks.attributes(self._finder_info(hidden.get), fork)

    def _shown(self, hidden: dict[str, r.Attribute]) -> Iterator[tuple[str, bytes]]:
        """The attributes that are shown as they are; the others go to ``hidden``."""
        for found in self._volume.attributes(self._number):
            if found.name in HIDDEN:
                hidden.setdefault(found.name, found)
            elif found.size <= MAX_VALUE:
                yield f"user.{found.name}", self._value(found)


def stat_of(inode: r.Inode) -> Stat:
    """What is known of an inode that is neither compressed nor a link."""
    # fmt: off
    (_, _, _, created, modified, changed, accessed, _, links, _, uid, gid,
     mode, size, allocated, rdev, _) = inode
    # fmt: on
    stored: int | None = allocated
    if not s.S_ISREG(mode):
        size, stored = 0, None
        links = links + 2 if s.S_ISDIR(mode) else links  # its entries, as macOS counts
    return build(
        Stat,
        (mode, size, modified, accessed, changed, uid, gid, links or 1, rdev, stored, created or None),
    )


def signed(time: int) -> int:
    """Nanoseconds since 1970, also before."""
    return time - (1 << 64) if time >> 63 else time


class ApfsFile(ApfsNode, File):
    """A regular file."""

    __slots__ = ()
    kinds = (s.S_IFREG,)

    def stat(self) -> Stat:
        inode = self.inode()
        stat = stat_of(inode)
        if not inode.bsd_flags & r.COMPRESSED:
            return stat
        try:
            header = self._compression(self._attribute)
            allocated = self._packed(header) if header is not None else 0
        except ImageError:  # which costs the content, not the name and its facts
            return stat
        return stat if header is None else stat._replace(size=header.size, allocated=allocated)

    def _packed(self, header: decmpfs.Header) -> int:
        """Bytes that a compressed file takes."""
        fork = self._attribute(forks.RESOURCE_FORK) if header.uses_fork else None
        return fork.size if fork is not None else len(header.data)

    def open(self) -> BlockDevice:
        inode = self.inode()
        if inode.bsd_flags & r.DATALESS:
            raise UnsupportedError(
                f"{NAME}: the content of inode {self._number} is not on the volume but in iCloud (dataless)"
            )
        if inode.bsd_flags & r.COMPRESSED:
            return self._decompressed()
        return self._volume.stream(inode.private, inode.size)

    def _decompressed(self) -> BlockDevice:
        header = self._compression(self._attribute)
        if header is None:
            raise FormatError(
                NAME, f"inode {self._number} is compressed and does not say how: no {decmpfs.ATTRIBUTE}"
            )
        stored = self._attribute(forks.RESOURCE_FORK) if header.uses_fork else None
        fork = self._volume.value(stored) if stored is not None else None
        return decmpfs.content(header, fork, self._volume.container.cache)

    def streams(self) -> Mapping[str, File]:
        return forks.streams(self)


class ApfsSymlink(ApfsNode, Symlink):
    """A symbolic link."""

    __slots__ = ()
    kinds = (s.S_IFLNK,)

    def stat(self) -> Stat:
        return super().stat()._replace(size=len(self._target()))

    def readlink(self) -> str:
        return self._target().decode("utf-8", "surrogateescape")

    def _target(self) -> bytes:
        stored = self._attribute(LINK)
        if stored is None:
            raise FormatError(NAME, f"the symbolic link in inode {self._number} has no target")
        if stored.size > MAX_LINK:
            raise FormatError(NAME, f"a symbolic link of {stored.size} bytes in inode {self._number}")
        return self._value(stored).split(b"\0", 1)[0]


class ApfsSpecial(ApfsNode, Special):
    """A device node, FIFO or socket."""

    __slots__ = ()
    kinds = (s.S_IFCHR, s.S_IFBLK, s.S_IFIFO, s.S_IFSOCK)


class Firmlink(ApfsNode, Symlink):
    """A folder of a system volume that stands for one of the data volume beside it: a link to there."""

    __slots__ = ("_target",)
    kinds = (s.S_IFDIR,)

    def __init__(self, view: View, inode: int, target: str) -> None:
        super().__init__(view, inode)
        self._target = target

    def stat(self) -> Stat:
        return super().stat()._replace(mode=SYMLINK_MODE, size=len(os.fsencode(self._target)), nlink=1)

    def readlink(self) -> str:
        return self._target


class ApfsDirectory(ApfsNode, Directory):
    """A directory, found in the directory ``parent``.

    Names that differ in their form, or where it is so in case, are one.
    """

    __slots__ = ("_parent",)
    kinds = (s.S_IFDIR,)
    case_sensitive = False  # ``fold`` has the last word

    def __init__(self, view: View, inode: int, parent: int, depth: int = 0) -> None:
        super().__init__(view, inode)
        self._parent = (parent, depth)

    def fold(self, name: str) -> str:
        return self._view.fold(name)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        return self.shown()

    def shown(self) -> Iterator[tuple[str, Node]]:
        """(name, node) of what is in it. Raises ``ImageError`` where it is damaged."""
        self._volume.owners.claim(self._number, self._parent[0])
        self.inode()
        top = self if self._number == r.ROOT else None
        yield from forks.listed(self._children(), self._view.forks, top)
        if top is not None:
            yield from self._view.beside_root()

    def _children(self) -> Iterator[tuple[str, Node]]:
        view, depth = self._view, self._parent[1]
        for entry in self._volume.entries(self._number):
            name = entry.name.decode("utf-8", "surrogateescape")
            if entry.kind != r.WHITEOUT:
                yield view.shown(name), self._node(entry, depth)

    def _node(self, entry: r.Entry, depth: int) -> Node:
        entry = entry if entry.kind else entry._replace(kind=self._kind(entry.inode))
        if entry.kind == s.S_IFDIR:
            target = self._view.firmlink(entry.inode, depth)
            if target is not None:
                return Firmlink(self._view, entry.inode, target)
            return ApfsDirectory(self._view, entry.inode, self._number, depth + 1)
        kind = (
            ApfsFile if entry.kind == s.S_IFREG else ApfsSymlink if entry.kind == s.S_IFLNK else ApfsSpecial
        )
        return kind(self._view, entry.inode)

    def _kind(self, inode: int) -> int:
        try:
            return s.S_IFMT(self._volume.inode(inode).mode)
        except ImageError:  # whose stat will say what is wrong
            return s.S_IFREG
