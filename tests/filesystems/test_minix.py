"""Minix: facts as Linux sees them, damage and lies. The fixtures test reading itself."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from conformance import survive, tree
from filesystems.inode_facts import facts_of, linux_facts, listed, visit
from fixture import all_fixtures
from helpers import context
from imgmount.core.device import BlockDevice
from imgmount.core.format import Match
from imgmount.core.node import Directory, File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.minix import FORMAT, MinixVolume

VARIANTS = {fixture.variant: fixture for fixture in all_fixtures() if fixture.format == "minix"}
SUPER = 1024


def volume(device: BlockDevice | bytes | bytearray) -> MinixVolume:
    opened = FORMAT.open(
        device if isinstance(device, BlockDevice) else MemoryDevice(bytes(device)), context()
    )
    assert isinstance(opened, MinixVolume)
    return opened


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("minix")
    found = {}
    for name, fixture in VARIANTS.items():
        (folder / name).mkdir()
        found[name] = fixture.image_path(folder / name).read_bytes()
    return found


def put(opened: MinixVolume, data: bytes | bytearray, offset: int, value: int, width: int = 4) -> bytearray:
    changed = bytearray(data)
    changed[offset : offset + width] = value.to_bytes(width, opened.super.order)
    return changed


def inode_at(opened: MinixVolume, number: int) -> int:
    return opened.super.inodes_at * opened.super.block_size + (number - 1) * opened.super.inode_size


@pytest.mark.parametrize("variant", VARIANTS)
def test_facts_are_those_that_linux_tells(variant: str, images: dict[str, bytes]) -> None:
    assert facts_of(volume(images[variant]).root) == linux_facts(
        VARIANTS[variant].expected.parent / "stat.txt"
    )


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("v1-14", "1, names of 14 bytes, little endian"), ("v1-big", "1, names of 30 bytes, big endian"),
        ("v2-30", "2, names of 30 bytes, little endian"), ("v3-big", "3, names of 60 bytes, big endian"),
    ],
)  # fmt: skip
def test_versions_are_told_apart(variant: str, words: str, images: dict[str, bytes]) -> None:
    device = MemoryDevice(images[variant])
    opened = volume(device)
    assert FORMAT.probe(device) is Match.CERTAIN
    assert opened.info()["version"] == words
    assert opened.info().get("state", "clean") == "clean"
    assert list(opened.verify()) == []


def test_bytes_stay_in_the_image(images: dict[str, bytes]) -> None:
    device = MemoryDevice(images["v2-14"])
    root = volume(device).root
    for name, pieces in (("odd", None), ("holes", 5), ("block", 1)):
        node = root.lookup(name)
        assert isinstance(node, File)
        content = node.open()
        runs = list(content.extents(0, content.size))
        assert {run.device for run in runs} <= {None, device}
        assert pieces is None or len(runs) >= pieces


def test_what_is_not_clean_is_said(images: dict[str, bytes]) -> None:
    opened = volume(images["v1-big"])
    lines = {
        state: list(volume(put(opened, images["v1-big"], SUPER + 18, state, 2)).verify())
        for state in (0, 1, 2, 3)
    }
    assert [len(lines[state]) for state in (0, 1, 2, 3)] == [1, 0, 2, 1]
    assert any("the image" in line for line in volume(images["v1-big"][:-1024]).verify())


def test_zones_of_several_blocks_are_refused_by_name(images: dict[str, bytes]) -> None:
    for variant, at in (("v1-14", 10), ("v3", 12)):
        opened = volume(images[variant])
        with pytest.raises(UnsupportedError, match=r"minix: zones of 2\*\*1 blocks"):
            volume(put(opened, images[variant], SUPER + at, 1, 2))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_field_of_the_superblock_may_lie(variant: str, images: dict[str, bytes]) -> None:
    opened = volume(images[variant])
    for offset in range(0, 32, 2):
        for value in (0, 1, 0x7FFF, 0xFFFF):
            device = MemoryDevice(bytes(put(opened, images[variant], SUPER + offset, value, 2)))
            try:
                found = volume(device)
                FORMAT.probe(device)
                names = list(found.root.listing().nodes)
                list(found.verify())
            except ImageError:
                continue
            assert len(names) < 1000


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_field_of_an_inode_may_lie(variant: str, images: dict[str, bytes]) -> None:
    opened = volume(images[variant])
    for name in ("large", "deep", "long-link"):
        at = inode_at(opened, opened.root.lookup(name).id)
        for offset in range(0, opened.super.inode_size, 2):
            for value in (0, 0x7FFF, 0xFFFF):
                with suppress(ImageError):
                    visit(volume(put(opened, images[variant], at + offset, value, 2)).root.lookup(name))


def test_a_file_past_the_last_pointer_is_an_error_there(images: dict[str, bytes]) -> None:
    opened = volume(images["v1-30"])
    data = put(opened, images["v1-30"], inode_at(opened, opened.root.lookup("large").id) + 4, 0xFFFFFFFF)
    node = volume(data).root.lookup("large")
    assert isinstance(node, File)
    content = node.open()
    assert content.pread(0, 1024) == images["v1-30"][content_start(content) :][:1024]
    with pytest.raises(FormatError, match="past the last"):
        content.pread(0xFFFF0000, 10)


def content_start(content: BlockDevice) -> int:
    return next(content.extents(0, 1)).offset


def test_a_directory_larger_than_its_image_is_refused(images: dict[str, bytes]) -> None:
    opened = volume(images["v2-30"])
    at = inode_at(opened, opened.root.lookup("deep").id)
    data = put(opened, images["v2-30"], at + 8, 250 << 20)
    data[at + 24 : at + 64] = bytes(40)
    folder = volume(data).root.lookup("deep")
    assert isinstance(folder, Directory)
    assert "a directory of 262144000 bytes" in str(folder.listing().damage)


def test_a_directory_has_one_place(images: dict[str, bytes]) -> None:
    """The innermost directory's file becomes an entry for the root: a loop."""
    data = bytearray(images["v2-30"])
    at = data.index(b"file".ljust(30, b"\0")) - 2
    data[at : at + 2] = b"\1\0"
    opened = volume(data)
    assert survive(lambda: opened) < 1000
    assert any(
        "two places" in str(node.listing().damage)
        for node in listed(opened.root)
        if isinstance(node, Directory)
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_truncated_images_fail_where_they_end(variant: str, images: dict[str, bytes]) -> None:
    data = images[variant]
    spb = volume(data).super
    places = [1024, 1056, *(block * spb.block_size for block in (2, spb.inodes_at, spb.first_zone))]
    for place in places:
        for cut in (place - 1, place, place + 100):
            survive(lambda cut=cut: volume(data[:cut]))  # type: ignore[misc]
    for part in range(1, 10, 2):
        survive(lambda part=part: volume(data[: len(data) * part // 10]))  # type: ignore[misc]


@pytest.mark.parametrize("variant", VARIANTS)
def test_random_damage_costs_its_place_alone(variant: str, images: dict[str, bytes]) -> None:
    data = images[variant]
    rng = random.Random(4)
    opened = volume(data)
    places = [SUPER, *(inode_at(opened, node.id) for _, node in tree(opened.root))]
    for _ in range(15):
        damaged = bytearray(data)
        for _ in range(8):
            at = rng.choice(places) + rng.randrange(64)
            damaged[at] = rng.choice((0, 0xFF, rng.randrange(256)))
        survive(lambda damaged=damaged: volume(damaged))  # type: ignore[misc]


def test_a_magic_alone_is_not_enough() -> None:
    rng = random.Random(3)
    for magic in (0x137F, 0x2478):
        for _ in range(300):
            data = bytearray(rng.randbytes(1 << 14))
            data[1040:1042] = magic.to_bytes(2, "little")
            with suppress(ImageError):
                assert FORMAT.probe(MemoryDevice(bytes(data))) is not Match.CERTAIN
