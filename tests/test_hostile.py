"""Bad input, through the real command: one line or a damaged part alone, a documented exit code, little memory, no traceback."""

from __future__ import annotations

import os
import random
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fixture import Fixture, all_fixtures
from helpers import FIXTURES, SRC

MAX_RSS_KIB = 200 << 10
PLACES = 20


def run(*words: str | Path, timeout: int = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "imgmount", *map(str, words)],
        capture_output=True, text=True, errors="replace", timeout=timeout, check=False,
        env=os.environ | {"PYTHONPATH": SRC}, preexec_fn=limit_memory,
    )  # fmt: skip


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_RSS_KIB << 10, MAX_RSS_KIB << 10))


def check(done: subprocess.CompletedProcess[str], codes: set[int]) -> None:
    """Exit code, and nothing on standard error but our own lines."""
    assert "Traceback" not in done.stderr, done.stderr
    assert "internal error" not in done.stderr, done.stderr
    assert "MemoryError" not in done.stderr, done.stderr
    assert done.returncode in codes, (done.returncode, done.stderr)
    assert all(line.startswith("imgmount: ") for line in done.stderr.splitlines()), done.stderr


def empty(path: Path) -> None:
    path.touch()


def one_byte(path: Path) -> None:
    path.write_bytes(b"x")


def noise(path: Path) -> None:
    path.write_bytes(random.Random(9).randbytes(1 << 20))


def folder(path: Path) -> None:
    path.mkdir()


def missing(path: Path) -> None:
    del path


def wux_past_the_end(path: Path) -> None:
    header = struct.pack("<4sIIIQQ", b"WUX0", 0x1099D02E, 0x8000, 0, 3 << 15, 0)
    path.write_bytes((header + struct.pack("<3I", 0, 1, 2**32 - 1)).ljust(0x8000, b"\0") + bytes(0x10000))


def gpt_of_four_billion(path: Path) -> None:
    fields = (b"EFI PART", 0x10000, 92, 0, 0, 1, 99, 34, 98, bytes(16), 2, 2**32 - 1, 128, 0)
    header = struct.pack("<8sIIIIQQQQ16sQIII", *fields)
    path.write_bytes(bytes(512) + header.ljust(512, b"\0") + bytes(100 * 512))


CASES: dict[str, tuple[Callable[[Path], None], set[int]]] = {
    "empty": (empty, {2}),
    "one byte": (one_byte, {0, 2}),
    "noise": (noise, {0, 2}),
    "folder": (folder, {1}),
    "missing": (missing, {1}),
    "wux index past the end": (wux_past_the_end, {0, 2}),
    "gpt of 4 billion entries": (gpt_of_four_billion, {0, 2}),
}


@pytest.mark.parametrize("command", [("info",), ("ls", "-lR"), ("verify",)], ids=" ".join)
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_an_exit_code(tmp_path: Path, case: str, command: tuple[str, ...]) -> None:
    make, codes = CASES[case]
    make(tmp_path / "image")
    done = run(*command, tmp_path / "image")
    check(done, codes | ({2} if command[0] == "verify" and case.startswith("wux") else set()))
    if done.stderr:
        assert str(tmp_path / "image") in done.stderr


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    if not os.geteuid():
        pytest.skip("root may read everything")
    (tmp_path / "image").touch(0o000)
    check(run("info", tmp_path / "image"), {1})


FORMATS = {"iso9660", "fat", "wux"}
CUT = [
    fixture for fixture in all_fixtures() if fixture.expected.stem == "expected" and fixture.format in FORMATS
]


@pytest.mark.parametrize("fixture", CUT, ids=str)
def test_an_image_cut_short_at_twenty_places(fixture: Fixture, tmp_path: Path) -> None:
    whole = fixture.image_path(tmp_path).read_bytes()
    cut = tmp_path / "cut"
    cut.mkdir()
    rng = random.Random(len(whole))
    for place in sorted(rng.randrange(1, len(whole)) for _ in range(PLACES // 4)):
        (cut / "image").write_bytes(whole[:place])
        check(run("verify", cut / "image"), {0, 2})


def test_every_fixture_survives_being_cut_and_flipped_in_one_process(tmp_path: Path) -> None:
    """Many more places than a process each would allow: only ``ImageError`` and ``OSError`` may come out."""
    from imgmount.chain.open import open_image
    from imgmount.core.node import File
    from imgmount.errors import ImgMountError
    from imgmount.vfs.tree import View, build_vfs

    rng = random.Random(17)
    for fixture in CUT:
        scratch = tmp_path / fixture.variant
        scratch.mkdir(exist_ok=True)
        whole = fixture.image_path(scratch).read_bytes()
        for place in sorted(rng.randrange(1, len(whole)) for _ in range(PLACES)):
            data = bytearray(whole[:place])
            for _ in range(8):
                data[min(place - 1, rng.randrange(1 << 17))] = rng.randrange(256)
            (scratch / "bad").write_bytes(data)
            try:
                with open_image(scratch / "bad") as image:
                    for _, node in build_vfs(image, View.TREE).walk():
                        node.stat()
                        if isinstance(node, File):
                            with node.open() as device:
                                device.pread(0, 1 << 16)
            except (ImgMountError, OSError):
                continue


def test_the_fixtures_are_there() -> None:
    assert {fixture.format for fixture in CUT} == FORMATS
    assert FIXTURES.is_dir()
