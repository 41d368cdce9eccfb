"""``ls``, ``info``, ``formats`` and ``list``: what they print."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import termios
import time
from pathlib import Path

import pytest

from fake_tree import Fixed, Link, Null, Plain, Torn
from helpers import FIXTURES, tool
from imgmount.cli import columns, text
from imgmount.cli.list import live_mounts
from imgmount.cli.main import main
from imgmount.core.node import Directory, Node
from imgmount.core.printable import printable
from imgmount.core.slices import MemoryDevice
from imgmount.fuse import mountpoint
from toy_formats import Maker

WUX = str(FIXTURES / "containers/wux/plain/game.wux")


def file(number: int, content: bytes = b"", **facts: int) -> Plain:
    return Plain(number, MemoryDevice(content), **facts)


@pytest.fixture
def path(make: Maker, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    below = Fixed(4, {"inner": file(5, b"12345"), ".hidden": file(6), "deep": Fixed(7, {"end": file(8)})})
    return make({
        "a.txt": file(2, b"abc", uid=10, gid=20),
        "odd\n\x1b\udcff": file(3),
        "dir": below,
        "link": Link(9, "dir/deep"),
        "null": Null(10),
    })  # fmt: skip


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_names(path: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["ls", path]) == 0
    assert capfdbinary.readouterr().out == b"a.txt\ndir\nlink\nnull\nodd\n\x1b\xff\n"
    assert main(["ls", path, "/dir", "-a"]) == 0
    assert capfdbinary.readouterr().out == b".hidden\ndeep\ninner\n"


def test_a_terminal_gets_no_escapes(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["ls", "-1", path]) == 0
    assert lines(capsys)[-1] == r"odd\n\x1b\xff"


def test_long(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "-l", path, "a.txt", "link", "null"]) == 0
    assert [re.sub(" +", " ", line) for line in lines(capsys)] == [
        "-rw-r----- 1 10 20 3 2001-01-01 00:00:00 /a.txt",
        f"lrwxrwxrwx 1 {os.getuid()} {os.getgid()} 8 2001-01-01 00:00:00 /link -> dir/deep",
        f"crw-rw-rw- 1 {os.getuid()} {os.getgid()} 1, 3 1970-01-01 00:00:00 /null",
    ]


def test_sizes_for_people(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    path = make({"small": file(2, b"abc"), "large": file(3, bytes(1500)), "null": Null(10)})
    assert main(["ls", "-lhSr", path]) == 0
    assert [line.split()[4:5] + line.split()[-1:] for line in lines(capsys)] == [
        ["1,", "null"], ["3", "small"], ["1.5K", "large"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("-1", ".d A b C"),
        ("-1r", "C b A .d"),
        ("-1S", ".d C b A"),
        ("-1Sr", "A b C .d"),
        ("-1t", "A b C .d"),
        ("-1tr", ".d C b A"),
    ],
)
def test_order(make: Maker, letters: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    times = {".d": 1, "b": 2, "C": 2, "A": 3}
    sizes = {"A": 1, "b": 2, "C": 3, ".d": 4}
    path = make({
        name: file(number, bytes(sizes[name]), mtime_ns=times[name])
        for number, name in enumerate(("C", ".d", "A", "b"), 2)
    })  # fmt: skip
    assert main(["ls", f"{letters}A", path]) == 0
    assert lines(capsys) == expected.split()


def test_folders_themselves(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "-d", path, "/", "dir", "link"]) == 0
    assert lines(capsys) == ["/", "/dir", "/link"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["/a.txt"]),
        ("/d*/i[a-n]ner", ["/dir/inner"]),
        ("dir/*", ["/dir/inner", "", "/dir/deep:", "end"]),
        ("*/.h*", ["/dir/.hidden"]),
        ("link/e?d", ["/dir/deep/end"]),
        ("[[]x]", ["/[x]"]),
        ("[x]", ["/[x]"]),
        ("*gone", ["/gone"]),
    ],
)
def test_patterns(make: Maker, pattern: str, expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    below = Fixed(4, {"inner": file(5), ".hidden": file(6), "deep": Fixed(7, {"end": file(8)})})
    nodes = {"a.txt": file(2), "dir": below, "link": Link(9, "dir/deep"), "gone": Link(12, "nowhere")}
    path = make({**nodes, "[x]": file(10), "x": file(11)})
    assert main(["ls", path, pattern]) == 0
    assert lines(capsys) == expected


def test_a_pattern_that_matches_nothing_is_an_error(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("ls", "cat", "extract"):
        assert main([command, path, "*.iso"]) == 1
        assert capsys.readouterr() == ("", "imgmount: *.iso: No such file or directory\n")


def test_patterns_of_other_commands(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cat", path, "d*/in*", "*.txt"]) == 0
    assert capsys.readouterr().out == "12345abc"
    assert main(["extract", path, "d*/in*", "*.txt", "-C", str(tmp_path / "out")]) == 0
    assert sorted(one.name for one in (tmp_path / "out").rglob("*") if one.is_file()) == ["a.txt", "inner"]


def test_columns_on_a_terminal(make: Maker) -> None:
    names = ["a", "bb", "日本", "long name", "x", "y", "z"]
    make({name: file(number) for number, name in enumerate(names, 2)})
    terminal, ours = pty.openpty()
    termios.tcsetwinsize(ours, (24, 24))
    stdout = os.dup(1)
    try:
        os.dup2(ours, 1)
        with os.fdopen(os.dup(1), "w") as stream, contextlib.redirect_stdout(stream):
            assert main(["ls", str(make.path)]) == 0
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(ours)
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as screen:
        while part := screen.read(4096):  # until it is closed
            shown += part
    assert shown.decode().replace("\r\n", "\n") == "a   long name  y  日本\nbb  x          z\n"


@pytest.mark.parametrize("width", [1, 10, 30, 79, 80, 200])
def test_columns_are_those_of_ls(width: int, tmp_path: Path) -> None:
    names = sorted(
        ["a", "日本", "e\u0301", "ends", *(f"{number:x}" * (number % 9 + 1) for number in range(60))]
    )
    for name in names:
        (tmp_path / name).touch()
    command = [tool("ls"), "-C", "-T0", f"-w{width}", "-d", "-U", "--", *names]
    environment = {"LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert list(columns.in_columns(names, width)) == done.stdout.splitlines()
    assert list(columns.in_columns([], width)) == []


def test_recursive(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "-R", path, "dir"]) == 0
    assert lines(capsys) == ["/dir:", "deep", "inner", "", "/dir/deep:", "end"]


def test_several(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", path, "dir", "a.txt", "link"]) == 0
    assert lines(capsys) == ["/a.txt", "", "/dir:", "deep", "inner", "", "/dir/deep:", "end"]


@pytest.mark.parametrize(
    "name", ["dir/deep/end", "/link/end", "link/../deep/end", "./dir//deep/./end", "../../dir/deep/end"]
)
def test_paths_as_in_a_shell(path: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", path, name]) == 0
    assert lines(capsys) == ["/dir/deep/end"]


def test_a_link_to_itself_ends(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cat", make({"loop": Link(2, "loop")}), "loop"]) == 1
    assert capsys.readouterr().err == "imgmount: loop: Too many levels of symbolic links\n"


def test_json(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "-R", "-a", "--json", path]) == 0
    facts = {entry["path"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert len(facts) == 9
    assert facts["/a.txt"] == {
        "path": "/a.txt", "type": "file", "mode": 0o640, "size": 3, "mtime_ns": 978_307_200_123_456_789,
        "uid": 10, "gid": 20, "nlink": 1, "id": 2,
    }  # fmt: skip
    assert facts["/link"]["target"] == "dir/deep"
    assert facts["/null"]["device"] == [1, 3]
    assert facts["/odd\n\x1b\udcff"]["type"] == "file"


def test_damage_is_told_and_the_rest_listed(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    path = make({"torn": Torn(2, {"kept": file(3), "lost": file(4)}), "whole": file(5)})
    assert main(["ls", "-R", path]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == ["/:", "torn", "whole", "", "/torn:", "kept"]
    assert err == "imgmount: /torn: fake: the directory is torn, at 0x800\n"


def test_a_directory_in_itself_ends(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    nodes: dict[str, Node] = {"file": file(3)}
    loop = Fixed(2, nodes)
    nodes["again"] = loop
    assert main(["ls", "-R", make({"loop": loop})]) == 2
    assert capsys.readouterr().err == "imgmount: /loop/again: a directory that holds itself\n"


def test_a_very_deep_tree_ends(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    deep: Directory = Fixed(10_000, {})
    for number in range(3000, 2, -1):
        deep = Fixed(number, {"d": deep})
    assert main(["ls", "-R", path := make({"d": deep})]) == 2
    assert "500 levels deep" in capsys.readouterr().err
    assert main(["ls", path, "/".join("d" * 2900)]) == 0


def test_info(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", path]) == 0
    assert lines(capsys) == [
        "file > made-up",
        "file: file, 4.0 KiB (4096 bytes)",
        "disk: 4.0 KiB (4096 bytes)",
        "  made-up: made up",
        "    label: LABEL",
        "    fact: yes",
        f"opened: {os.path.realpath(path)}",
    ]


def test_info_as_json(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json", path]) == 0
    facts = json.loads(capsys.readouterr().out)
    documented = (Path(__file__).parents[2] / "docs" / "info-json.md").read_text()
    for name in [*facts, *facts["layers"][0], *facts["volumes"][0], *facts["volumes"][0]["filesystem"]]:
        assert f"`{name}`" in documented
    told = {"name": "made-up", "title": "made up", "label": "LABEL", "uuid": "", "info": {"fact": "yes"}}
    assert facts["volumes"][0]["filesystem"] == told
    assert (facts["schema"], facts["partition_table"], facts["files"]) == (1, None, [os.path.realpath(path)])


def test_info_names_the_other_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        (tmp_path / f"disk.00{number}").write_bytes(b"x" * 1000)
    assert main(["info", str(tmp_path / "disk.001")]) == 0
    said = lines(capsys)
    assert said[1] == "file: file, 2.9 KiB (3000 bytes)"
    assert said[-3:] == [f"opened: {tmp_path}/disk.00{number}" for number in (1, 0, 2)]


def test_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats"]) == 0
    table = lines(capsys)
    assert any(re.match(r"wux +\.wux +Wii U", line) for line in table)
    assert max(map(len, table)) <= 100
    assert main(["formats", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {fact["name"] for fact in facts} <= {line.partition(" ")[0] for line in table}
    assert {"name", "kind", "title", "views", "extensions", "checks", "limits", "options", "extra"} == set(
        facts[0]
    )


@pytest.mark.parametrize("name", ["wia", "rvz", ".RVZ"])
def test_one_format_by_its_name_or_its_files(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats", name]) == 0
    assert lines(capsys) == [
        "wia: GameCube or Wii disc image, WIA or RVZ (container)",
        "files:   .wia .rvz",
        "verify:  reads every byte, checks SHA-1 of headers, tables and purged data",
    ]


def test_several_formats_that_a_name_may_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats", "wbfs", "joliet"]) == 0
    told = lines(capsys)
    assert [line.partition(":")[0] for line in told if re.match("[a-z0-9]+: .*\\)$", line)] == [
        *("wbfs", "wbfs", "iso9660")
    ]
    assert "views:   --fs rockridge, joliet, iso" in told
    assert any(line.startswith("option:  -X xa=form2|raw|cooked: ") for line in told)
    assert main(["formats", "wiiu"]) == 0
    assert "needs:   pip install 'imgmount[crypto]'" in lines(capsys)


def test_a_format_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats", "nope"]) == 1
    assert "no format is called 'nope'" in capsys.readouterr().err


def test_the_page_of_formats_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats", "--markdown"]) == 0
    page = Path(__file__).parents[2] / "docs" / "formats.md"
    assert capsys.readouterr().out == page.read_text(), "run: imgmount formats --markdown > docs/formats.md"


def test_live_mounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(
        b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        b"40 22 0:51 / /mnt/a\\040b\\011\\134\xff ro,nosuid,nodev - fuse.imgmount /im\\040age.iso ro,user_id=0,allow_other\n"
        b"41 22 0:52 / /mnt/\xe2\x80\xa8\r rw - tmpfs none rw\n"
        b"42 22 0:53 / /mnt/c - d ro master:3 propagate_from:2 - fuse.imgmount /x ro\n"
    )
    monkeypatch.setattr(mountpoint, "MOUNTINFO", table)
    first = live_mounts()[0]
    assert (first["image"], first["mountpoint"], first["pid"]) == ("/im age.iso", "/mnt/a b\t\\\udcff", None)
    assert first["options"] == ["ro", "nosuid", "nodev", "user_id=0", "allow_other"]
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == first
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["list"]) == 0
    assert lines(capsys)[0] == r"/im age.iso on /mnt/a b\t\\xff (ro,nosuid,nodev,user_id=0,allow_other)"


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1 << 40, "1.0 TiB"),
        (1 << 75, "32768.0 EiB"),
    ],
)
def test_sizes(size: int, said: str) -> None:
    assert text.human(size) == said


@pytest.mark.parametrize(
    "size", [0, 1, 999, 1023, 1024, 1025, 1536, 10188, 10240, 1 << 20, (1 << 20) - 1, 3 << 40, (1 << 63) - 1]
)
def test_short_sizes_are_those_of_numfmt(size: int) -> None:
    command = [tool("numfmt"), "--to=iec", "--round=up", str(size)]
    assert (
        text.short_size(size)
        == subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b", "a b"),
        ("日本\u3000語", "日本\u3000語"),
        ("\u202egnp", r"\u202egnp"),
        ("\x9b", r"\x9b"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_printable(name: str, shown: str) -> None:
    assert printable(name) == shown
