"""MFS: folders of the Finder, chains of blocks, and damage."""

from __future__ import annotations

import hashlib
import random

import pytest

from filesystems.mfs_writer import Volume
from helpers import context, image
from imgmount.core.node import Directory, File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.mfs import FORMAT, MfsVolume
from imgmount.vfs.vfs import Vfs

NOISE = random.Random(2).randbytes(60_000)


def opened(data: bytes, **options: str) -> MfsVolume:
    volume = FORMAT.open(MemoryDevice(data), context(extra=options))
    assert isinstance(volume, MfsVolume)
    return volume


def paths(volume: MfsVolume) -> Vfs:
    return Vfs(volume.root, {}, (), 0)


def content(volume: MfsVolume, path: str) -> bytes:
    node = paths(volume).find(path)
    assert isinstance(node, File)
    return node.open().pread(0, 1 << 20)


def sample() -> Volume:
    writer = Volume()
    writer.folder(17, b"Letters")
    writer.folder(18, b"Old", 17)
    writer.file(b"Read Me", b"read me", NOISE[:3000])
    writer.file(b"in pieces", NOISE, folder=18, step=3)
    return writer


def test_folders_of_the_finder_are_shown_unless_flat() -> None:
    data = sample().image()
    volume = opened(data)
    assert {path for path, _ in paths(volume).walk()} == {
        "/Read Me", "/Desktop", "/Letters", "/Letters/Old", "/Letters/Old/in pieces"
    }  # fmt: skip
    assert content(volume, "/Letters/Old/in pieces") == NOISE
    assert content(volume, "/letters/OLD/In Pieces") == NOISE
    assert content(volume, "/Read Me/..namedfork/rsrc") == NOISE[:3000]
    assert paths(volume).find("/Read Me").xattrs()["user.com.apple.ResourceFork"] == NOISE[:3000]
    assert {path for path, _ in paths(opened(data, flat="yes")).walk()} == {
        "/Read Me",
        "/Desktop",
        "/in pieces",
    }
    assert list(FORMAT.check(volume)) == []


def test_folders_inside_themselves_are_nowhere() -> None:
    writer = sample()
    writer.folder(30, b"first", 31)
    writer.folder(31, b"second", 30)
    writer.folder(32, b"own", 32)
    writer.file(b"hidden", b"x", folder=30)
    volume = opened(writer.image())
    assert {path for path, _ in paths(volume).walk()} >= {"/Letters/Old"}
    assert content(opened(writer.image(), flat="yes"), "/hidden") == b"x"


def test_chains_that_end_early_or_meet_are_told() -> None:
    data = bytearray(sample().image())
    volume = opened(bytes(data))
    place = 1024 + 64
    block = volume._map.index(1)  # the last of some file
    at = place + block * 3 // 2
    pair = int.from_bytes(data[at : at + 2], "big")
    cleared = pair & 0x000F if block % 2 == 0 else pair & 0xF000
    first = 2 << 4 if block % 2 == 0 else 2
    data[at : at + 2] = (cleared | first).to_bytes(2, "big")
    assert (
        list(FORMAT.check(opened(bytes(data)))) == []
    )  # a chain that goes on is read as long as the file is
    writer = Volume()
    writer.file(b"long", NOISE)
    short = bytearray(writer.image())
    short[place + 15 : place + 18] = bytes(3)
    volume = opened(bytes(short))
    node = dict(volume.root.entries())["long"]
    assert isinstance(node, File)
    assert node.open().pread(0, 5000) == NOISE[:5000]
    with pytest.raises(ImageError, match="file 1"):
        node.open().pread(0, 60_000)
    assert any("blocks in a row" in line for line in FORMAT.check(volume))


@pytest.mark.parametrize("name", ["mfs400K", "mfs1440K"])
def test_floppies_that_macs_wrote(name: str) -> None:
    source = image(f"mfs/hughbe__MfsReader__{name}.dsk")
    volume = opened(source.read_bytes(), flat="yes")
    manifest = source.parent.parent / "manifests" / f"mfs__{source.name}.sha256"
    for line in manifest.read_text().splitlines():
        if line[0] != "#":
            digest, size, path = line.split("  ", 2)
            data = content(volume, f"/{path}")
            assert (len(data), hashlib.sha256(data).hexdigest()) == (int(size), digest), path
    assert list(FORMAT.check(volume)) == []


def test_the_folders_of_a_floppy_that_a_mac_wrote() -> None:
    volume = opened(image("mfs/hughbe__MfsReader__mfs400K.dsk").read_bytes())
    found = {path for path, node in paths(volume).walk() if isinstance(node, Directory)}
    assert found == {"/Folder", "/Folder/Child", "/Folder/Empty Folder"}


def test_random_damage_is_an_image_error() -> None:
    clean = sample().image()
    rng = random.Random(3)
    for _ in range(300):
        damaged = bytearray(clean)
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.randrange(1024, 12_000)] = rng.choice([0, 1, 127, 255, rng.randrange(256)])
        try:
            volume = opened(bytes(damaged))
            volume.info()
        except ImageError:
            continue
        for _, node in paths(volume).walk(problem=lambda *_: None):
            try:
                node.stat()
                node.xattrs()
                if isinstance(node, File):
                    node.open().pread(0, 1 << 20)
            except ImageError:
                continue
        assert all("\n" not in line for line in FORMAT.check(volume))


def test_what_is_no_volume_is_refused() -> None:
    for data in (b"", bytes(4096), bytes(1024) + b"\xd2\xd7" + bytes(4000), NOISE[:5000]):
        with pytest.raises(FormatError):
            FORMAT.probe(MemoryDevice(data))
