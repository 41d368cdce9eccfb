"""The folders that no volume has: of all volumes, and in place of one that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from imgmount.core.node import DIRECTORY_MODE, Directory, Node, Stat
from imgmount.errors import ImageError
from imgmount.filesystems.apfs import records as r
from imgmount.filesystems.apfs.nodes import signed
from imgmount.filesystems.apfs.numbers import number


class VolumesFolder(Directory):
    """The folder of the volumes."""

    __slots__ = ("_entries", "_time")

    def __init__(self, entries: Mapping[str, Node], time: int) -> None:
        self.id = number(0, r.ROOT_PARENT)
        self._entries = entries
        self._time = time

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE, mtime_ns=signed(self._time), nlink=2)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        return iter(self._entries.items())


class LockedVolume(Directory):
    """A volume that cannot be read: listing it raises the reason."""

    __slots__ = ("_reason", "_time")

    def __init__(self, space: int, reason: ImageError, time: int) -> None:
        self.id = number(space, r.ROOT)
        self._reason = reason
        self._time = time

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE, mtime_ns=signed(self._time), nlink=2)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        raise self._reason.again()
