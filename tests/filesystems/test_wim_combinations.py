"""WIM: every compression in every form that wimlib writes, compared with what it gives back."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from conformance import sha256, tree
from helpers import tool, wrong
from imgmount.chain.open import open_image
from imgmount.core.node import Directory, File, Symlink

CAPTURES = {
    "none": ["--compress=none"],
    "xpress 4K": ["--compress=XPRESS", "--chunk-size=4K"],
    "xpress 8K": ["--compress=XPRESS", "--chunk-size=8K"],
    "xpress 16K": ["--compress=XPRESS", "--chunk-size=16K"],
    "xpress 32K": ["--compress=XPRESS"],
    "xpress 64K": ["--compress=XPRESS", "--chunk-size=64K"],
    "lzx 32K": ["--compress=LZX:20"],
    "lzx 2M": ["--compress=LZX:20", "--chunk-size=2M"],
    "lzms": ["--compress=LZMS:20"],
    "solid xpress": ["--solid", "--solid-compress=XPRESS", "--solid-chunk-size=64K"],
    "solid lzx": ["--solid", "--solid-compress=LZX:20", "--solid-chunk-size=32K"],
    "solid lzms": ["--solid", "--solid-compress=LZMS:20", "--solid-chunk-size=128K"],
    "pipable none": ["--pipable", "--compress=none"],
    "pipable xpress": ["--pipable", "--compress=XPRESS"],
    "pipable lzx": ["--pipable", "--compress=LZX:20"],
    "pipable lzms": ["--pipable", "--compress=LZMS:20"],
    "split none": ["--compress=none"],
    "split xpress": ["--compress=XPRESS"],
    "split lzx": ["--compress=LZX:20"],
    "split lzms": ["--compress=LZMS:20"],
}
PART = "0.1"  # MiB of a part of a split one


class Facts(NamedTuple):
    """What one name of a tree is; ``content`` is the SHA-256 or the target of a link."""

    mode: int
    owner: tuple[int, int]
    links: int
    written: int  # in 100 ns
    content: str
    xattrs: dict[str, bytes]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hard links, symlinks, attributes, holes, nothing, small files, and some that pass the ends of chunks."""
    folder = tmp_path_factory.mktemp("source") / "tree"
    rng = random.Random(14)
    words = [rng.randbytes(rng.randrange(2, 9)) for _ in range(500)]
    for number in range(5):  # 100 KB each: one of two neighbours is in two solid chunks
        path = folder / f"folder {number}" / "prose"
        path.parent.mkdir(parents=True)
        path.write_bytes(b" ".join(rng.choices(words, k=18_000)))
        os.utime(path, ns=(1_600_000_000_123_456_700 + number, 1_500_000_000_987_654_300))
    for number in range(40):
        (folder / "folder 1" / f"small {number}").write_bytes(b"%d" % number * number)
    (folder / "empty").touch()
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(700_000)
        file.write(b"in a hole")
    (folder / "folder 2/linked").hardlink_to(folder / "folder 1/prose")
    (folder / "folder 3/link").symlink_to("../folder 1/prose")
    (folder / "empty").chmod(0o4711)
    os.setxattr(folder / "folder 4", "user.note", b"of a folder")
    os.setxattr(folder / "sparse", "user.note", b"v" * 600)
    return folder


def of_host(root: Path) -> dict[str, Facts]:
    found = {}
    for path in root.rglob("*"):
        stat = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not content:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        xattrs = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        }
        links = 1 if path.is_dir() else stat.st_nlink
        found[str(path.relative_to(root))] = Facts(
            stat.st_mode, (stat.st_uid, stat.st_gid), links, stat.st_mtime_ns // 100, content, xattrs
        )
    return found


def of_image(root: Directory) -> dict[str, Facts]:
    found = {}
    for path, node in tree(root):
        stat = node.stat()
        content = sha256(node.open()) if isinstance(node, File) else ""
        if isinstance(node, Symlink):
            content = node.readlink()
        xattrs = {name: value for name, value in node.xattrs().items() if not name.startswith("user.wim.")}
        assert stat.uid is not None
        assert stat.gid is not None
        found[path] = Facts(
            stat.mode, (stat.uid, stat.gid), stat.nlink, stat.mtime_ns // 100, content, xattrs
        )
    return found


@pytest.mark.parametrize("form", CAPTURES)
def test_all_is_as_wimlib_applies_it(form: str, source: Path, tmp_path: Path) -> None:
    def wimlib(command: str, *words: str | Path) -> None:
        subprocess.run([tool("wimlib-imagex"), command, *map(str, words)], check=True, capture_output=True)

    path, parts = tmp_path / "disk.wim", []
    wimlib("capture", source, path, "--unix-data", "--norpfix", *CAPTURES[form])
    if form.startswith("split"):
        wimlib("split", path, tmp_path / "part.swm", PART)
        path.unlink()
        path, parts = tmp_path / "part.swm", [f"--ref={tmp_path}/part*.swm"]
        assert (tmp_path / "part2.swm").exists()
    wimlib("apply", path, "1", tmp_path / "applied", "--unix-data", *parts)
    with open_image(path) as opened:
        root = opened.volumes[0].filesystem.root
        assert of_image(root) == of_host(tmp_path / "applied")
        assert wrong(opened.volumes[0].check()) == []
