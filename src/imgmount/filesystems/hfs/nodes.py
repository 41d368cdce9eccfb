"""Nodes of HFS: a catalog record each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from imgmount.core.device import BlockDevice
from imgmount.core.node import Directory, File, Node, Stat
from imgmount.families.apple import forks
from imgmount.families.apple.names import folded
from imgmount.families.apple.times import hfs_time_ns
from imgmount.filesystems.hfs.catalog import LOCKED, ROOT, Item

if TYPE_CHECKING:
    from imgmount.filesystems.hfs.volume import HfsVolume


class HfsNode(Node):
    """What all nodes share. ``id`` is the file or folder number."""

    __slots__ = ("_volume", "item")

    def __init__(self, volume: HfsVolume, item: Item) -> None:
        self._volume = volume
        self.item = item
        self.id = item.id

    def stat(self) -> Stat:
        return self.item.stat()

    def finder_info(self) -> bytes:
        """The Finder's 32 bytes; none where all are zero."""
        return self.item.finder if any(self.item.finder) else b""

    def resource_fork(self) -> BlockDevice | None:
        """Files alone have one."""
        return None

    def xattrs(self) -> Mapping[str, bytes]:
        found = forks.attributes(self.finder_info(), self.resource_fork())
        if self.item.created:
            seconds = hfs_time_ns(self.item.created, local=True) // 10**9
            found["user.hfs.birthtime"] = b"%d" % seconds
        if not self.item.is_folder and self.item.flags & LOCKED:
            found["user.hfs.flags"] = b"locked"
        return found


class HfsFile(HfsNode, File):
    """A file."""

    __slots__ = ()

    def open(self) -> BlockDevice:
        return self._volume.data_fork(self.item)

    def resource_fork(self) -> BlockDevice | None:
        return self._volume.resource_fork(self.item) if self.item.resource[0] else None

    def streams(self) -> Mapping[str, File]:
        return forks.streams(self)


class HfsDirectory(HfsNode, Directory):
    """A folder."""

    __slots__ = ("_place",)
    case_sensitive = False

    def __init__(self, volume: HfsVolume, item: Item, place: object) -> None:
        super().__init__(volume, item)
        self._place = place

    def fold(self, name: str) -> str:
        return folded(name)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        self._volume.places.claim(self.id, self._place)
        entries = self._volume.entries(self.id)
        return forks.listed(entries, self._volume.forks_choice, self if self.id == ROOT else None)
