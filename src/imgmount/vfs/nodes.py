"""Nodes that no file system has: the folder above the volumes, raw files, links by label and UUID."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from imgmount.core.device import BlockDevice
from imgmount.core.holes import allocated
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, SYMLINK_MODE, Directory, File, Node, Stat, Symlink
from imgmount.core.slices import Slice


class StaticDirectory(Directory):
    """A directory whose entries are known beforehand."""

    __slots__ = ("_mtime_ns", "_nodes")

    def __init__(self, number: int, nodes: Mapping[str, Node], mtime_ns: int) -> None:
        self.id = number
        self._nodes = nodes
        self._mtime_ns = mtime_ns

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE, mtime_ns=self._mtime_ns, nlink=2)

    def _scan(self) -> Iterable[tuple[str, Node]]:
        return self._nodes.items()

    @property
    def xattr_prefixes(self) -> tuple[str, ...]:
        return tuple({prefix for node in self._nodes.values() for prefix in node.xattr_prefixes})


class StreamFolder(Directory):
    """What lies below a file: its streams, or the folder of them. Only paths lead here, no listing."""

    __slots__ = ("_nodes", "_owner")

    def __init__(self, owner: File, nodes: Mapping[str, Node]) -> None:
        self.id = owner.id
        self._owner = owner
        self._nodes = nodes

    def stat(self) -> Stat:
        return self._owner.stat()._replace(mode=DIRECTORY_MODE, size=0, nlink=2, allocated=None)

    def _scan(self) -> Iterable[tuple[str, Node]]:
        return self._nodes.items()


class RawFile(File):
    """A device as a file. It stays open as long as the image."""

    __slots__ = ("_device", "_stat")

    def __init__(self, number: int, device: BlockDevice, mtime_ns: int) -> None:
        self.id = number
        self._device = device
        self._stat = Stat(FILE_MODE, device.size, mtime_ns, allocated=allocated(device))

    def stat(self) -> Stat:
        return self._stat

    def open(self) -> BlockDevice:
        return Slice(self._device, 0, self._device.size)  # which the caller may close, unlike the device


class StaticSymlink(Symlink):
    """A link to a volume."""

    __slots__ = ("_mtime_ns", "_target")

    def __init__(self, number: int, target: str, mtime_ns: int) -> None:
        self.id = number
        self._target = target
        self._mtime_ns = mtime_ns

    def stat(self) -> Stat:
        return Stat(SYMLINK_MODE, len(self._target.encode()), self._mtime_ns)

    def readlink(self) -> str:
        return self._target
