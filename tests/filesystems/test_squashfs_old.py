"""SquashFS 1 to 3: facts, damage and lies, on what old.py beside the fixtures writes; unsquashfs and 7-Zip read those."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from conformance import survive
from fixture import all_fixtures
from helpers import FIXTURES, context, tool
from imgmount.core.node import Directory, File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.squashfs import FORMAT
from imgmount.filesystems.squashfs.volume import SquashVolume

VARIANTS = {
    fixture.variant: fixture
    for fixture in all_fixtures()
    if fixture.format == "squashfs" and fixture.variant[0] == "v"
}
KINDS = [(version, order) for version in ("1.0", "2.0", "3.1") for order in ("little", "big")]
NAMES = [f"{version} {order}" for version, order in KINDS]


def volume(data: bytes | bytearray) -> SquashVolume:
    opened = FORMAT.open(MemoryDevice(bytes(data)), context())
    assert isinstance(opened, SquashVolume)
    return opened


def fixture(variant: str, folder: Path) -> SquashVolume:
    return volume(VARIANTS[variant].image_path(folder).read_bytes())


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Small volumes of every kind, nothing compressed, so that every field is at hand."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "tree" / "deep" / "a").mkdir(parents=True)
    rng = random.Random(1)
    for name, size in (("file", 70000), ("deep/a/tail", 500), ("deep/hole", 0)):
        (folder / "tree" / name).write_bytes(rng.randbytes(size))
    (folder / "tree" / "deep/hole").write_bytes(bytes(300000))
    (folder / "tree" / "link").symlink_to("deep/a")
    os.mkfifo(folder / "tree" / "fifo")
    found = {}
    for version, order in KINDS:
        image = folder / f"{version} {order}"
        command = [
            sys.executable,
            str(FIXTURES / "filesystems/squashfs/old.py"),
            str(folder / "tree"),
            str(image),
        ]
        subprocess.run([*command, version, order, "gzip", "stored"], check=True)
        found[image.name] = image.read_bytes()
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_facts_are_those_of_the_folder(variant: str, tmp_path: Path) -> None:
    opened = fixture(variant, tmp_path)
    root = opened.root
    prose = root.lookup("prose").stat()
    assert (prose.uid, prose.gid, prose.mtime_ns) == (1234, 70000, 1600000000 * 10**9)
    assert prose.nlink == (2 if variant.startswith("v3") else 1)
    assert root.lookup("nothing").stat().size == 0
    assert root.lookup("console").stat().rdev == os.makedev(5, 1)
    many = root.lookup("many")
    assert isinstance(many, Directory)
    owners = [(node.stat().uid, node.stat().gid) for _, node in sorted(many.listing().nodes.items())]
    assert owners[:40] == [(2000 + number, 3000 + number % 10) for number in range(40)]
    assert owners[40] == (0, 0)
    order = "big" if "big" in variant else "little"
    assert opened.info()["version"].startswith(variant[1])
    assert opened.info()["version"].endswith(f"{order} endian")
    assert opened.info()["compressor"] == ("lzma" if "lzma" in variant else "gzip")


@pytest.mark.parametrize(
    "variant", [name for name in VARIANTS if "lzma" not in name]
)  # which unsquashfs does not know there
def test_owners_and_modes_are_those_that_unsquashfs_tells(variant: str, tmp_path: Path) -> None:
    image = VARIANTS[variant].image_path(tmp_path)
    command = [tool("unsquashfs"), "-lln", "-d", "", str(image)]
    told = subprocess.run(
        command, check=True, capture_output=True, text=True, env={"TZ": "UTC", "LC_ALL": "C.UTF-8"}
    ).stdout
    expected = {}
    for line in told.splitlines():
        words = line.split(None, 5)
        if len(words) == 6 and words[0][0] == "-":
            expected[words[5].removeprefix("/")] = (words[0], words[1], int(words[2]))
    root = fixture(variant, tmp_path).root
    found = {}
    for name, node in root.lookup("many").entries():  # type: ignore[attr-defined]
        facts = node.stat()
        mode = "-" + "".join(
            letter if facts.mode >> 8 - bit & 1 else "-" for bit, letter in enumerate("rwxrwxrwx")
        )
        found[f"many/{name}"] = (mode, f"{facts.uid}/{facts.gid}", facts.size)
    assert len(found) == 700
    assert {path: fact for path, fact in expected.items() if path.startswith("many/")} == found


def test_holes_take_no_space(tmp_path: Path) -> None:
    zeros = fixture("v3-little", tmp_path).root.lookup("zeros")
    assert isinstance(zeros, File)
    assert next(zeros.open().extents(0, 131072)).device is None


def test_bytes_that_are_stored_stay_in_the_image(stored: dict[str, bytes]) -> None:
    for name, data in stored.items():
        device = MemoryDevice(data)
        opened = FORMAT.open(device, context())
        node = opened.root.lookup("file")
        assert isinstance(node, File)
        assert {run.device for run in node.open().extents(0, 70000)} == {device}, name


def test_versions_that_never_were_are_refused_by_name(stored: dict[str, bytes]) -> None:
    for version in (0, 5):
        data = bytearray(stored["3.1 little"])
        data[0x1C] = version
        with pytest.raises(UnsupportedError, match=f"version {version}"):
            volume(data)
    data = bytearray(stored["3.1 big"])
    data[0x1D] = 4
    with pytest.raises(UnsupportedError, match="version 4"):
        volume(data)


@pytest.mark.parametrize("name", NAMES)
def test_every_byte_of_the_structures_may_lie(name: str, stored: dict[str, bytes]) -> None:
    data = stored[name]
    spb = volume(data).super
    for at in (*range(4, 119), *range(spb.inode_table, spb.bytes_used)):
        for value in (0, 0xFF):
            damaged = bytearray(data)
            damaged[at] = value
            survive(lambda damaged=damaged: volume(damaged), 200)  # type: ignore[misc]


@pytest.mark.parametrize("name", NAMES)
def test_a_directory_has_one_place(name: str, stored: dict[str, bytes]) -> None:
    """The inode of the innermost folder is told that its entries are those of the one above: it is in itself."""
    opened = volume(stored[name])
    deep = opened.root.lookup("deep")
    assert isinstance(deep, Directory)
    outer, inner = opened.inode(deep.id), opened.inode(deep.lookup("a").id)
    data = bytearray(stored[name])
    at = opened.super.inode_table + 2 + (deep.lookup("a").id & 0xFFFF)
    other = opened.super.inode_table + 2 + (deep.id & 0xFFFF)
    size = outer.place[1] - (deep.id & 0xFFFF)
    assert inner.place[1] - (deep.lookup("a").id & 0xFFFF) == size
    data[at : at + size] = data[other : other + size]
    assert survive(lambda: volume(data)) < 200
    looped = volume(data).root.lookup("deep").lookup("a").lookup("a")  # type: ignore[attr-defined]
    assert "two places" in str(looped.listing().damage)


@pytest.mark.parametrize("variant", VARIANTS)
def test_truncated_images_fail_where_they_end(variant: str, tmp_path: Path) -> None:
    data = VARIANTS[variant].image_path(tmp_path).read_bytes()
    spb = volume(data).super
    for place in (4, 119, spb.inode_table, spb.directory_table, spb.fragment_table, spb.id_table):
        for cut in (place - 1, place, place + 3):
            survive(lambda cut=cut: volume(data[:cut]))  # type: ignore[misc]


@pytest.mark.parametrize("variant", ["v1-little", "v2-big", "v3-little", "v3-lzma", "v3-lzma-big"])
def test_damage_costs_its_block_alone(variant: str, tmp_path: Path) -> None:
    data = bytearray(VARIANTS[variant].image_path(tmp_path).read_bytes())
    opened = volume(data)
    expected = opened.root.lookup("prose").open().pread(0, 270000)  # type: ignore[attr-defined]
    start = opened.inode(opened.root.lookup("prose").id).start
    data[start + 40 : start + 300] = bytes(260)
    damaged = volume(data).root.lookup("prose").open()  # type: ignore[attr-defined]
    with pytest.raises(FormatError):
        damaged.pread(0, 10)
    size = opened.super.block_size
    assert damaged.pread(size, 1000) == expected[size : size + 1000]


@pytest.mark.parametrize("variant", VARIANTS)
def test_random_damage_costs_its_place_alone(variant: str, tmp_path: Path) -> None:
    data = VARIANTS[variant].image_path(tmp_path).read_bytes()
    rng = random.Random(6)
    start = volume(data).super.inode_table
    for _ in range(10):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 12)):
            at = rng.choice((rng.randrange(119), rng.randrange(start, len(data))))
            damaged[at] = rng.choice((0, 0xFF, rng.randrange(256)))
        with suppress(ImageError):
            survive(lambda damaged=damaged: volume(damaged))  # type: ignore[misc]
