"""SquashFS: images made by others, attributes, codecs, damage and hostile structures.

The fixtures test reading itself.
"""

from __future__ import annotations

import lzma
import os
import random
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from conformance import manifest, survive
from filesystems.squash_big import big_endian
from fixture import all_fixtures
from helpers import context, image, tool
from imgmount.codecs import lz4, lzo
from imgmount.core.device import BlockDevice
from imgmount.core.format import Match
from imgmount.core.node import File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.squashfs import FORMAT
from imgmount.filesystems.squashfs.codec import codec
from imgmount.filesystems.squashfs.volume import SquashVolume
from imgmount.sources.file import FileDevice

VARIANTS = {fixture.variant: fixture for fixture in all_fixtures() if fixture.format == "squashfs"}


def volume(device: BlockDevice | bytes | bytearray) -> SquashVolume:
    opened = FORMAT.open(
        device if isinstance(device, BlockDevice) else MemoryDevice(bytes(device)), context()
    )
    assert isinstance(opened, SquashVolume)
    return opened


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("squashfs")
    found = {}
    for name in ("gzip", "lzo", "lz4", "stored", "gzip-4k"):
        (folder / name).mkdir()
        found[name] = VARIANTS[name].image_path(folder / name).read_bytes()
    return found


def file(opened: SquashVolume, name: str) -> BlockDevice:
    node = opened.root.lookup(name)
    assert isinstance(node, File)
    return node.open()


def test_a_volume_without_attributes_is_not_asked_for_any(images: dict[str, bytes], tmp_path: Path) -> None:
    assert volume(images["gzip"]).root.xattr_prefixes == ("user.", "trusted.", "security.")
    without = VARIANTS["v3-little"].image_path(tmp_path).read_bytes()
    assert not list(volume(without).root.xattr_prefixes)


@pytest.mark.parametrize("compressor", ["gzip", "lz4", "lzma", "lzo", "no-compression", "xz", "zstd"])
def test_images_made_by_others(compressor: str) -> None:
    name = f"mxmlnkn__ratarmount__folder-symlink.{compressor}.squashfs"
    lines = image(f"manifests/squashfs__{name}.sha256").read_text().splitlines()
    expected = {
        path: (int(size), digest)
        for digest, size, path in (line.split("  ") for line in lines if line[0] != "#")
    }
    with FileDevice(image(f"squashfs/{name}")) as device:
        found = manifest(volume(device).root)
    assert {path: fact for path, fact in found.items() if isinstance(fact, tuple)} == expected


def test_attributes_are_those_of_the_folder(images: dict[str, bytes]) -> None:
    root = volume(images["gzip"]).root
    prose = root.lookup("prose")
    facts = prose.stat()
    assert (facts.uid, facts.gid, facts.nlink, facts.mtime_ns) == (1234, 70000, 2, 1600000000 * 10**9)
    assert root.lookup("deep").lookup("linked").id == prose.id  # type: ignore[attr-defined]
    assert root.lookup("readme.txt").xattrs() == {"user.note": b"of readme.txt", "trusted.long": b"v" * 500}
    assert root.lookup("deep").lookup("a").xattrs()["user.note"] == b"of deep/a"  # type: ignore[attr-defined]
    assert root.lookup("console").stat().rdev == os.makedev(5, 1)
    assert root.lookup("disk").stat().rdev == os.makedev(259, 70000)
    assert stat.S_ISFIFO(root.lookup("fifo").stat().mode)
    assert volume(images["gzip"]).info()["compressor"] == "gzip"


def test_bytes_that_are_stored_stay_in_the_image(images: dict[str, bytes]) -> None:
    device = MemoryDevice(images["stored"])
    opened = volume(device)
    content = file(opened, "mixed")
    runs = list(content.extents(0, content.size))
    assert {run.device for run in runs} == {None, device}
    assert sum(run.length for run in runs if run.device is None) >= 500000
    device = MemoryDevice(images["gzip-4k"])
    noise = file(volume(device), "noise")
    assert {run.device for run in noise.extents(0, noise.size)} == {device}


def test_holes_take_no_space(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with (tmp_path / "tree" / "large").open("wb") as out:
        out.seek((40 << 20) - 3)
        out.write(b"end")
    command = [
        tool("mksquashfs"),
        str(tmp_path / "tree"),
        str(tmp_path / "out"),
        "-b",
        "1M",
        "-quiet",
        "-no-progress",
    ]
    subprocess.run(command, check=True, capture_output=True)
    with FileDevice(tmp_path / "out") as device:
        content = file(volume(device), "large")
        assert content.size == 40 << 20
        assert content.pread((40 << 20) - 5, 10) == b"\0\0end"
        assert next(content.extents(0, content.size)).device is None
        facts = volume(device).root.lookup("large").stat()
        assert facts.allocated is not None
        assert facts.allocated <= 1 << 20


@pytest.mark.parametrize("name", ["lzo", "lz4"])
def test_the_pure_decoders_refuse_damage(
    name: str, images: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lz4, "_library", None)
    expected = manifest(volume(images["gzip"]).root)
    assert manifest(volume(images[name]).root) == expected
    codec = lzo if name == "lzo" else lz4
    rng = random.Random(5)
    for _ in range(300):
        data = rng.randbytes(rng.randrange(200))
        for size in (0, 1, 100, 5000):
            with suppress(FormatError):
                assert len(codec.decode_upto(data, size)) <= size
            with suppress(FormatError):
                assert len(codec.decode(data, size)) == size


def test_other_versions_are_refused_by_name(images: dict[str, bytes]) -> None:
    later = bytearray(images["gzip"])
    later[0x1E] = 1
    with pytest.raises(UnsupportedError, match=r"version 4\.1"):
        volume(later)


def test_the_magic_of_a_device_maker_is_told_and_the_fields_decide(images: dict[str, bytes]) -> None:
    expected = manifest(volume(images["gzip"]).root)
    for magic in (b"shsq", b"qshs", b"hsqt", b"tqsh", b"sqlz", b"zlqs"):
        data = magic + images["gzip"][4:]
        assert FORMAT.probe(MemoryDevice(data)) is Match.CERTAIN
        assert manifest(volume(data).root) == expected
        assert volume(data).info()["magic"].startswith(magic.decode())
    with pytest.raises(FormatError, match="version 7 is not from 1 to 4"):
        volume(b"shsq" + images["gzip"][4:0x1C] + b"\7\7" + images["gzip"][0x1E:])


@pytest.mark.parametrize("name", ["gzip", "stored"])
@pytest.mark.parametrize("headers", ["big", "little"])
def test_big_endian_volumes_of_version_4(name: str, headers: str, images: dict[str, bytes]) -> None:
    """The same structures in the other byte order; sizes before metadata blocks in either, as makers have them."""
    big = big_endian(images[name], headers)
    opened = volume(big)
    assert opened.super.order == "big"
    assert manifest(opened.root) == manifest(volume(images[name]).root)


def test_lzma_with_properties_and_no_size_where_zlib_is_declared() -> None:
    data = bytes(range(256)) * 40
    coded = lzma.compress(
        data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "lc": 1, "lp": 2, "pb": 1}]
    )
    properties = bytes([(1 * 5 + 2) * 9 + 1]) + (1 << 17).to_bytes(4, "little")
    coder = codec(1, 1 << 17)
    assert bytes(coder.exactly(properties + coded, len(data))) == data
    assert bytes(coder.upto(properties + coded, len(data))) == data
    alone = lzma.compress(data, lzma.FORMAT_ALONE)
    assert bytes(coder.exactly(alone, len(data))) == data
    bare = lzma.compress(
        data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2}]
    )
    assert bytes(coder.exactly(bare, len(data))) == data
    for bad in (b"", b"\x78", b"\xff" * 20, properties, b"\0" * 20):
        with pytest.raises(ImageError):
            coder.exactly(bad, len(data))


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0x0C, 5000), (0x16, 30), (0x1A, 0), (0x40, 1 << 60), (0x48, 3), (0x14, 9), (0x28, 10), (0x26, 1)],
)
def test_a_superblock_that_cannot_be_is_refused(offset: int, value: int, images: dict[str, bytes]) -> None:
    data = bytearray(images["gzip"])
    width = 8 if offset in (0x28, 0x40, 0x48) else 2
    data[offset : offset + width] = value.to_bytes(width, "little")
    with pytest.raises(ImageError):
        volume(data)


def test_damage_costs_its_block_alone(images: dict[str, bytes]) -> None:
    opened = volume(images["gzip"])
    inode = opened.inode(opened.root.lookup("prose").id)
    data = bytearray(images["gzip"])
    data[inode.start + 100 : inode.start + 120] = bytes(20)
    damaged = file(volume(data), "prose")
    with pytest.raises(FormatError, match="block"):
        damaged.pread(0, 10)
    assert damaged.pread(131072, 1000) == file(opened, "prose").pread(131072, 1000)


def test_a_directory_has_one_place(images: dict[str, bytes]) -> None:
    """An entry of the uncompressed directory table is made to mean the directory that holds it."""
    data = bytearray(images["stored"])
    opened = volume(data)
    inner = opened.root.lookup("deep").lookup("a")  # type: ignore[attr-defined]
    at = data.index(b"\x01\0\0\0b", opened.super.directory_table) - 4
    data[at : at + 2] = (inner.id & 0xFFFF).to_bytes(2, "little")
    looped = volume(data).root.lookup("deep").lookup("a").lookup("b")  # type: ignore[attr-defined]
    assert "two places" in str(looped.listing().damage)
    assert survive(lambda: volume(data)) < 2000


@pytest.mark.parametrize("variant", ["gzip", "stored"])
def test_truncated_images_fail_where_they_end(variant: str, images: dict[str, bytes]) -> None:
    data = images[variant]
    for part in range(10):
        survive(lambda part=part: volume(data[: len(data) * part // 10]))  # type: ignore[misc]


@pytest.mark.parametrize("variant", ["gzip", "stored", "gzip-4k"])
def test_random_damage_costs_its_place_alone(variant: str, images: dict[str, bytes]) -> None:
    data = images[variant]
    rng = random.Random(6)
    start = volume(data).super.inode_table
    for _ in range(70):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 12)):
            at = rng.choice((rng.randrange(96), rng.randrange(start, len(data))))
            damaged[at] = rng.choice((0, 0xFF, rng.randrange(256)))
        survive(lambda damaged=damaged: volume(damaged))  # type: ignore[misc]
