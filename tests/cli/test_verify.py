"""``verify``: what it finds, and that it finds nothing where there is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_tree import Broken, Fixed, Link, Plain, Torn
from helpers import FIXTURES
from imgmount.cli.main import main
from imgmount.containers.nintendo.wux import WuxDevice
from imgmount.core.device import Extent
from imgmount.core.slices import Concat, MemoryDevice, Slice
from imgmount.errors import FormatError
from toy_formats import Maker

WUX = FIXTURES / "containers/wux/plain/game.wux"


def test_ok(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(WUX)]) == 0
    path = make({"a": Plain(2, MemoryDevice(b"a")), "link": Link(3, "a")})
    assert main(["verify", "--strict", path]) == 0
    assert capsys.readouterr().out == "ok\nok\n"


def test_problems(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = {
        "broken": Plain(2, Broken()),
        "dir": Fixed(
            3, {"torn": Torn(4, {"kept": Plain(5, MemoryDevice(b"")), "lost": Plain(6, MemoryDevice(b""))})}
        ),
        "short": Plain(7, MemoryDevice(b"abc"), size=4),
    }
    path = make(nodes, problems=["the second table differs"], opinions=["they see /x"])
    assert main(["verify", path]) == 2
    found = [
        "disk: the second table differs",
        "disk: /broken: unreadable 0x10000 to 0x20000: fake: unreadable, at 0x10000",
        "disk: /dir/torn: fake: the directory is torn, at 0x800",
        "disk: /short: 3 bytes, where 4 are promised",
    ]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(found)
    assert main(["verify", "--strict", "--no-read", path]) == 2
    found = [found[0], *found[2:], "disk, second opinion: they see /x"]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(found)


def test_a_file_that_is_all_unreadable_ends(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    path = make({"lie": Plain(2, Slice(MemoryDevice(b"x"), 1, 1 << 60))})
    assert main(["verify", path]) == 2
    assert capsys.readouterr().out.startswith(
        "disk: /lie: unreadable 0x0 to 0x1000000, the rest was not tried: data at 0x"
    )


def test_holes_are_not_read(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    hole, data = Extent(1 << 60), Extent(1, MemoryDevice(b"x"))
    torn = Extent(1, Slice(MemoryDevice(b""), 0, 1))
    path = make({"sparse": Plain(2, Concat([hole, data, hole])), "torn": Plain(3, Concat([hole, torn]))})
    assert main(["verify", path]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("disk: /torn: unreadable 0x1000000000000000 to 0x1000000000000001: data at 0x")


def test_a_filesystem_that_does_not_open(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", make({}, failure=FormatError("made-up", "torn"))]) == 2
    assert capsys.readouterr().out == "disk: made-up: torn\n"


def test_a_layer_that_can_check_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(WuxDevice, "verify", lambda _: iter(["bad sum"]), raising=False)
    assert main(["verify", str(WUX)]) == 2
    assert capsys.readouterr().out == "wux: bad sum\n"


def test_the_unreadable_end_of_a_truncated_container(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short.wux"
    short.write_bytes(WUX.read_bytes()[:-32768])
    assert main(["verify", str(short)]) == 2
    out = capsys.readouterr().out
    assert "disk.raw: unreadable 0x" in out
    assert "past the end of the file" in out


def test_a_missing_library_is_the_hosts_fault(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    path = make({}, library=False)
    assert main(["verify", path]) == 0
    assert main(["verify", "--strict", path]) == 1
    assert capsys.readouterr() == ("ok\n", f"imgmount: {path}: the second opinion needs a library\n")
