"""Numbers of nodes: the same each time, void when a folder reads differently, and none for what is not there."""

from __future__ import annotations

import errno
from collections.abc import Iterable

import pytest

from fake_tree import Fixed, Plain
from imgmount.core.node import Node
from imgmount.core.slices import MemoryDevice
from imgmount.fuse.inodes import Inodes
from imgmount.fuse.protocol import ROOT
from imgmount.vfs import vfs as vfs_module
from imgmount.vfs.vfs import Vfs


class Shuffling(Fixed):
    """It can be told to show its entries in another order, or fewer."""

    __slots__ = ("shown",)
    shown: list[str]

    def _scan(self) -> Iterable[tuple[str, Node]]:
        return [(name, self.nodes[name]) for name in self.shown]


class CaselessFolder(Fixed):
    __slots__ = ()
    case_sensitive = False


def files(count: int) -> dict[str, Node]:
    return {f"f{number}": Plain(10 + number, MemoryDevice(b"x" * number)) for number in range(count)}


@pytest.fixture
def moody() -> Shuffling:
    folder = Shuffling(2, files(4))
    folder.shown = list(folder.nodes)
    return folder


@pytest.fixture
def vfs(moody: Shuffling, monkeypatch: pytest.MonkeyPatch) -> Vfs:
    monkeypatch.setattr(vfs_module, "MAX_ENTRIES", 1)  # listings are read again and again
    root = Fixed(
        1, {"moody": moody, "caseless": CaselessFolder(3, files(3)), "file": Plain(4, MemoryDevice(b""))}
    )
    return Vfs(root, {}, [], 0)


def test_every_node_has_a_number_that_stays(vfs: Vfs) -> None:
    inodes = Inodes(vfs)
    assert inodes.node(ROOT) == ("", vfs.root)
    seen: dict[str, int] = {}
    for _ in range(2):
        for folder in ("moody", "caseless"):
            number, path, _ = inodes.lookup(ROOT, folder)
            assert path == f"/{folder}"
            for name in ("f0", "f1", "f2"):
                found, path, node = inodes.lookup(number, name)
                assert inodes.node(found) == (f"/{folder}/{name}", node) == (path, vfs.find(path))
                assert seen.setdefault(path, found) == found
    assert len(set(seen.values())) == len(seen) == 6


def test_a_name_in_another_case_is_the_same_node(vfs: Vfs) -> None:
    inodes = Inodes(vfs)
    folder = inodes.lookup(ROOT, "caseless")[0]
    assert inodes.lookup(folder, "F1") == inodes.lookup(folder, "f1")


def test_what_is_not_there(vfs: Vfs) -> None:
    inodes = Inodes(vfs)
    with pytest.raises(FileNotFoundError):
        inodes.lookup(ROOT, "nothing")
    with pytest.raises(NotADirectoryError):
        inodes.lookup(inodes.lookup(ROOT, "file")[0], "below")


@pytest.mark.parametrize("shown", [["f1", "f0", "f2", "f3"], ["f1", "f2", "f3"], ["f0"]])
def test_a_number_is_void_when_the_folder_reads_differently(
    vfs: Vfs, moody: Shuffling, shown: list[str]
) -> None:
    """As on a failing disk: another file's bytes must not be served."""
    inodes = Inodes(vfs)
    folder = inodes.lookup(ROOT, "moody")[0]
    before = {name: inodes.lookup(folder, name)[0] for name in moody.shown}
    moody.shown = shown
    vfs.listing("/caseless")  # the other listing is forgotten
    for number in before.values():
        with pytest.raises(OSError, match="differently") as failed:
            inodes.node(number)
        assert failed.value.errno == errno.ESTALE
    for name in shown:
        number, _, node = inodes.lookup(folder, name)
        assert inodes.node(number)[1] is node is moody.nodes[name]
        assert number not in before.values()
