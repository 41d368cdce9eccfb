"""ISO 9660 volumes whose primary descriptor is lost: the files are there, and the loss is told."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from conformance import manifest
from helpers import tool
from imgmount import registry
from imgmount.chain.open import Image, open_image
from imgmount.core.format import FilesystemFormat, Match, Options
from imgmount.core.slices import MemoryDevice
from imgmount.jobs.verify import problems

SECTOR = 2048
LOST = "iso9660: the primary volume descriptor is lost"


def made(folder: Path, *options: str) -> bytearray:
    """A volume by genisoimage or xorriso."""
    inside = folder / "tree"
    if not inside.exists():
        (inside / "deep" / "er").mkdir(parents=True)
        (inside / "a long name.txt").write_bytes(b"text\n" * 999)
        (inside / "deep" / "er" / "b.bin").write_bytes(random.Random(1).randbytes(70_000))
    command = [
        tool("genisoimage"),
        "-quiet",
        "-V",
        "LABEL",
        *options,
        "-o",
        str(folder / "v.iso"),
        str(inside),
    ]
    subprocess.run(command, check=True)
    return bytearray((folder / "v.iso").read_bytes())


def opened(data: bytes | bytearray, folder: Path, fs: str | None = None) -> Image:
    (folder / "x.iso").write_bytes(data)
    return open_image(folder / "x.iso", Options(fs=fs))


def tree(image: Image) -> dict[str, object]:
    assert image.whole is not None
    return dict(manifest(image.whole.filesystem.root))


@pytest.mark.parametrize("damage", [bytes(SECTOR), b"\xff" * SECTOR, b"\0" * 7])
@pytest.mark.parametrize(
    "options", [(), ("-R",), ("-J",), ("-R", "-J"), ("-l", "-b", "a long name.txt", "-no-emul-boot")]
)
def test_the_files_are_those_of_the_whole_volume(
    options: tuple[str, ...], damage: bytes, tmp_path: Path
) -> None:
    data = made(tmp_path, *options)
    with opened(data, tmp_path) as image:
        wanted = tree(image)
        assert image.whole is not None
        views = getattr(image.whole.filesystem, "views")  # noqa: B009
    data[16 * SECTOR : 16 * SECTOR + len(damage)] = damage
    for fs in (None, *views):
        with opened(data, tmp_path, fs) as image:
            assert str(image).endswith("iso9660")
            found = tree(image)
            if fs is None:
                assert found == wanted
            assert found
            told = list(problems(image, read=True))
            assert [line for line in told if LOST in line] == [f"disk: {LOST}"]
            assert len(told) == 1


def test_whole_sectors_are_no_obstacle(tmp_path: Path) -> None:
    data = made(tmp_path, "-R")
    with opened(data, tmp_path) as image:
        wanted = tree(image)
    data[16 * SECTOR : 17 * SECTOR] = bytes(SECTOR)
    raw = b"".join(
        b"\0" + b"\xff" * 10 + b"\0" + bytes((0, 2, 0, 1)) + bytes(data[at : at + SECTOR]) + bytes(288)
        for at in range(0, len(data), SECTOR)
    )
    with opened(raw, tmp_path) as image:
        assert str(image) == "file > rawsectors > tracks[1] > iso9660"
        assert tree(image) == wanted


def test_a_root_record_that_is_broken_as_well_as_both_path_tables(tmp_path: Path) -> None:
    data = made(tmp_path, "-R")
    with opened(data, tmp_path) as image:
        wanted = tree(image)
    at = 16 * SECTOR
    data[at + 132 : at + 190] = bytes(58)  # path tables and root
    with opened(data, tmp_path) as image:
        assert tree(image) == wanted


@pytest.mark.parametrize("kept", ["terminator", "root", "nothing"])
def test_one_sign_alone_is_no_volume(kept: str, tmp_path: Path) -> None:
    data = made(tmp_path, "-R")
    if kept == "terminator":
        data[18 * SECTOR :] = bytes(len(data) - 18 * SECTOR)
    data[16 * SECTOR : (17 if kept == "terminator" else 18) * SECTOR] = bytes(
        (1 if kept == "terminator" else 2) * SECTOR
    )
    if kept == "nothing":
        data = bytearray(len(data))
    assert not registry.matches(FilesystemFormat, MemoryDevice(bytes(data)))


def test_a_whole_volume_is_found_without_a_second_question(tmp_path: Path) -> None:
    found = registry.matches(FilesystemFormat, MemoryDevice(bytes(made(tmp_path))), rescue=False)
    assert [(match, fmt.name) for match, fmt in found] == [(Match.CERTAIN, "iso9660")]
