"""Virtual disks and evidence through real mounts: damage costs what is damaged, holes are holes, images stay as they were."""

from __future__ import annotations

import hashlib
import lzma
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixture import unpack
from helpers import FIXTURES, SRC, tool
from vdisk import create, run

CHUNK = 32768
SECTOR = 512
GIB = 1 << 30


@contextmanager
def mounted(image: Path, *words: str) -> Iterator[tuple[Path, str]]:
    """(mount point, what was said) of the raw view of ``image``."""
    target = image.parent / "mnt"
    done = subprocess.run(
        [sys.executable, "-m", "imgmount", "--raw", *words, image, target],
        check=True, capture_output=True, text=True, timeout=30, env=os.environ | {"PYTHONPATH": SRC},
    )  # fmt: skip
    try:
        yield target, done.stderr
    finally:
        subprocess.run(["fusermount3", "-u", target], check=True)


def sectors(path: Path) -> list[bytes | None]:
    """Each sector as it is read alone; None for an input/output error."""
    found: list[bytes | None] = []
    fd = os.open(path, os.O_RDONLY)
    try:
        for offset in range(0, os.fstat(fd).st_size, SECTOR):
            try:
                found.append(os.pread(fd, SECTOR, offset))
            except OSError:
                found.append(None)
    finally:
        os.close(fd)
    return found


@pytest.mark.parametrize("variant", ["stored", "encase6"])
def test_one_corrupt_chunk_costs_its_own_32_kib(tmp_path: Path, variant: str) -> None:
    data = bytearray(lzma.decompress((FIXTURES / f"containers/ewf/{variant}/disk.E01.xz").read_bytes()))
    (tmp_path / "sound.E01").write_bytes(data)
    with mounted(tmp_path / "sound.E01") as (target, _):
        sound = sectors(target / "disk.raw")
    start = data.index(b"sectors\0") + 76 + (9 * (CHUNK + 4) + 77 if variant == "stored" else 5000)
    data[start : start + 3] = b"\xee\xee\xee"
    (tmp_path / "disk.E01").write_bytes(data)
    with mounted(tmp_path / "disk.E01") as (target, _):
        found = sectors(target / "disk.raw")
        lost = [number for number, sector in enumerate(found) if sector is None]
        assert len(lost) == CHUNK // SECTOR
        assert lost == list(range(lost[0], lost[0] + len(lost)))
        assert lost[0] % (CHUNK // SECTOR) == 0
        assert variant != "stored" or lost[0] == 9 * CHUNK // SECTOR
        assert all(one is None or one == other for one, other in zip(found, sound, strict=True))
    with mounted(tmp_path / "disk.E01", "--on-error", "zero") as (target, _):
        zeros = sectors(target / "disk.raw")
    assert zeros == [bytes(SECTOR) if sector is None else sector for sector in found]


def test_a_missing_segment_is_named_when_it_is_mounted(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(content := random.Random(1).randbytes(3 << 20))
    acquire = [
        tool("ewfacquire"),
        "-q",
        "-u",
        "-f",
        "encase6",
        "-S",
        "1MiB",
        "-c",
        "none",
        "-t",
        "disk",
        "source",
    ]
    subprocess.run(acquire, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "disk.E02").unlink()
    with mounted(tmp_path / "disk.E01") as (target, said):
        assert "ewf: missing: disk.E02: what was there cannot be read" in said
        found = sectors(target / "disk.raw")
    lost = [number for number, sector in enumerate(found) if sector is None]
    assert 0 < lost[0] < lost[-1] < len(found) - 1
    assert len(lost) == lost[-1] + 1 - lost[0]
    for number, sector in enumerate(found):
        assert sector is None or sector == content[number * SECTOR : (number + 1) * SECTOR]


def test_a_log_is_replayed_and_the_image_stays_as_it_was(tmp_path: Path) -> None:
    image = tmp_path / "disk.vhdx"
    unpack(FIXTURES / "containers/vhdx/log/disk.vhdx.xz", image)
    before = hashlib.sha256(image.read_bytes()).digest(), image.stat().st_mtime_ns
    repaired = tmp_path / "repaired.vhdx"
    repaired.write_bytes(image.read_bytes())
    run(tool("qemu-img"), "check", "-q", "-r", "all", repaired)
    run("qemu-img", "convert", "-O", "raw", repaired, tmp_path / "raw")
    with mounted(image) as (target, _):
        assert (target / "disk.raw").read_bytes() == (tmp_path / "raw").read_bytes()
    assert (hashlib.sha256(image.read_bytes()).digest(), image.stat().st_mtime_ns) == before


EMPTY = {
    "qcow2": "cluster_size=64k",
    "qcow2 small": "cluster_size=4k",
    "qed": "cluster_size=64k",
    "vhdx": "block_size=1M",
    "vpc": "force_size=on",
    "vdi": "static=off",
    "vmdk": "subformat=monolithicSparse",
    "vmdk many": "subformat=twoGbMaxExtentSparse",
    "parallels": "cluster_size=1M",
    "raw": "",
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_disk_of_100_gib_is_one_hole(tmp_path: Path, name: str) -> None:
    """Were the holes not told, cp would read for minutes: the time limit of the suite is the judge."""
    image = create(tmp_path / "disk", name.partition(" ")[0], 100 * GIB, EMPTY[name])
    with mounted(image) as (target, _):
        disk, copy = target / "disk.raw", tmp_path / "copy"
        assert disk.stat().st_blocks <= 8
        subprocess.run(["cp", "--sparse=auto", disk, copy], check=True)
        assert copy.stat().st_size == disk.stat().st_size
        assert copy.stat().st_blocks <= 8
        copy.unlink()


@pytest.mark.parametrize("name", ["qcow2", "vhdx", "vdi", "vmdk", "vpc"])
def test_data_and_holes_are_where_they_were_written(tmp_path: Path, name: str) -> None:
    image = create(tmp_path / "disk", name, GIB, EMPTY[name])
    places = [0, 300 << 20, (700 << 20) + 4096, GIB - (1 << 20)]
    commands = [word for place in places for word in ("-c", f"write -P 7 {place} 4k")]
    run(tool("qemu-io"), "-f", name, *commands, image)
    with mounted(image) as (target, _):
        fd = os.open(target / "disk.raw", os.O_RDONLY)
        try:
            for place in places:
                data = os.lseek(fd, place, os.SEEK_DATA)
                hole = os.lseek(fd, place, os.SEEK_HOLE)
                assert data == place
                assert place + 4096 <= hole <= place + (4 << 20)
                assert os.pread(fd, 4096, place) == b"\7" * 4096
            assert os.lseek(fd, 100 << 20, os.SEEK_DATA) > 290 << 20
            total = os.fstat(fd).st_blocks * SECTOR
            assert 16384 <= total <= 16 << 20
        finally:
            os.close(fd)
