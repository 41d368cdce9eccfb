"""Names in any charset, through the whole program: ls, cat, extract and a mount, as bytes and as ``--encoding`` reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import SRC, tool

NAMES = {
    "shift_jis": "日本語ファイル.txt",
    "cp437": "Ärger ░▒▓.txt",
    "mac_roman": "Naïve•.txt",
    "koi8_r": "Файл.txt",
}
UNDECODABLE = b"\xff\xfe\x80 bytes"


def imgmount(*words: str | bytes | Path) -> bytes:
    call = [sys.executable, "-m", "imgmount", *words]
    return subprocess.run(
        call, check=True, capture_output=True, timeout=60, env=os.environ | {"PYTHONPATH": SRC}
    ).stdout


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """An image with Rock Ridge names of several charsets, each file's content being its own name."""
    (tmp_path / "tree").mkdir()
    for raw in [*(name.encode(charset) for charset, name in NAMES.items()), UNDECODABLE]:
        (tmp_path / "tree" / os.fsdecode(raw)).write_bytes(raw)
    charset = ["-input-charset", "iso8859-1", "-output-charset", "iso8859-1"]  # bytes as they are
    command = [tool("genisoimage"), "-quiet", "-R", *charset, "-o", str(tmp_path / "disc"), "tree"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=os.environ | {"LC_ALL": "C"})
    return tmp_path / "disc"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "mnt").mkdir()
    yield tmp_path / "mnt"
    if os.path.ismount(tmp_path / "mnt"):
        subprocess.run(["fusermount3", "-u", "-z", str(tmp_path / "mnt")], check=False)


def listed(folder: Path) -> list[bytes]:
    return sorted(os.fsencode(path.name) for path in folder.iterdir())


def test_bytes_without_a_declared_charset_survive(disc: Path, target: Path, tmp_path: Path) -> None:
    raw = listed(tmp_path / "tree")
    assert sorted(imgmount("ls", disc).splitlines()) == raw
    for name in raw:
        assert imgmount("cat", disc, name) == name
    (tmp_path / "out").mkdir()
    imgmount("extract", "-C", tmp_path / "out", disc)
    imgmount(disc, target)
    for folder in (tmp_path / "out", target):
        assert listed(folder) == raw
        assert subprocess.run(["diff", "-r", tmp_path / "tree", folder], check=False).returncode == 0
    imgmount("-u", target)


@pytest.mark.parametrize("charset", NAMES)
def test_a_charset_that_the_user_names(charset: str, disc: Path, target: Path) -> None:
    name = NAMES[charset]
    imgmount("--encoding", charset, disc, target)
    assert name.encode() in listed(target)
    assert (target / name).read_bytes() == name.encode(charset)
    assert imgmount("cat", "--encoding", charset, disc, name) == name.encode(charset)
    assert name.encode() in imgmount("ls", "--encoding", charset, disc).splitlines()
    imgmount("-u", target)


@pytest.mark.parametrize("charset", NAMES)
def test_a_sheet_in_a_charset_that_the_user_names(charset: str, tmp_path: Path) -> None:
    name = NAMES[charset].replace(".txt", ".bin")
    (tmp_path / name).write_bytes(bytes(2352 * 3))
    (tmp_path / "other.bin").write_bytes(b"")
    sheet = tmp_path / "disc.cue"
    sheet.write_bytes(f'FILE "{name}" BINARY\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n'.encode(charset))
    assert imgmount("info", "--encoding", charset, sheet).startswith(b"file > cue > tracks[1]\n")
