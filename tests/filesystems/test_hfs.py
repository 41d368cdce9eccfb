"""Classic HFS: volumes of Linux, hfsutils and machfs, and damaged ones."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from conformance import survive, tree
from counting_device import CountingDevice
from fixture import Fixture, all_fixtures
from helpers import context, image, tool, wrong
from imgmount.chain.open import open_image
from imgmount.core.device import BlockDevice
from imgmount.core.format import Match
from imgmount.core.node import File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from imgmount.filesystems.hfs import FORMAT
from imgmount.filesystems.hfs.header import parse_runs
from imgmount.filesystems.hfs.volume import HfsVolume
from imgmount.vfs.vfs import Vfs

FIXTURES = {one.variant: one for one in all_fixtures() if one.format == "hfs"}
MANIFESTS = (
    "hfs/elliotnunn__BeHierarchic__manyExtents.img.gz",
    "mac-floppy/hughbe__HfsReader__exportfl-1.3.1.dsk",
    "mac-floppy/hughbe__HfsReader__importfl-1.2.2.dsk",
)


def opened(data: bytes | BlockDevice, encoding: str | None = None, **options: str) -> HfsVolume:
    device = MemoryDevice(data) if isinstance(data, bytes) else data
    volume = FORMAT.open(device, context(encoding=encoding, extra=options))
    assert isinstance(volume, HfsVolume)
    return volume


def raw(variant: str, tmp_path: Path) -> bytes:
    return FIXTURES[variant].image_path(tmp_path).read_bytes()


def problems(volume: HfsVolume) -> list[str]:
    return wrong(FORMAT.check(volume))


def catalog_runs(volume: HfsVolume) -> list[tuple[int, int]]:
    return parse_runs(volume.header.catalog_runs)


def content(vfs: Vfs, path: str) -> bytes:
    node = vfs.find(path)
    assert isinstance(node, File)
    return node.open().pread(0, 1 << 26)


@pytest.mark.parametrize("fixture", FIXTURES.values(), ids=str)
def test_sound_volumes_verify(fixture: Fixture, tmp_path: Path) -> None:
    with fixture.open(tmp_path) as opened_image:
        assert problems(opened_image.volumes[0].filesystem) == []  # type: ignore[arg-type]


def test_times_are_those_of_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    fixture = FIXTURES["linux"]
    lines = (fixture.expected.parent / "stat.txt").read_text().splitlines()
    expected = {line.rpartition(" ")[0].removeprefix("./"): int(line.rpartition(" ")[2]) for line in lines}
    with fixture.open(tmp_path) as opened_image:
        found = {
            path: node.stat().mtime_ns // 10**9
            for path, node in tree(opened_image.volumes[0].filesystem.root)
        }
    assert found == expected


def test_the_catalog_itself_overflows(tmp_path: Path) -> None:
    volume = opened(raw("linux", tmp_path))
    blocks = sum(count for _, count in catalog_runs(volume))
    assert blocks * volume.header.block_size < volume.header.catalog_size
    assert len(list(tree(volume.root))) > 350


def test_forks_and_finder_info_are_those_of_machfs(tmp_path: Path) -> None:
    fixture = FIXTURES["machfs"]
    forks = json.loads((fixture.expected.parent / "forks.json").read_text())
    volume = opened(raw("machfs", tmp_path))
    assert volume.header.block_size == 5120
    vfs = Vfs(volume.root, {}, (), 0)
    found = {}
    for path, node in vfs.walk():
        if isinstance(node, File) and node.streams():
            data = content(vfs, f"{path}/..namedfork/rsrc")
            found[path[1:]] = [len(data), hashlib.sha256(data).hexdigest()]
            attribute = node.xattrs().get("user.com.apple.ResourceFork")
            assert attribute == (data if len(data) <= 65536 else None), path
    assert found == forks
    info = vfs.find("/both/An application").xattrs()["user.com.apple.FinderInfo"]
    assert info[:10] == b"APPLtest\x20\x00"
    assert vfs.find("/Read Me").xattrs()["user.hfs.birthtime"]


def test_names_are_found_in_any_case_and_both_forms(tmp_path: Path) -> None:
    vfs = Vfs(opened(raw("machfs", tmp_path)).root, {}, (), 0)
    for path in (
        "/READ ME",
        "/Caf\u00e9 \u2030 \u2122",
        "/cafe\u0301 \u2030 \u2122",
        "/slash:in it",
        "/Icon\u240d",
    ):
        assert vfs.find(path).stat()
    stored = opened(raw("machfs", tmp_path), names="stored")
    assert "Icon\r" in [name for name, _ in stored.root.entries()]
    greek = opened(raw("machfs", tmp_path), encoding="mac_greek")
    names = [name for name, _ in greek.root.entries()]
    assert "caf\u00e9 \u2030 \u2122" not in names
    assert "Read Me" in names


def test_twenty_thousand_files_of_genisoimage(tmp_path: Path) -> None:
    folder, rng, source = tmp_path / "tree", random.Random(8), {}
    for number in range(20):
        (folder / f"d{number:02}").mkdir(parents=True)
        for n in range(1000):
            path = f"d{number:02}/file number {n:04}.txt"
            source[path] = rng.randbytes(rng.randrange(60))
            (folder / path).write_bytes(source[path])
    disk = tmp_path / "disk.iso"
    command = [tool("genisoimage"), "-quiet", "-hfs", "-part", "-probe", "-o", str(disk), str(folder)]
    made = subprocess.run(command, check=False, capture_output=True)
    if made.returncode:
        pytest.skip("genisoimage makes no HFS here")
    with open_image(disk) as opened_image:
        volume = next(one for one in opened_image.volumes if one.known_format is FORMAT)
        counted = CountingDevice(volume.device)
        filesystem = opened(counted)
        names = [name for name, _ in filesystem.root.entries()]
        assert [f"d{n:02}" for n in range(20)] == [name for name in names if name.startswith("d")]
        assert counted.bytes <= 128 << 10
        found = {path: node for path, node in tree(filesystem.root) if isinstance(node, File)}
        found = {path: node for path, node in found.items() if not path.startswith("Desktop")}
        assert found.keys() == source.keys()
        for path, node in found.items():
            assert node.open().pread(0, 1000) == source[path], path


@pytest.mark.parametrize("name", MANIFESTS)
def test_forks_of_volumes_that_macs_wrote(name: str, tmp_path: Path) -> None:
    source = image(name)
    if source.suffix == ".gz":
        unpacked = tmp_path / "disk"
        unpacked.write_bytes(subprocess.run(["gzip", "-dc", source], check=True, capture_output=True).stdout)
    else:
        unpacked = source
    manifest = source.parent.parent / "manifests" / f"{name.replace('/', '__')}.machfs.sha256"
    with open_image(unpacked) as opened_image:
        vfs = Vfs(opened_image.volumes[0].filesystem.root, {}, (), 0)
        count = 0
        for digest, size, path in manifest_lines(manifest):
            data = content(vfs, f"/{path}")
            assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest), path
            count += "..namedfork" in path
    assert count > 10 or "manyExtents" in name


def manifest_lines(path: Path) -> Iterator[tuple[str, int, str]]:
    for line in path.read_text("utf-8").splitlines():
        digest, _, rest = line.partition("  ")
        if len(digest) == 64:
            size, _, name = rest.partition("  ")
            yield digest, int(size), name


def test_the_copy_serves_where_the_first_block_is_gone(tmp_path: Path) -> None:
    data = bytearray(raw("machfs", tmp_path))
    data[1024:1536] = bytes(512)
    volume = opened(bytes(data))
    assert len(list(tree(volume.root))) == 311
    assert "damaged" in volume.info()["header"]
    assert problems(volume) == [
        f"the master directory block is damaged; its copy is at {len(data) - 1024:#x}"
    ]
    with pytest.raises(FormatError):
        FORMAT.probe(MemoryDevice(bytes(data)))
    assert FORMAT.rescue is not None
    assert FORMAT.rescue(MemoryDevice(bytes(data))) == Match.LIKELY
    assert not FORMAT.rescue(MemoryDevice(bytes(2 << 20) + bytes(data)))


def test_verify_sees_what_is_wrong(tmp_path: Path) -> None:
    clean = raw("machfs", tmp_path)
    volume = opened(clean)
    block = volume.header
    catalog = block.first_block * 512 + catalog_runs(volume)[0][0] * block.block_size
    for at, change, words in (
        (1024 + 0x57, b"\x01", "files in the catalog"),
        (1024 + 0x22, b"\x00\x01", "free blocks"),
        (catalog + 14 + 9, b"\x05", "records in its leaves"),
        (len(clean) - 1024, b"??", "copy of the master directory block is damaged"),
        (1024 + 0x0A, b"\0\0", "not unmounted properly"),
    ):
        damaged = bytearray(clean)
        damaged[at : at + len(change)] = change
        assert any(words in line for line in problems(opened(bytes(damaged)))), words


@pytest.mark.parametrize("variant", sorted(FIXTURES))
def test_random_damage_is_an_image_error(variant: str, tmp_path: Path) -> None:
    clean = raw(variant, tmp_path)
    volume = opened(clean)
    base, size = volume.header.first_block * 512, volume.header.block_size
    places = list(range(1024, 1024 + 162))
    for first, count in catalog_runs(volume):
        places += range(base + first * size, base + (first + min(count, 40)) * size)
    rng = random.Random(5)
    for _ in range(40):
        damaged = bytearray(clean)
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.choice(places)] = rng.choice([0, 1, 127, 255, rng.randrange(256)])
        survive(partial(opened, bytes(damaged)))


def test_what_is_no_volume_is_refused() -> None:
    for data in (b"", bytes(4096), bytes(1024) + b"BD" + bytes(4000), random.Random(1).randbytes(5000)):
        with pytest.raises(FormatError):
            FORMAT.probe(MemoryDevice(data))
