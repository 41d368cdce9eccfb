"""FAT: other people's images, oracles, names, times, laziness.

Reading itself is tested by the fixtures, damage next door.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance import manifest, tree
from fatvolumes import RECORD, VARIANTS, fixture_images, long_name, record, small, volume
from fixture import unpack
from helpers import context, image, tool
from imgmount.core.device import BlockDevice
from imgmount.core.format import Match
from imgmount.core.node import File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, MountError
from imgmount.filesystems.fat import FORMAT
from imgmount.filesystems.fat.check import check
from imgmount.filesystems.fat.records import scan
from imgmount.filesystems.fat.second_opinion import compare
from imgmount.filesystems.fat.volume import FatVolume
from imgmount.sources.file import FileDevice


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return fixture_images(tmp_path_factory.mktemp("fat"))


# --- images made by others
# ---------------------------------------------------------------------------------------------------


THIRD_PARTY = {
    "rafalh__rust-fatfs__fat12.img": ("FAT12", "Test!", 8),
    "rafalh__rust-fatfs__fat16.img": ("FAT16", "Test!", 8),
    "util-linux__util-linux__fat.img.xz": ("FAT12", "TEST-FAT", 0),
    "util-linux__util-linux__fat16_noheads.img.xz": ("FAT16", "VTech 1070", 5),
    "util-linux__util-linux__fat32_label_64MB.img.xz": ("FAT32", "BINGO", 0),
    "util-linux__util-linux__fat32_xp_label1.img.xz": ("FAT32", "LABEL1", 0),
    "util-linux__util-linux__small-fat32.img.xz": ("FAT32", "TESTVFAT", 0),
}


@pytest.mark.parametrize("name", THIRD_PARTY)
def test_images_made_by_others(name: str, tmp_path: Path) -> None:
    path = image(f"fat/{name}")
    if name.endswith(".xz"):
        unpack(path, tmp_path / "image")
        path = tmp_path / "image"
    kind, label, nodes = THIRD_PARTY[name]
    with FileDevice(path) as device:
        assert FORMAT.probe(device) is Match.CERTAIN
        opened = FORMAT.open(device, context())
        found = manifest(opened.root)
        assert (opened.info()["type"], opened.label, len(found)) == (kind, label, nodes)
        listed = image("manifests") / f"fat__{name}.tsk.sha256"
        if listed.exists():
            lines = [line.split("  ") for line in listed.read_text().splitlines() if not line.startswith("#")]
            expected = {entry: (int(size), digest) for digest, size, entry in lines}
            assert {path: fact for path, fact in found.items() if fact != "/"} == expected


# --- oracles
# -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_pyfatfs_agrees(variant: str, images: dict[str, bytes]) -> None:
    pytest.importorskip("pyfatfs")
    assert list(compare(volume(images[variant]))) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fixture_is_consistent(variant: str, images: dict[str, bytes]) -> None:
    assert list(check(volume(images[variant]))) == []


def test_pyfatfs_disagrees_with_a_wrong_tree(images: dict[str, bytes]) -> None:
    pytest.importorskip("pyfatfs")
    opened = volume(images["fat12"])
    opened.bpb = opened.bpb._replace(data_offset=opened.bpb.data_offset + 512)
    differences = list(compare(opened))
    assert any("pyfatfs says" in line or "pyfatfs does not list" in line for line in differences)


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_scattered_files_made_on_the_spot(bits: int, tmp_path: Path) -> None:
    """Random writes and deletions with mtools; mtools' own extraction is the oracle."""
    disk = tmp_path / "disk.img"
    size = {12: "720K", 16: "20M", 32: "40M"}[bits]
    subprocess.run(["truncate", "-s", size, disk], check=True)
    subprocess.run([tool("mkfs.fat"), "-F", str(bits), "-s", "1", disk], check=True, capture_output=True)
    rng = random.Random(bits)
    env = os.environ | {"MTOOLS_SKIP_CHECK": "1"}
    for number in range(30):
        (tmp_path / f"file number {number}").write_bytes(rng.randbytes(rng.randrange(20000)))
        subprocess.run(
            [tool("mcopy"), "-i", disk, tmp_path / f"file number {number}", "::"], check=True, env=env
        )
        if number % 3 == 2:
            gone = f"::file number {number - rng.randrange(3)}"
            subprocess.run([tool("mdel"), "-i", disk, gone], check=True, env=env)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run([tool("mcopy"), "-s", "-i", disk, "::*", out], check=True, env=env)
    expected = {
        path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in out.iterdir()
    }
    with FileDevice(disk) as device:
        opened = FORMAT.open(device, context())
        assert manifest(opened.root) == expected
        assert list(FORMAT.check(opened)) == []
        files = [node.open() for _, node in tree(opened.root) if isinstance(node, File)]
        runs = max(len(list(content.extents(0, 1 << 20))) for content in files)
        assert bits == 32 or runs > 1  # on FAT32 mtools goes on from the last cluster it gave away


def test_seven_zip_agrees(images: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(images["fat16"])
    out = tmp_path / "out"
    subprocess.run(
        [tool("7z"), "x", "-tfat", f"-o{out}", tmp_path / "disk.img"], check=True, capture_output=True
    )
    shutil.rmtree(out / "[SYSTEM]", ignore_errors=True)
    files = [path for path in out.rglob("*") if path.is_file()]
    expected = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    found = {path: fact[1] for path, fact in manifest(volume(images["fat16"]).root).items() if fact != "/"}
    assert found == expected


# --- names, times, attributes
# ------------------------------------------------------------------------------------------------


def names(root: bytes, encoding: str | None = None) -> list[str]:
    return [name for name, _ in volume(small(root), encoding).root.entries()]


def test_short_names() -> None:
    root = record(b"README  TXT") + record(b"lower   TXT", case=0x18) + record(b"STEM    DAT", case=0x08)
    root += record(b"SUFFIX  DAT", case=0x10) + record(b"\x05BC        ") + record(b"NOSUFFIX   ")
    root += record(b"\xe5ELETED    ") + record(b"LABEL      ", 0x08) + record(b".          ", 0x10)
    root += record(b"\x80\x81      \x9a  ")
    assert names(root) == [
        "README.TXT",
        "lower.txt",
        "stem.DAT",
        "SUFFIX.dat",
        "\u03c3BC",
        "NOSUFFIX",
        "\u00c7\u00fc.\u00dc",
    ]
    assert names(record(b"\x8f\x80      \x80  "), encoding="cp866") == ["\u041f\u0410.\u0410"]
    assert names(record(b"\xff\xfe         "), encoding="utf-8") == ["\udcff\udcfe"]


def test_an_unknown_charset_is_the_callers_mistake() -> None:
    with pytest.raises(MountError, match="klingon"):
        volume(small(b""), encoding="klingon")


def test_long_names() -> None:
    short = b"LONG~1  TXT"
    for name in (
        "a",
        "thirteen-char",
        "exactly twenty-six letters",
        "\U0001f600 emoji.txt",
        "x" * 255,
        "\u4e2d" * 80,
        ".hidden",
    ):
        assert names(long_name(name, short) + record(short)) == [name]
    assert names(long_name("wrong.txt", short, checksum=0) + record(short)) == ["LONG~1.TXT"]
    assert names(long_name("orphan, deleted.txt", short) + record(b"\xe5" + short[1:])) == []
    assert names(long_name("torn across.txt", short)[32:] + record(short)) == ["LONG~1.TXT"]
    interrupted = long_name("interrupted by another.txt", short)[:32] + record(b"OTHER      ") + record(short)
    assert names(interrupted) == ["OTHER", "LONG~1.TXT"]
    assert names(long_name("\0", short) + record(short)) == ["LONG~1.TXT"]
    lone = bytearray(long_name("ab", short))
    lone[1:3] = b"\x00\xd8"
    assert names(bytes(lone) + record(short)) == ["\ufffdb"]


def test_hostile_names_are_made_fit_for_a_path() -> None:
    raw = ("..", "a/b", "same", "same", "/etc/passwd")
    root = b"".join(long_name(name, b"A          ") + record(b"A          ") for name in raw)
    assert names(root) == ["__", "a\u2215b", "same", "same (1)", "\u2215etc\u2215passwd"]


def test_lookups_ignore_case(images: dict[str, bytes]) -> None:
    root = volume(images["fat16"]).root
    assert root.lookup("readme.txt").id == root.lookup("README.TXT").id


def test_times_and_attributes() -> None:
    raw = RECORD.pack(b"TIMES   DAT", 0x27, 0, 199, 0x6000, 0x5721, 0x5722, 0, 0xBF7D, 0x5723, 0, 0)
    _, node = next(volume(small(raw)).root.entries())
    facts = node.stat()
    day = 86400 * 10**9
    assert facts.ctime_ns is None
    assert facts.birth_ns is not None
    assert facts.atime_ns is not None
    assert facts.birth_ns - facts.atime_ns == -day + 12 * 3600 * 10**9 + 1_990_000_000
    assert facts.mtime_ns - facts.atime_ns == day + (23 * 3600 + 59 * 60 + 58) * 10**9
    assert node.xattrs() == {"user.dos.attributes": b"0x27"}
    _, void = next(
        volume(small(RECORD.pack(b"VOID       ", 0, 0, 0, 0, 0, 0xFFFF, 0, 0, 0xFFFF, 0, 0))).root.entries()
    )
    assert void.stat()[2:5] == (0, None, None)


def test_facts_are_those_that_mkfs_was_told(images: dict[str, bytes]) -> None:
    facts = volume(images["fat32"]).info()
    assert {key: facts[key] for key in ("type", "label", "oem", "serial", "state")} == {
        "type": "FAT32", "label": "STICK", "oem": "mkfs.fat", "serial": "1234-ABCD", "state": "clean",
    }  # fmt: skip
    opened = volume(images["fat32"])
    used = sum(bool(opened.fat[cluster]) for cluster in range(2, opened.fat.end))
    assert facts["clusters"] == f"{opened.bpb.clusters} of 512 bytes"
    assert facts["free"] == f"{opened.bpb.clusters - used} clusters, says FSInfo"  # mtools kept count
    assert volume(images["fat12"]).info()["type"] == "FAT12"
    assert volume(images["sectors4096"]).info()["serial"] == "4096-4096"


def test_the_label_of_the_root_directory_comes_before_that_of_the_boot_sector() -> None:
    disk = small(record(b"FILE       ") + record(b"\x05LABEL     ", 0x08))
    disk[38:54] = b"\x29\x78\x56\x34\x12BOOT LABEL "
    assert volume(disk).label == "\u03c3LABEL"
    assert volume(disk).info()["serial"] == "1234-5678"
    disk[volume(disk).bpb.root_offset + 32] = 0xE5
    assert volume(disk).label == "BOOT LABEL"
    disk[43:54] = b"NO NAME    "
    assert volume(disk).label == ""
    disk[38] = 0x28  # a serial, no label
    disk[43:54] = b"BOOT LABEL "
    assert volume(disk).label == ""


@pytest.mark.parametrize(
    ("variant", "place"), [("fat16", "boot"), ("fat32", "boot"), ("fat16", "fat"), ("fat32", "fat")]
)
def test_dirty_volumes_say_so(variant: str, place: str, images: dict[str, bytes]) -> None:
    data, bpb = bytearray(images[variant]), volume(images[variant]).bpb
    if place == "boot":
        data[0x41 if bpb.bits == 32 else 0x25] |= 1
    else:
        data[bpb.fat_offset + (7 if bpb.bits == 32 else 3)] &= 0xF7 if bpb.bits == 32 else 0x7F
    opened = volume(data)
    assert FORMAT.probe(opened.device) is Match.CERTAIN
    assert opened.info()["state"] == "dirty"
    assert "the volume was not unmounted properly" in list(check(opened))


# --- what is and what is not FAT
# ---------------------------------------------------------------------------------------------


def test_probe(images: dict[str, bytes]) -> None:
    assert FORMAT.probe(MemoryDevice(images["fat16"])) is Match.CERTAIN
    atari = bytearray(small(b""))
    atari[0:3] = bytes(3)  # neither jump nor signature
    atari[510:512] = bytes(2)
    assert FORMAT.probe(MemoryDevice(bytes(atari))) is Match.CERTAIN
    atari[512] = 0
    assert FORMAT.probe(MemoryDevice(bytes(atari))) is Match.LIKELY


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0x0B, b"\0\0"), (0x0B, b"\1\2"), (0x0B, b"\0\x40"), (0x0D, b"\0"), (0x0D, b"\3"), (0x0E, b"\0\0"), (0x10, b"\0"),
     (0x10, b"\5"), (0x11, b"\0\0"), (0x13, b"\1\0"), (0x15, b"\x42"), (0x16, b"\0\0"), (0x16, b"\xff\xff")],
)  # fmt: skip
def test_impossible_parameters_are_refused(offset: int, value: bytes) -> None:
    data = small(b"")
    data[offset : offset + len(value)] = value
    with pytest.raises(FormatError):
        FORMAT.probe(MemoryDevice(bytes(data)))


# --- lazy
# --------------------------------------------------------------------------------------------------------------------


class Counting(MemoryDevice):
    """Counts the bytes that were asked for."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.read = 0

    def _pread(self, offset: int, size: int) -> bytes:
        self.read += size
        return super()._pread(offset, size)


class Sparse(BlockDevice):
    """``data`` at the start of an otherwise empty device."""

    def __init__(self, data: bytes, size: int) -> None:
        self.head = Counting(data)
        self.size = size

    def _pread(self, offset: int, size: int) -> bytes:
        return self.head.pread(offset, size).ljust(size, b"\0")


def test_opening_and_listing_reads_no_more_of_a_large_volume(tmp_path: Path) -> None:
    def cost(size: str) -> int:
        disk = tmp_path / size
        subprocess.run(["truncate", "-s", size, disk], check=True)
        subprocess.run([tool("mkfs.fat"), "-F", "32", "-s", "8", disk], check=True, capture_output=True)
        with FileDevice(disk) as device:
            bpb = FORMAT.open(device, context())
            assert isinstance(bpb, FatVolume)
            head = Sparse(device.pread(0, bpb.bpb.data_offset + (1 << 16)), device.size)
        opened = FORMAT.open(head, context())
        assert list(opened.root.entries()) == []
        return head.head.read

    assert cost("300M") == cost("32G")
    assert cost("32G") < 200_000


def test_contiguous_files_are_one_extent_of_the_device(images: dict[str, bytes]) -> None:
    opened = volume(images["fat16"])
    node = opened.root.lookup("one-cluster.bin")
    assert isinstance(node, File)
    (extent,) = node.open().extents(0, 400)
    assert extent.device is opened.device


def test_importing_the_format_imports_neither_construct_nor_its_reader() -> None:
    code = "import sys, imgmount.filesystems.fat as fat\n"
    code += "print([name in sys.modules for name in ('construct', fat.__name__ + '.volume')])"
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=_with_path()
    ).stdout
    assert out == "[False, False]\n"


def _with_path() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize("cut", [0, 31, 32, 33, 63, 64, 95])
def test_scan_of_a_torn_directory(cut: int) -> None:
    data = (long_name("a long name", b"ALONG~1    ") + record(b"ALONG~1    ") + record(b"B          "))[:cut]
    found: list[Any] = list(scan(data, "cp437"))
    assert len(found) <= 1
