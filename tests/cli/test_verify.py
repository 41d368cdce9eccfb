"""``verify``: what it finds, and that it finds nothing where there is nothing."""

from __future__ import annotations

import json
import lzma
import os
import time
from pathlib import Path

import pytest

from fake_tree import Broken, Fixed, Link, Plain, Torn
from helpers import FIXTURES
from imgmount.cli.main import main
from imgmount.cli.progress import Progress, clock
from imgmount.containers.nintendo.wux import WuxDevice
from imgmount.core.checks import Checked, Note
from imgmount.core.device import Extent
from imgmount.core.slices import Concat, MemoryDevice, Slice
from imgmount.errors import FormatError
from toy_formats import Maker

WUX = FIXTURES / "containers/wux/plain/game.wux"
E01 = FIXTURES / "containers/ewf/encase6/disk.E01.xz"


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
        "damaged: 4 problems",
    ]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(found)
    assert main(["verify", "--strict", "--no-read", path]) == 2
    found = [found[0], *found[2:], "disk, second opinion: they see /x"]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(found)


def test_a_file_that_is_all_unreadable_ends(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    path = make({"lie": Plain(2, Slice(MemoryDevice(b"x"), 1, 1 << 60))})
    assert main(["verify", path]) == 2
    assert capsys.readouterr().out.startswith(
        "disk: /lie: unreadable 0x0 to 0x1000000000000000 (not all of it was tried): data at 0x"
    )


def test_holes_are_not_read(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    hole, data = Extent(1 << 60), Extent(1, MemoryDevice(b"x"))
    torn = Extent(1, Slice(MemoryDevice(b""), 0, 1))
    path = make({"sparse": Plain(2, Concat([hole, data, hole])), "torn": Plain(3, Concat([hole, torn]))})
    assert main(["verify", path]) == 2
    line, _ = capsys.readouterr().out.splitlines()
    assert line.startswith("disk: /torn: unreadable 0x1000000000000000 to 0x1000000000000001: data at 0x")


def test_a_filesystem_that_does_not_open(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", make({}, failure=FormatError("made-up", "torn"))]) == 2
    assert capsys.readouterr().out == "disk: made-up: torn\ndamaged: 1 problem\n"


def test_a_layer_that_can_check_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(WuxDevice, "verify", lambda _: iter(["bad sum"]), raising=False)
    assert main(["verify", str(WUX)]) == 2
    assert capsys.readouterr().out == "wux: bad sum\ndamaged: 1 problem\n"


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


def evidence(folder: Path, *, damaged: bool = False) -> str:
    """An E01, with a byte changed in the middle of its chunks where it is to be ``damaged``."""
    data = bytearray(lzma.decompress(E01.read_bytes()))
    data[len(data) // 2] ^= 0x55 * damaged
    path = folder / ("damaged.E01" if damaged else "sound.E01")
    path.write_bytes(data)
    return str(path)


def test_stored_and_computed_hashes_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", evidence(tmp_path)]) == 0
    md5, sha1, verdict = capsys.readouterr().out.splitlines()
    assert md5.startswith("ewf: MD5 ")
    assert sha1.startswith("ewf: SHA-1 ")
    assert verdict == "ok"
    path = evidence(tmp_path, damaged=True)
    for more in ([], ["--on-error", "zero"]):  # zeros are for reading
        assert main(["verify", path, *more]) == 2
        out = capsys.readouterr().out
        assert "ewf: the stored MD5 " in out
        assert "disk.raw: unreadable 0x" in out
    assert main(["verify", "--no-read", path]) == 0
    assert capsys.readouterr().out == "ok\n"


def test_several_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, absent = str(WUX), evidence(tmp_path, damaged=True), str(tmp_path / "absent")
    assert main(["verify", good, absent]) == 1
    said = capsys.readouterr()
    assert said.out == f"{good}: ok\n"
    assert said.err == f"imgmount: {absent}: No such file or directory\n"
    assert main(["verify", bad, good, absent]) == 2
    out = capsys.readouterr().out
    assert f"{bad}: disk.raw: unreadable" in out
    assert f"{bad}: damaged: 2 problems\n{good}: ok\n" in out


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--json", evidence(tmp_path)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"]
    assert facts["problems"] == []
    assert [(one["where"], one["name"], one["agrees"]) for one in facts["checksums"]] == [
        ("ewf", "MD5", True),
        ("ewf", "SHA-1", True),
    ]
    absent = str(tmp_path / "absent")
    assert main(["verify", "--json", evidence(tmp_path, damaged=True), absent]) == 2
    first, second = json.loads(capsys.readouterr().out)
    assert not first["ok"]
    span = next(one for one in first["problems"] if one["start"] is not None)
    assert (span["where"], span["path"], span["end"] - span["start"]) == ("disk.raw", None, 32768)
    assert second["image"] == absent
    assert "error" in second


def test_notes_are_told_and_are_no_problems(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    path = make({}, problems=[Note("sector 5 was lost")])
    assert main(["verify", path]) == 0
    assert capsys.readouterr().out == "disk: sector 5 was lost\nok\n"
    assert main(["verify", "--json", path]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["notes"] == [{"where": "disk", "path": None, "note": "sector 5 was lost"}]


def test_many_checksums_are_counted(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    path = make({}, problems=[Checked(f"MD5 of /{number}", "00", "00") for number in range(20)])
    assert main(["verify", path]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[7:] == ["disk: MD5 of /7 00, stored and computed", "disk: 12 more checksums agree", "ok"]


def test_progress_has_a_rate_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    times = iter([0.0, 2.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    bar = Progress(0)
    bar.expect(100 << 20)
    bar.expect(5)  # in it
    bar.advance(25 << 20, "disk.raw")
    assert (
        "[######                  ]  25% 25.0 MiB, 12.5 MiB/s, 0:06 left disk.raw" in capsys.readouterr().err
    )
    assert [clock(5), clock(3723), clock(200_000)] == ["0:05", "1:02:03", "2.3 days"]
