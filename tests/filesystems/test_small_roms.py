"""cramfs and romfs: images made by others, attributes, damage. The fixtures test reading itself."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pytest

from conformance import manifest, survive
from fixture import all_fixtures, unpack
from helpers import context, image, wrong
from imgmount.core.format import FilesystemFormat, own_check
from imgmount.core.node import Filesystem
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, UnsupportedError
from imgmount.filesystems import cramfs, romfs

FORMATS: dict[str, FilesystemFormat] = {"cramfs": cramfs.FORMAT, "romfs": romfs.FORMAT}
FIXTURES = {
    f"{fixture.format}/{fixture.variant}": fixture for fixture in all_fixtures() if fixture.format in FORMATS
}


@pytest.fixture(params=sorted(FIXTURES))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, bytes]:
    return request.param, FIXTURES[request.param].image_path(tmp_path).read_bytes()


def opened(name: str, data: bytes | bytearray) -> Filesystem:
    filesystem = FORMATS[name.partition("/")[0]].open(MemoryDevice(bytes(data)), context())
    assert isinstance(filesystem, Filesystem)
    return filesystem


@pytest.mark.parametrize(("name", "nodes", "label"), [("cramfs", 0, "test-cram"), ("romfs", 0, "test-romfs")])
def test_images_made_by_others(name: str, nodes: int, label: str, tmp_path: Path) -> None:
    unpack(image(f"other-fs/util-linux__util-linux__{name}.img.xz"), tmp_path / "image")
    filesystem = opened(name, (tmp_path / "image").read_bytes())
    assert (len(manifest(filesystem.root)), filesystem.label) == (nodes, label)
    assert wrong(own_check(filesystem)) == []


def test_facts_that_trees_do_not_have(made: tuple[str, bytes]) -> None:
    filesystem = opened(*made)
    assert filesystem.label == "fixture"
    assert wrong(own_check(filesystem)) == []
    console = filesystem.root.lookup("console").stat()
    assert (stat.S_IFMT(console.mode), console.rdev) == (stat.S_IFCHR, os.makedev(5, 1))
    assert stat.S_ISFIFO(filesystem.root.lookup("fifo").stat().mode)
    assert filesystem.root.lookup("text").stat().mode & 0o111 == 0o111
    assert not filesystem.root.lookup("noise").stat().mode & 0o111


def test_a_wrong_checksum_is_reported(made: tuple[str, bytes]) -> None:
    data = bytearray(made[1])
    data[len(data) // 2 if "cramfs" in made[0] else 300] ^= 1
    (problem,) = wrong(own_check(opened(made[0], data)))
    assert "checksum" in problem or problem.startswith("CRC-32 is ")


def test_truncated_images_fail_where_they_end(made: tuple[str, bytes]) -> None:
    name, data = made
    for part in range(10):
        survive(lambda part=part: opened(name, data[: len(data) * part // 10]))  # type: ignore[misc]


def test_random_damage_costs_its_place_alone(made: tuple[str, bytes]) -> None:
    name, data = made
    rng = random.Random(10)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 12)):
            damaged[rng.choice((rng.randrange(6000), rng.randrange(len(data))))] = rng.choice(
                (0, 0xFF, rng.randrange(256))
            )
        survive(lambda damaged=damaged: opened(name, damaged))  # type: ignore[misc]


def test_a_list_of_files_that_loops_ends(tmp_path: Path) -> None:
    data = bytearray(FIXTURES["romfs/plain"].image_path(tmp_path).read_bytes())
    first = 32
    following = int.from_bytes(data[first : first + 4], "big") & ~15
    kind = data[following + 3] & 15
    data[following : following + 4] = (following | kind).to_bytes(4, "big")
    damage = opened("romfs", data).root.listing().damage
    assert isinstance(damage, FormatError)
    assert "loops" in str(damage)


def test_extended_block_pointers_are_refused_by_name(tmp_path: Path) -> None:
    data = bytearray(FIXTURES["cramfs/little"].image_path(tmp_path).read_bytes())
    data[9] |= 8
    with pytest.raises(UnsupportedError, match="extended block pointers"):
        opened("cramfs", data)
