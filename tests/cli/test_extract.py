"""``extract``: everything arrives, and nothing arrives outside the folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_tree import PATTERN, YEAR_2001, Broken, Fixed, Link, Null, Plain, Torn
from imgmount.cli import progress
from imgmount.cli.main import main
from imgmount.core.device import Extent
from imgmount.core.node import Directory, Node, Stat
from imgmount.core.slices import Concat, MemoryDevice
from imgmount.errors import FormatError
from toy_formats import Maker

HOLE = 8 << 20


def file(number: int, content: bytes = b"", **facts: int) -> Plain:
    return Plain(number, MemoryDevice(content), **facts)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "new" / "out"


def extract(image: str, out: Path, *more: str) -> int:
    return main(["extract", image, "-C", str(out), *more])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def everything() -> dict[str, Node]:
    return {
        "big": file(2, PATTERN * 2 + b"odd"),
        "dir": Fixed(
            3, {"inner": file(4, b"inner", mode=stat.S_IFREG | 0o4777), "odd\n\udcff": file(5, b"x")}
        ),
        "link": Link(6, "/etc/passwd"),
        "holey": Plain(7, Concat([Extent(HOLE), Extent(65536, MemoryDevice(PATTERN)), Extent(HOLE)])),
        "same": file(8, b"same", nlink=2),
        "again": file(8, b"same", nlink=2),
        "empty": file(9),
    }


def test_everything_arrives(make: Maker, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract(make(everything()), out) == 0
    assert capsys.readouterr() == ("", "")
    assert (out / "big").read_bytes() == PATTERN * 2 + b"odd"
    assert names(out / "dir") == ["inner", "odd\n\udcff"]
    assert (out / "link").readlink() == Path("/etc/passwd")
    assert (out / "empty").stat().st_size == 0
    for path in (out / "big", out / "dir", out / "dir/inner"):
        assert path.stat().st_mtime_ns == YEAR_2001
    assert (out / "link").lstat().st_mtime_ns == YEAR_2001
    assert (out / "same").stat().st_ino == (out / "again").stat().st_ino


def test_holes_stay_holes(make: Maker, out: Path) -> None:
    assert extract(make(everything()), out, "/holey") == 0
    facts = (out / "holey").stat()
    assert facts.st_size == 2 * HOLE + 65536
    assert facts.st_blocks * 512 < HOLE
    assert (out / "holey").read_bytes() == bytes(HOLE) + PATTERN[:65536] + bytes(HOLE)


def test_modes_are_masked_unless_preserved(make: Maker, out: Path) -> None:
    path = make({"dir": ReadOnly(2, {"file": file(3, mode=stat.S_IFREG | 0o4777)})})
    assert extract(path, out) == 0
    assert stat.S_IMODE((out / "dir/file").stat().st_mode) == 0o750
    assert stat.S_IMODE((out / "dir").stat().st_mode) == 0o750, "it can be filled and removed"
    assert extract(path, out / "kept", "-p") == 0
    assert stat.S_IMODE((out / "kept/dir/file").stat().st_mode) == 0o4777
    assert stat.S_IMODE((out / "kept/dir").stat().st_mode) == 0o555


class ReadOnly(Fixed):
    __slots__ = ()

    def stat(self) -> Stat:
        return super().stat()._replace(mode=stat.S_IFDIR | 0o555)


@pytest.mark.skipif(os.geteuid() != 0, reason="root can give files away")
def test_root_preserves_owners_and_devices(make: Maker, out: Path) -> None:
    assert extract(make({"null": Null(2), "file": file(3, uid=1234, gid=5678)}), out, "-p") == 0
    facts = (out / "file").stat()
    assert (facts.st_uid, facts.st_gid) == (1234, 5678)
    assert stat.S_ISCHR((out / "null").stat().st_mode)
    assert (out / "null").stat().st_rdev == os.makedev(1, 3)


def test_devices_are_left_out(make: Maker, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract(make({"null": Null(2), "file": file(3)}), out) == 0
    assert capsys.readouterr().err == "imgmount: /null: device left out; as root, -p makes it\n"
    assert names(out) == ["file"]


def test_chosen_paths_keep_their_place(make: Maker, out: Path) -> None:
    deep = Fixed(2, {"mid": Fixed(3, {"a": file(4, b"a"), "b": file(5, b"b")}), "other": file(6)})
    path = make({"top": deep, "way": Link(7, "top/mid")})
    assert extract(path, out, "way/a", "/top/mid/a", "top/mid/b") == 0
    assert sorted(str(found.relative_to(out)) for found in out.rglob("*")) == [
        "top",
        "top/mid",
        "top/mid/a",
        "top/mid/b",
    ]
    assert extract(path, out / "two", "top/mid", "top/mid/a", "way") == 0
    assert names(out / "two") == ["top", "way"]


def test_the_raw_view(make: Maker, out: Path) -> None:
    path = make({})
    assert extract(path, out, "--view", "raw") == 0
    assert (out / "disk.raw").read_bytes() == Path(path).read_bytes()


def test_what_is_there_stays_unless_forced(
    make: Maker, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(
        {
            "dir": Fixed(2, {"a": file(3, b"new"), "b": file(4, b"new")}),
            "c": file(5, b"new"),
            "d": Fixed(6, {"e": file(7)}),
        }
    )
    (out / "dir").mkdir(parents=True)
    (out / "dir/a").write_text("old")
    (out / "d").write_text("a file where a folder goes")
    (out / "c").mkdir()
    assert extract(path, out) == 1
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"imgmount: {name}: File exists" for name in ("/c", "/d", "/dir/a")
    ]
    assert (out / "dir/a").read_text() == "old"
    assert (out / "dir/b").read_text() == "new"
    assert extract(path, out, "--force") == 1
    assert capsys.readouterr().err == "imgmount: /c: Is a directory\n"
    assert (out / "dir/a").read_text() == "new"
    assert names(out / "d") == ["e"]


class TestNothingLeavesTheFolder:
    def test_names_that_climb(self, make: Maker, out: Path, tmp_path: Path) -> None:
        path = make(
            {"..": Fixed(2, {"../evil": file(3)}), "../../evil": file(4), "/tmp/evil": file(5), ".": file(6)}
        )
        assert extract(path, out) == 0
        assert len(list(out.rglob("*"))) == 5
        assert names(tmp_path) == ["made up.img", "new"]

    @pytest.mark.parametrize("force", [[], ["--force"]])
    def test_a_link_and_a_folder_of_one_name(
        self, make: Maker, out: Path, tmp_path: Path, force: list[str]
    ) -> None:
        """entries() would rename the second; a directory that hides the clash from it must not get through either."""
        outside = tmp_path / "outside"
        outside.mkdir()
        path = make(
            {
                "one": Fixed(2, {"x": Link(3, str(outside))}),
                "two": Fixed(4, {"x": Fixed(5, {"evil": file(6)})}),
            }
        )
        assert extract(path, out, "/one") == 0
        (out / "one").rename(out / "two")  # the link is now where /two/x wants its folder
        assert extract(path, out, "/two", *force) == (0 if force else 1)
        assert names(outside) == []
        assert (out / "two/x").is_symlink() is not bool(force)

    @pytest.mark.parametrize("force", [[], ["--force"]])
    def test_links_that_were_there_before(
        self, make: Maker, out: Path, tmp_path: Path, force: list[str]
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "victim").write_text("precious")
        out.mkdir(parents=True)
        (out / "file").symlink_to(outside / "victim")
        (out / "fresh").symlink_to(outside / "new")
        (out / "dir").symlink_to(outside)
        path = make(
            {
                "file": file(2, b"evil"),
                "fresh": file(3, b"evil"),
                "dir": Fixed(4, {"victim": file(5, b"evil")}),
            }
        )
        assert extract(path, out, *force) == (0 if force else 1)
        assert extract(path, out, "/dir/victim", *force) == (0 if force else 1)
        assert (outside / "victim").read_text() == "precious"
        assert names(outside) == ["victim"]

    def test_the_folder_itself_may_be_a_link(self, make: Maker, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        assert extract(make({"file": file(2)}), tmp_path / "link") == 0
        assert names(tmp_path / "real") == ["file"]


class TestDamage:
    def test_costs_only_its_place(self, make: Maker, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        nodes: dict[str, Node] = {
            "broken": Plain(2, Broken()),
            "torn": Torn(3, {"kept": file(4, b"kept"), "lost": file(5)}),
            "unknown": NoStat(6, MemoryDevice(b"")),
            "nul": Link(7, "a\0b"),
            "whole": file(8, b"whole"),
        }
        assert extract(make(nodes), out) == 2
        assert capsys.readouterr().err.splitlines() == [
            "imgmount: /broken: fake: unreadable, at 0x10000",
            "imgmount: /torn: fake: the directory is torn, at 0x800",
            "imgmount: /unknown: fake: no stat",
            "imgmount: /nul: a link to 'a\\x00b', which no host can store",
        ]
        assert (out / "whole").read_text() == "whole"
        assert names(out) == ["torn", "whole"], "half a file would look like a whole one"
        assert names(out / "torn") == ["kept"]

    def test_a_directory_in_itself(self, make: Maker, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        nodes: dict[str, Node] = {}
        nodes["again"] = loop = Fixed(2, nodes)
        assert extract(make({"loop": loop}), out) == 2
        assert capsys.readouterr().err == "imgmount: /loop/again: a directory that holds itself\n"

    def test_a_very_deep_tree(self, make: Maker, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        deep: Directory = Fixed(10_000, {})
        for number in range(3000, 2, -1):
            deep = Fixed(number, {"d": deep})
        assert extract(make({"d": deep, "after": file(2)}), out) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert (out / "after").exists()

    def test_numbers_that_no_host_can_store(
        self, make: Maker, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert extract(make({"late": file(2, mtime_ns=1 << 100), "after": file(3)}), out) == 2
        assert names(out) == ["after"]
        assert len(capsys.readouterr().err.splitlines()) == 1

    def test_a_full_host_ends_it(
        self, make: Maker, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.pwrite", full)
        path = make({"a": file(2, b"a"), "b": file(3, b"b")})
        assert extract(path, out) == 1
        assert capsys.readouterr().err == f"imgmount: {path}: No space left on device\n"
        assert names(out) == []


class NoStat(Plain):
    __slots__ = ()

    def stat(self) -> Stat:
        raise FormatError("fake", "no stat")


def test_progress_is_drawn_on_a_terminal_only(
    make: Maker, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make({"big": file(2, PATTERN * 2)})
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    monkeypatch.setattr(progress, "INTERVAL", 0)
    assert extract(path, out) == 0
    said = capsys.readouterr().err
    assert "[############            ]  50% 1.0 MiB" in said
    assert "100% 2.0 MiB" in said
    assert said.endswith("\r\x1b[K")
