"""``timeline``: what it says beside what ``fls -m`` of the Sleuth Kit says, and what mactime makes of it."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest

from fake_tree import Link, Null, Plain, Torn
from fatvolumes import record, small
from filesystems.ntfs_images import attribute_at, load, patched, record_at
from helpers import tool
from imgmount.cli.main import main
from imgmount.core.slices import MemoryDevice
from toy_formats import Maker

Line = list[str]  # inode, mode, UID, GID, size, atime, mtime, ctime, crtime


def parsed(text: str) -> dict[str, Line]:
    lines = [line.split("|") for line in text.splitlines()]
    assert all(len(line) == 11 and line[0] == "0" for line in lines)
    return {name: facts for _, name, *facts in lines}


def theirs(disk: Path) -> dict[str, Line]:
    """What ``fls`` prints, less what it makes up and the files of the system."""
    text = subprocess.run(
        [tool("fls"), "-r", "-m", "/", disk], check=True, capture_output=True, text=True
    ).stdout
    made_up = ("/$", "/..", "/.")
    return {name: facts for name, facts in parsed(text).items() if not name.startswith(made_up)}


def ours(disk: Path, capfd: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Line]:
    assert main(["timeline", str(disk)]) == code
    return parsed(capfd.readouterr().out)


def test_ext4(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree, disk = tmp_path / "tree", tmp_path / "disk"
    (tree / "folder/inner").mkdir(parents=True)
    (tree / "folder/file").write_bytes(b"content\n" * 999)
    os.utime(tree / "folder/file", ns=(10**18 + 5, 10**18 + 999_999_999))
    (tree / "folder/file").chmod(0o4751)
    (tree / "link").symlink_to("folder/file")
    os.link(tree / "folder/file", tree / "another")
    os.mkfifo(tree / "fifo")
    command = [tool("mke2fs"), "-q", "-t", "ext4", "-I", "256", "-d", str(tree), str(disk), "4M"]
    subprocess.run(command, check=True, capture_output=True)
    assert ours(disk, capfd) == theirs(disk)


def test_fat(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    disk = tmp_path / "disk"
    subprocess.run([tool("mkfs.vfat"), "-C", disk, "1440"], check=True, capture_output=True)
    (tmp_path / "content").write_bytes(b"content\n" * 999)
    for command in (["mmd", "::dir"], ["mcopy", str(tmp_path / "content"), "::dir/A long name"], ["mdel", "::dir/A*"],
                    ["mcopy", str(tmp_path / "content"), "::kept.txt"]):  # fmt: skip
        subprocess.run(
            [tool(command[0]), "-i", str(disk), *command[1:]],
            check=True,
            env=os.environ | {"MTOOLS_SKIP_CHECK": "1"},
        )
    found, expected = ours(disk, capfd), theirs(disk)
    assert found.keys() == expected.keys() == {"/dir", "/dir/A long name (deleted)", "/kept.txt"}
    for name, (_, mode, *facts) in expected.items():
        _, our_mode, *our_facts = found[name]
        assert our_mode[:3] == mode[:3]
        assert our_facts == facts if "." in name else our_facts[3:] == facts[3:]  # folders have no size


def test_ntfs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    disk = tmp_path / "disk"
    data = load("deleted")
    times = attribute_at(data, record_at(data, "kept/here.txt"), 0x10) + 24
    disk.write_bytes(
        patched(data, (times, struct.pack("<QQ", 13 * 10**16, 131 * 10**15)))
    )  # the name keeps its own
    found, expected = ours(disk, capfd), theirs(disk)
    assert found.keys() == expected.keys()
    assert found["/kept/here.txt"][5:] != found["/kept/here.txt ($FILE_NAME)"][5:]
    assert sum("($FILE_NAME)" in name for name in found) == len(found) // 2
    assert sum(name.endswith(" (deleted)") for name in found) == 12
    for name, (number, mode, *facts) in expected.items():
        our_number, our_mode, *our_facts = found[name]
        assert (our_number, our_mode[2]) == (number.partition("-")[0], mode[2])
        assert our_facts[3:] == facts[3:], name
        assert (our_mode[0] == "d" and "($" not in name) or our_facts[2] == facts[2]


def test_mactime_reads_it(make: Maker, capfd: pytest.CaptureFixture[str]) -> None:
    times = {"atime_ns": 5 * 10**9, "mtime_ns": 86_400 * 10**9, "birth_ns": 86_401 * 10**9}
    path = make(
        {
            "odd|name 100%25 \n": Plain(2, MemoryDevice(b"abc"), uid=10, gid=20, **times),
            "link": Link(3, "odd"),
            "null": Null(4),
        }
    )
    assert main(["timeline", path]) == 0
    text = capfd.readouterr().out
    assert "0|/odd%7Cname 100%2525 \\n|2|r/rrw-r-----|10|20|3|5|86400|0|86401\n" in text
    assert "0|/link -> odd|3|l/lrwxrwxrwx|" in text
    assert "0|/null|4|c/c" in text
    done = subprocess.run(
        [tool("mactime"), "-b", "-", "-d", "-z", "UTC"],
        input=text,
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line.split(",") for line in done.stdout.splitlines() if "odd" in line and "link" not in line]
    assert ["Fri Jan 02 1970 00:00:00", "3", "m..."] in [row[:3] for row in rows]
    assert ["Fri Jan 02 1970 00:00:01", "3", "...b"] in [row[:3] for row in rows]
    assert {row[-1] for row in rows} == {'"/odd|name 100%25 \\n"'}


def test_damage_is_told_and_the_rest_is_there(make: Maker, capfd: pytest.CaptureFixture[str]) -> None:
    kept = {"kept": Plain(3, MemoryDevice(b"")), "lost": Plain(4, MemoryDevice(b""))}
    assert main(["timeline", make({"torn": Torn(2, kept), "after": Plain(5, MemoryDevice(b""))})]) == 2
    told = capfd.readouterr()
    assert list(parsed(told.out)) == ["/torn", "/torn/kept", "/after"]
    assert "/torn: " in told.err


def test_every_volume_has_its_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    volume = small(record(b"FILE       ") + b"\xe5" + record(b"GONE       ")[1:])
    sectors = len(volume) // 512
    entry = bytes([0, 0, 0, 0, 6, 0, 0, 0])
    table = [
        entry + start.to_bytes(4, "little") + sectors.to_bytes(4, "little") for start in (8, 8 + sectors)
    ]
    boot = bytes(446) + b"".join(table) + bytes(32) + b"\x55\xaa"
    disk = tmp_path / "disk"
    disk.write_bytes(boot + bytes(7 * 512) + bytes(volume) * 2)
    assert list(ours(disk, capfd)) == ["/p1/FILE", "/p1/_ONE (deleted)", "/p2/FILE", "/p2/_ONE (deleted)"]
    disk.write_bytes(boot + bytes(7 * 512) + bytes(volume) + bytes(len(volume)))
    assert list(ours(disk, capfd)) == ["/p1/FILE", "/p1/_ONE (deleted)"]  # the other holds nothing
