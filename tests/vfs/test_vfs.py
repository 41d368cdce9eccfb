"""Paths to nodes; listings that are kept, and dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fake_tree import Fixed, Plain, Torn
from imgmount.core.node import Directory, Node, as_file
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from imgmount.vfs import vfs as module
from imgmount.vfs.nodes import StaticDirectory
from imgmount.vfs.vfs import Vfs


class Counting(Fixed):
    """A directory that counts how often it is parsed."""

    __slots__ = ("scans",)

    def __init__(self, number: int, nodes: dict[str, Node]) -> None:
        super().__init__(number, nodes)
        self.scans = 0

    def _scan(self) -> list[tuple[str, Node]]:
        self.scans += 1
        return list(self.nodes.items())


def file(number: int) -> Plain:
    return Plain(number, MemoryDevice(bytes([number % 256])))


def over(root: Directory, spaces: dict[str, int] | None = None) -> Vfs:
    return Vfs(root, spaces or {}, [], 0)


def test_find_walks_down() -> None:
    deep = file(3)
    vfs = over(Fixed(0, {"a": Fixed(1, {"b": Fixed(2, {"c": deep})})}))
    assert vfs.find("/a/b/c") is deep
    assert vfs.find("/") is vfs.root
    with pytest.raises(FileNotFoundError, match="/a/x"):
        vfs.find("/a/x")
    with pytest.raises(NotADirectoryError):
        vfs.find("/a/b/c/d")
    with pytest.raises(IsADirectoryError):
        as_file(vfs.find("/a"), "/a")


def test_a_directory_is_parsed_once_as_long_as_it_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 10)
    files = {f"f{entry}": file(entry) for entry in range(4)}
    folders = {name: Counting(number, dict(files)) for number, name in enumerate("123")}
    vfs = over(Fixed(0, dict(folders)))
    for _ in range(3):
        vfs.find("/1/f0")
    assert folders["1"].scans == 1
    vfs.find("/2/f0")
    vfs.find("/3/f0")
    vfs.find("/1/f0")
    assert folders["1"].scans == 2, "the oldest listing was dropped to make room"


def test_the_folders_of_a_long_directory_do_not_push_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 10)
    monkeypatch.setattr(module, "LONG", 8)
    folders = {f"f{number}": Counting(number, {"a": file(number)}) for number in range(30)}
    long, other = Counting(40, dict(folders)), Counting(41, dict(folders))
    vfs = over(Fixed(0, {"long": long, "other": other}))
    for _ in range(2):
        for name, folder in folders.items():
            assert vfs.find(f"/long/{name}/a").id == folder.id
    assert long.scans == 1
    assert sum(folder.scans for folder in folders.values()) == 60, "of the short ones ten are kept"
    vfs.find("/other/f0")
    vfs.find("/long/f0")
    assert long.scans == 2, "another long one took its place"


def test_what_is_absent_from_a_damaged_directory_may_be_lost() -> None:
    vfs = over(Fixed(0, {"torn": Torn(1, {"kept": file(2), "lost": file(3)})}))
    assert vfs.find("/torn/kept").id == 2
    with pytest.raises(FormatError, match="torn"):
        vfs.find("/torn/lost")


def test_inode_numbers_differ_across_volumes_and_are_never_zero() -> None:
    one, two = Fixed(0, {"f": file(7)}), Fixed(0, {"f": file(7)})
    vfs = over(Fixed(1, {"p1": one, "p2": two}), {"p1": 1, "p2": 2})
    paths = ["/", "/p1", "/p2", "/p1/f", "/p2/f"]
    numbers = [vfs.inode(path, vfs.find(path)) for path in paths]
    assert len(set(numbers)) == len(numbers)
    assert all(0 < number < 1 << 64 for number in numbers)
    assert vfs.inode("/p2/f", two.nodes["f"]) == vfs.space("/p2/f") + 7 + 1


def test_names_are_found_in_any_case_where_the_filesystem_says_so() -> None:
    class Folding(Fixed):
        __slots__ = ()
        case_sensitive = False

    vfs = over(Folding(0, {"README.TXT": file(1), "Straße": file(2)}))
    assert vfs.find("/readme.txt").id == 1
    assert vfs.find("/STRASSE").id == 2
    with pytest.raises(FileNotFoundError):
        over(Fixed(0, {"README.TXT": file(1)})).find("/readme.txt")


def test_walk_passes_over_damage() -> None:
    vfs = over(Fixed(0, {"torn": Torn(1, {"kept": file(2), "lost": file(3)}), "z": file(4)}))
    assert [path for path, _ in vfs.walk()] == ["/torn", "/torn/kept", "/z"]


class Labelled(Fixed):
    """A directory of a filesystem with extended attributes of every kind."""

    __slots__ = ()

    @property
    def xattr_prefixes(self) -> tuple[str, ...]:
        return ("",)


def test_a_folder_of_volumes_has_the_attributes_of_each() -> None:
    folder = StaticDirectory(1, {"fat": Fixed(2, {}), "ext": Labelled(3, {})}, 0)
    assert set(folder.xattr_prefixes) == {"user.", ""}
    assert StaticDirectory(1, {"fat": Fixed(2, {})}, 0).xattr_prefixes == ("user.",)


def test_several_that_want_a_folder_at_once_have_it_read_once() -> None:
    begun, go_on = threading.Event(), threading.Event()
    reads: list[int] = []

    class Slow(Fixed):
        __slots__ = ()

        def _scan(self) -> Iterable[tuple[str, Node]]:
            reads.append(1)
            begun.set()
            assert go_on.wait(20)
            return self.nodes.items()

    vfs = over(Fixed(1, {"slow": Slow(2, {"file": file(3)})}))
    with ThreadPoolExecutor(8) as pool:
        listings = [pool.submit(vfs.listing, "/slow") for _ in range(8)]
        assert begun.wait(20)
        go_on.set()
        assert len({id(listing.result()) for listing in listings}) == 1
    assert len(reads) == 1


def test_a_folder_that_could_not_be_read_is_tried_again() -> None:
    class Moody(Fixed):
        __slots__ = ()
        fails = True

        def _scan(self) -> Iterable[tuple[str, Node]]:
            if Moody.fails:
                raise MemoryError
            return self.nodes.items()

    vfs = over(Fixed(1, {"moody": Moody(2, {"file": file(3)})}))
    with pytest.raises(MemoryError):
        vfs.listing("/moody")
    Moody.fails = False
    assert list(vfs.listing("/moody").nodes) == ["file"]
