"""What is made before it is asked for, and that nothing is made for who does not walk."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from fake_tree import Fixed, Plain
from imgmount.core.node import Listing, Node
from imgmount.core.slices import MemoryDevice
from imgmount.fuse.inodes import Folder, Inodes
from imgmount.fuse.look_ahead import AHEAD, LookAhead
from imgmount.fuse.protocol import ROOT
from imgmount.fuse.replies import BATCH, Replies
from imgmount.vfs.vfs import Vfs


class Reader:
    """Reads folders as the kernel does. ``made`` are the batches that were made: (path, number)."""

    def __init__(self, root: Fixed) -> None:
        self.made: list[tuple[str, int]] = []
        self.inodes = Inodes(Vfs(root, {}, [], 0))
        self.ahead = LookAhead(self.inodes, self.replies_of)
        self._known: dict[Folder, Replies] = {}

    def replies_of(self, folder: Folder, listing: Listing) -> Replies:
        def pack(first: int, entries: Iterable[tuple[str, Node]]) -> list[bytes]:
            self.made.append((folder.path, first // BATCH))
            return [name.encode() for name, _ in entries]

        return self._known.setdefault(folder, Replies(listing.nodes, pack))

    def begin(self, path: str) -> Replies:
        """Read the first batch of a folder. Returns what reads the others."""
        number = ROOT
        for name in path.split("/")[1:]:
            number = self.inodes.lookup(number, name)[0]
        folder, listing = self.inodes.folder(number)
        replies = self.replies_of(folder, listing)
        if replies[0]:
            self.ahead.follow(folder, replies, 0)
        return replies

    def idle(self) -> None:
        while self.ahead.step():
            pass

    def read(self, path: str) -> None:
        """Read a folder that is one batch long, and let time pass."""
        replies = self.begin(path)
        assert not replies[1]
        self.idle()


def files(count: int) -> dict[str, Node]:
    return {f"f{number}": Plain(1000 + number, MemoryDevice(b"")) for number in range(count)}


@pytest.fixture
def tree() -> Reader:
    inner = {name: Fixed(20 + place, files(2)) for place, name in enumerate("xyz")}
    return Reader(
        Fixed(
            1, {"a": Fixed(2, files(3)), "f": files(1)["f0"], "b": Fixed(3, {**inner, **files(1)}), "c": Fixed(4, files(1))}
        )
    )  # fmt: skip


def test_the_rest_of_a_folder_is_made_up_to_a_limit() -> None:
    reader = Reader(Fixed(1, files(3 * AHEAD * BATCH)))
    reader.begin("")
    assert reader.made == [("", 0)]
    reader.idle()
    assert reader.made == [("", number) for number in range(AHEAD + 1)]


def test_a_short_folder_is_made_to_its_end_and_no_batch_twice() -> None:
    reader = Reader(Fixed(1, files(2 * BATCH + 1)))
    replies = reader.begin("")
    reader.idle()
    assert [len(replies[number]) for number in range(3)] == [BATCH, BATCH, 1]
    assert [number for _, number in reader.made if number < 3] == [0, 1, 2]


def test_a_walk_finds_the_next_folder_made(tree: Reader) -> None:
    tree.read("")
    tree.read("/a")  # the first in the folder was expected, so this is a walk
    assert ("/b", 0) in tree.made
    tree.read("/b")
    assert ("/b/x", 0) in tree.made
    for path, then in (("/b/x", "/b/y"), ("/b/y", "/b/z"), ("/b/z", "/c")):
        assert (then, 0) not in tree.made
        tree.read(path)
        assert (then, 0) in tree.made
    before = list(tree.made)
    tree.read("/c")
    assert [path for path, number in tree.made[len(before) :] if not number] == []


def test_who_does_not_walk_gets_no_folder_made(tree: Reader) -> None:
    for path in ("", "/c", "/b", "/a", "/b/z"):
        tree.read(path)
    assert {path for path, _ in tree.made} == {"", "/c", "/b", "/a", "/b/z"}
