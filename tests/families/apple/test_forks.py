"""How the second fork of a file and its Finder info are shown."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import pytest

from imgmount.core.device import BlockDevice
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Directory, File, Node, Stat
from imgmount.core.slices import MemoryDevice
from imgmount.families.apple import forks
from imgmount.families.apple.options import FORKS
from imgmount.vfs.vfs import Vfs

INFO = b"TEXTttxt" + bytes(24)


class MacFile(File):
    """A file with what is given."""

    def __init__(self, number: int, data: bytes, fork: bytes = b"", info: bytes = b"") -> None:
        self.id = number
        self._data, self._fork, self._info = data, fork, info

    def stat(self) -> Stat:
        return Stat(FILE_MODE, len(self._data), 77)

    def open(self) -> BlockDevice:
        return MemoryDevice(self._data)

    def finder_info(self) -> bytes:
        return self._info

    def resource_fork(self) -> BlockDevice | None:
        return MemoryDevice(self._fork) if self._fork else None

    def xattrs(self) -> Mapping[str, bytes]:
        return forks.attributes(self.finder_info(), self.resource_fork())

    def streams(self) -> Mapping[str, File]:
        return forks.streams(self)


class Folder(Directory):
    def __init__(self, number: int, nodes: dict[str, Node], choice: str, *, top: bool = False) -> None:
        self.id = number
        self._nodes, self._choice, self._top = nodes, choice, top

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE)

    def _scan(self) -> Iterable[tuple[str, Node]]:
        return forks.listed(self._nodes.items(), self._choice, self if self._top else None)


def tree(choice: str) -> Vfs:
    both = MacFile(3, b"data", b"fork" * 9, INFO)
    below = Folder(2, {"both": both, "plain": MacFile(4, b"plain")}, choice)
    top = Folder(1, {"below": below, "large": MacFile(5, b"", bytes(70_000))}, choice, top=True)
    return Vfs(top, {}, (), 0)


def content(vfs: Vfs, path: str) -> bytes:
    node = vfs.find(path)
    assert isinstance(node, File)
    device = node.open()
    assert node.stat().size == device.size
    return device.pread(0, 1 << 20)


@pytest.mark.parametrize("choice", FORKS.values)
def test_a_fork_is_found_below_its_file(choice: str) -> None:
    vfs = tree(choice)
    assert content(vfs, "/below/both/..namedfork/rsrc") == b"fork" * 9
    assert content(vfs, "/large/..namedfork/rsrc") == bytes(70_000)
    assert isinstance(vfs.find("/below/both/..namedfork"), Directory)
    assert vfs.find("/below/both/..namedfork/rsrc").stat().mtime_ns == 77
    for path, error in (
        ("/below/both/..namedfork/data", FileNotFoundError),
        ("/below/both/rsrc", FileNotFoundError),
        ("/below/plain/..namedfork/rsrc", NotADirectoryError),
    ):
        with pytest.raises(error):
            vfs.find(path)


def test_attributes_have_what_fits() -> None:
    vfs = tree("xattr")
    assert vfs.find("/below/both").xattrs() == {
        "user.com.apple.FinderInfo": INFO,
        "user.com.apple.ResourceFork": b"fork" * 9,
    }
    assert vfs.find("/below/plain").xattrs() == vfs.find("/large").xattrs() == {}
    assert sorted(path for path, _ in vfs.walk()) == ["/below", "/below/both", "/below/plain", "/large"]


def test_companions_are_appledouble_files() -> None:
    vfs = tree("appledouble")
    names = [path for path, _ in vfs.walk()]
    assert sorted(names) == ["/._large", "/below", "/below/._both", "/below/both", "/below/plain", "/large"]
    raw = content(vfs, "/below/._both")
    magic, version, _, count = struct.unpack_from(">II16sH", raw)
    assert (magic, version, count) == (0x51607, 0x20000, 2)
    entries = {number: raw[at : at + size] for number, at, size in struct.iter_unpack(">III", raw[26:50])}
    assert entries == {9: INFO, 2: b"fork" * 9}
    assert content(vfs, "/._large")[82:] == bytes(70_000)
    assert len({vfs.inode(path, node) for path, node in vfs.walk()}) == len(names)


def test_the_tree_of_forks_has_folders_for_files() -> None:
    vfs = tree("tree")
    files = {path: content(vfs, path) for path, node in vfs.walk("/..namedfork") if isinstance(node, File)}
    assert files == {
        "/..namedfork/below/both/..namedfork/rsrc": b"fork" * 9,
        "/..namedfork/large/..namedfork/rsrc": bytes(70_000),
    }
    assert len(list(vfs.walk())) == len({vfs.inode(path, node) for path, node in vfs.walk()})
