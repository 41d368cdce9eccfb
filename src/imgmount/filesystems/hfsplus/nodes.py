"""Nodes of HFS+: a catalog record each. Hard links share the record that they lead to."""

from __future__ import annotations

import os
import stat as s
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from imgmount.core.device import BlockDevice
from imgmount.core.node import Directory, File, Node, Special, Stat, Symlink
from imgmount.core.xattrs import collect
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.apple import decmpfs, forks
from imgmount.families.apple.names import folded, unfolded
from imgmount.families.apple.times import hfs_time_ns
from imgmount.filesystems.hfsplus.catalog import HAS_FOLDER_COUNT, ROOT, Item
from imgmount.filesystems.hfsplus.header import NAME

if TYPE_CHECKING:
    from imgmount.filesystems.hfsplus.volume import HfsPlusVolume

MAX_LINK: Final = 1 << 16
MAX_NESTED: Final = 16  # links to folders inside each other
LINUX: Final = b"H+Lx"
_LINUX_MINOR, _MAC_MINOR = 20, 24  # bits of a minor device number
# of FXInfo, what Mac OS X keeps for itself: document id, date added, write generation
_HIDDEN: Final = bytes.fromhex("ff" * 16 + "00" * 8 + "ff" * 4 + "00" * 4)


class HfsPlusNode(Node):
    """What all nodes share. ``id`` is the catalog node number."""

    __slots__ = ("_volume", "item")

    def __init__(self, volume: HfsPlusVolume, item: Item) -> None:
        self._volume = volume
        self.item = item
        self.id = item.id

    def stat(self) -> Stat:
        item, volume = self.item, self._volume
        return item.stat(volume.blocks.size, item.links if volume.is_linked(item) else 1)

    def finder_info(self) -> bytes:
        """The Finder's 32 bytes, without what macOS does not show either; none where all are zero."""
        info = self.item.finder
        if self._volume.is_of_mac_os_x:
            info = bytes(map(int.__and__, info, _HIDDEN))
        return info if any(info) else b""

    def resource_fork(self) -> BlockDevice | None:
        """Files alone have one."""
        return None

    def xattrs(self) -> Mapping[str, bytes]:
        found = forks.attributes(self.finder_info(), self.resource_fork())
        found.update(collect(self._volume.attribute_values(self.item), NAME))
        if self.item.created:
            found["user.hfsplus.birthtime"] = b"%d" % (hfs_time_ns(self.item.created) // 10**9)
        if flags := self.item.admin_flags << 16 | self.item.owner_flags:
            found["user.hfsplus.flags"] = b"%#x" % flags
        return found


class HfsPlusFile(HfsPlusNode, File):
    """A regular file."""

    __slots__ = ("_header",)

    def __init__(self, volume: HfsPlusVolume, item: Item) -> None:
        super().__init__(volume, item)
        self._header: decmpfs.Header | None = None

    def header(self) -> decmpfs.Header | None:
        """How the file is compressed, None where it is not. Raises ``ImageError``."""
        if self.item.is_compressed and self._header is None:
            value = self._volume.attribute(self.item, decmpfs.ATTRIBUTE)
            if value is None:
                raise FormatError(NAME, f"compressed file {self.id} has no {decmpfs.ATTRIBUTE}")
            self._header = decmpfs.parse(value.pread(0, forks.MAX_ATTRIBUTE * 16))
        return self._header

    def stat(self) -> Stat:
        stat = super().stat()
        try:
            header = self.header()
        except ImageError:  # which costs the content, not the name and its facts
            return stat
        return stat if header is None else stat._replace(size=header.size)

    def open(self) -> BlockDevice:
        header = self.header()
        if header is None:
            return self._volume.data_fork(self.item)
        fork = self._volume.resource_fork(self.item) if header.uses_fork else None
        return decmpfs.content(header, fork, self._volume.cache)

    def resource_fork(self) -> BlockDevice | None:
        header = self.header()
        if self.item.resource.size == 0 or (header is not None and header.uses_fork):
            return None
        return self._volume.resource_fork(self.item)

    def streams(self) -> Mapping[str, File]:
        return forks.streams(self)


class HfsPlusSymlink(HfsPlusNode, Symlink):
    """A symbolic link: a file whose content is the target."""

    __slots__ = ()

    def finder_info(self) -> bytes:
        info = bytes(8) + super().finder_info()[8:]  # the type and creator that make it a link
        return info if any(info) else b""

    def readlink(self) -> str:
        size = self.item.data.size
        if size > MAX_LINK:
            raise FormatError(NAME, f"a symbolic link of {size} bytes (file {self.id})")
        target = self._volume.data_fork(self.item).pread(0, size)
        return target.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


class HfsPlusSpecial(HfsPlusNode, Special):
    """A device node, FIFO or socket."""

    __slots__ = ()

    def stat(self) -> Stat:
        is_device = self.item.format_bits in (s.S_IFCHR, s.S_IFBLK)
        shift = _LINUX_MINOR if self._volume.header.mounted_by == LINUX else _MAC_MINOR
        major, minor = divmod(self.item.special, 1 << shift)
        return super().stat()._replace(size=0, nlink=1, rdev=os.makedev(major, minor) if is_device else 0)


class BrokenLink(File):
    """A hard link whose target cannot be read: whatever is asked of it says why."""

    __slots__ = ("_reason",)

    def __init__(self, number: int, reason: ImageError) -> None:
        self.id = number
        self._reason = reason

    def stat(self) -> Stat:
        raise self._reason.again()

    def open(self) -> BlockDevice:
        raise self._reason.again()


class HfsPlusDirectory(HfsPlusNode, Directory):
    """A folder. ``through`` are the linked folders that the way here goes through."""

    __slots__ = ("_place", "_through")

    def __init__(
        self, volume: HfsPlusVolume, item: Item, place: object, through: tuple[int, ...] = ()
    ) -> None:
        super().__init__(volume, item)
        self._place = place
        self._through = through

    # names are found in both forms of Unicode: that takes a way to fold them also where case counts
    case_sensitive = False

    def fold(self, name: str) -> str:
        return unfolded(name) if self._volume.is_case_sensitive else folded(name)

    def stat(self) -> Stat:
        folders = self.item.folders if self.item.flags & HAS_FOLDER_COUNT else 0
        return self.item.stat(0, 2 + folders if folders < 1 << 31 else 2)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        if self.id in self._through[:-1] or len(self._through) > MAX_NESTED:
            raise UnsupportedError(f"{NAME}: folder {self.id} is linked into itself, or too deep")
        self._volume.places.claim(self.id, self._place)
        entries = self._volume.entries(self.id, self._through)
        top = self if self.id == ROOT else None
        return forks.listed(entries, self._volume.forks_choice, top)


def node_of(volume: HfsPlusVolume, item: Item, place: object, through: tuple[int, ...]) -> Node:
    """The node for a record that is no hard link."""
    bits = item.format_bits
    if bits == s.S_IFDIR:
        return HfsPlusDirectory(volume, item, place, through)
    if bits == s.S_IFLNK:
        return HfsPlusSymlink(volume, item)
    return HfsPlusFile(volume, item) if bits == s.S_IFREG else HfsPlusSpecial(volume, item)
