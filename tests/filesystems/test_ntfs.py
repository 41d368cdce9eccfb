"""NTFS beyond its fixtures: extents, what reading costs, refusals by name, damage, images of others."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance import manifest, sha256, tree
from fixture import unpack
from helpers import FIXTURES, context, image, tool
from imgmount.chain.open import open_image
from imgmount.core.device import BlockDevice
from imgmount.core.format import Options
from imgmount.core.node import Directory, File, Symlink
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MountError, UnsupportedError
from imgmount.filesystems.ntfs import FORMAT, records
from imgmount.filesystems.ntfs.volume import NtfsVolume

pytest.importorskip("pyfsntfs")
FOLDER = FIXTURES / "filesystems/ntfs"


def load(variant: str, folder: Path) -> bytes:
    unpack(FOLDER / variant / f"{variant}.img.xz", folder / variant)
    return (folder / variant).read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return load("plain", tmp_path_factory.mktemp("ntfs"))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return load("features", tmp_path_factory.mktemp("ntfs"))


def volume(data: bytes | BlockDevice, **options: Any) -> NtfsVolume:
    device = MemoryDevice(data) if isinstance(data, bytes) else data
    opened = FORMAT.open(device, context(**options))
    assert isinstance(opened, NtfsVolume)
    return opened


def file(opened: NtfsVolume, path: str) -> File:
    node = dict(tree(opened.root))[path]
    assert isinstance(node, File)
    return node


def record_at(data: bytes, name: str) -> int:
    """Where the file record is that holds ``name``."""
    at = data.find(name.encode("utf-16-le"), data.find(b"FILE0"))
    while at >= 0:
        record = at // 1024 * 1024
        if data[record : record + 4] == b"FILE":
            return record
        at = data.find(name.encode("utf-16-le"), at + 1)
    raise AssertionError(name)


def attribute_at(data: bytes, record: int, kind: int) -> int:
    at = record + int.from_bytes(data[record + 20 : record + 22], "little")
    while int.from_bytes(data[at : at + 4], "little") != kind:
        at += int.from_bytes(data[at + 4 : at + 8], "little")
    return at


@pytest.mark.parametrize(("name", "runs"), [("odd size.bin", 1), ("one.bin", 3)])
def test_plain_files_are_extents_of_the_device(plain: bytes, name: str, runs: int) -> None:
    opened = volume(plain)
    content = file(opened, name).open()
    extents = list(content.extents(0, content.size))
    assert len(extents) >= runs
    assert {run.device for run in extents} == {opened.device}


def test_holes_are_holes(features: bytes) -> None:
    opened = volume(features)
    content = file(opened, "hole first.bin").open()
    first, last = content.extents(0, content.size)
    assert first.device is None
    assert last.device is opened.device
    stat = file(opened, "hole first.bin").stat()
    assert stat.allocated is not None
    assert stat.allocated < stat.size // 10


@pytest.mark.parametrize("name", ["compressed/text.txt", "compressed/mixed.bin", "xpress4k.txt", "lzx.txt"])
def test_coded_files_are_read_through_the_library(features: bytes, name: str) -> None:
    content = file(volume(features), name).open()
    assert [run.device for run in content.extents(0, content.size)] == [content]


def test_runs_and_the_library_agree(plain: bytes, features: bytes) -> None:
    for data in (plain, features):
        opened = volume(data, extra={"system": "show"})
        for path, node in tree(opened.root):
            if not isinstance(node, File) or not node.stat().size:
                continue
            entry = opened.entry(node.id)
            size = node.stat().size
            assert node.open().pread(0, size) == entry.read_buffer_at_offset(size, 0), path


def test_what_was_never_written_reads_as_zeros(plain: bytes) -> None:
    data = bytearray(plain)
    attribute = attribute_at(plain, record_at(plain, "odd size.bin"), records.DATA)
    data[attribute + 56 : attribute + 64] = struct.pack("<Q", 5000)  # the initialised size
    before, after = (file(volume(bytes(raw)), "odd size.bin").open() for raw in (plain, data))
    assert after.pread(0, 5000) == before.pread(0, 5000)
    assert after.pread(5000, 40000) == bytes(before.size - 5000)


def test_a_compressed_stream_is_never_taken_for_plain(features: bytes) -> None:
    data = bytearray(features)
    record = record_at(features, "text.txt")
    standard = attribute_at(features, record, 0x10)
    flags = standard + 24 + 32
    assert data[flags + 1] & 0x08
    data[flags + 1] &= ~0x08  # the file no longer says that it is compressed; its stream does
    intact, changed = (file(volume(bytes(raw)), "compressed/text.txt").open() for raw in (features, data))
    assert changed.pread(0, 1 << 20) == intact.pread(0, 1 << 20)


def test_streams_are_extended_attributes(features: bytes) -> None:
    opened = volume(features)
    node = file(opened, "streams.txt")
    found = node.xattrs()
    assert found["user.ads.Zone.Identifier"] == b"[ZoneTransfer]\r\nZoneId=3\r\n"
    assert len(found["user.ads.big one"]) == 9000
    assert found["user.ntfs.attributes"] == b"0x00000020"
    assert opened.root.lookup("dir").xattrs()["user.ads.on a directory"] == b"yes\n"
    assert "user.ads.WofCompressedData" not in file(opened, "lzx.txt").xattrs()


def test_system_files_are_hidden_unless_they_are_asked_for(plain: bytes) -> None:
    assert not [name for name, _ in volume(plain).root.entries() if name.startswith("$")]
    shown = dict(volume(plain, extra={"system": "show"}).root.entries())
    assert {"$MFT", "$Boot", "$Extend"} <= shown.keys()
    with pytest.raises(MountError, match="system=maybe: hide or show is meant"):
        volume(plain, extra={"system": "maybe"})


def test_hard_links_are_one_node(plain: bytes) -> None:
    opened = volume(plain)
    one, two = file(opened, "resident.bin"), file(opened, "dir/hard link.bin")
    assert (one.id, one.stat()) == (two.id, two.stat())
    assert one.stat().nlink == 2


def test_names_are_found_in_any_case(plain: bytes) -> None:
    assert volume(plain).root.lookup("readme.txt").stat().size == 29


def with_reparse(data: bytes, name: str, tag: int, attributes: int = 0) -> bytes:
    changed = bytearray(data)
    record = record_at(data, name)
    point = attribute_at(data, record, records.REPARSE_POINT)
    changed[point + 24 : point + 28] = struct.pack("<I", tag)
    flags = attribute_at(data, record, 0x10) + 24 + 32
    changed[flags : flags + 4] = struct.pack(
        "<I", int.from_bytes(changed[flags : flags + 4], "little") | attributes
    )
    return bytes(changed)


@pytest.mark.parametrize(
    ("tag", "attributes", "words"),
    [
        (0x80000013, 0, "a deduplicated file"),
        (0xC0000004, 0, "a migrated file"),
        (0x9000101A, 0x1000, "a cloud file"),
    ],
)
def test_content_that_is_elsewhere_is_refused_by_name(
    features: bytes, tag: int, attributes: int, words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        file(volume(with_reparse(features, "relative.lnk", tag, attributes)), "relative.lnk").open()


def test_efs_is_refused_by_name(plain: bytes) -> None:
    data = bytearray(plain)
    data[attribute_at(plain, record_at(plain, "odd size.bin"), 0x10) + 24 + 33] |= 0x40
    with pytest.raises(UnsupportedError, match="EFS"):
        file(volume(bytes(data)), "odd size.bin").open()


@pytest.mark.parametrize("tag", [0x80000023, 0x80000024, 0x80000025, 0x80000026])
def test_linux_special_files_are_special(features: bytes, tag: int) -> None:
    assert manifest(volume(with_reparse(features, "relative.lnk", tag)).root)["relative.lnk"] == "special"


def test_a_missing_library_is_named_with_the_pip_line(
    plain: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyfsntfs", None)
    with pytest.raises(UnsupportedError, match=r"pip install imgmount\[ntfs\]"):
        volume(plain)
    (tmp_path / "image").write_bytes(plain)
    with open_image(tmp_path / "image") as opened:
        assert "pip install" in str(opened.volumes[0].problem)


def test_a_volume_that_was_not_unmounted_is_named(plain: bytes, tmp_path: Path) -> None:
    assert volume(plain).info()["state"] == "clean"
    assert list(volume(plain).verify()) == []
    disk = tmp_path / "disk"
    disk.write_bytes(plain)
    subprocess.run(
        [tool("ntfsfix"), str(disk)], check=True, capture_output=True
    )  # it asks Windows for a check
    dirty = disk.read_bytes()
    assert volume(dirty).info()["state"].startswith("not unmounted")
    assert list(volume(dirty).verify()) == ["the volume was not unmounted properly"]


# --- damage
# ------------------------------------------------------------------------------------------------------------------


def survey(data: bytes, **options: Any) -> None:
    """Read everything; only an ``ImageError`` may come of it."""
    try:
        root = volume(data, **options).root
    except ImageError:
        return
    levels = [root]
    for _ in range(500):
        if not levels:
            break
        for node in levels.pop().listing().nodes.values():
            if isinstance(node, Directory):
                levels.append(node)
            try:
                if isinstance(node, File):
                    content = node.open()
                    content.pread(0, 1 << 16)
                    content.pread(max(0, content.size - 5), 5)
                elif isinstance(node, Symlink):
                    node.readlink()
                node.xattrs()
            except ImageError:
                continue


@pytest.mark.parametrize("part", range(4))
def test_random_damage_never_escapes_as_another_error(features: bytes, plain: bytes, part: int) -> None:
    rng = random.Random(part)
    for number in range(50):
        source = features if number % 2 else plain
        data = bytearray(source)
        used = [at for at in range(0, len(source), 1024) if source[at : at + 4] in (b"FILE", b"INDX")]
        for _ in range(rng.choice((1, 8, 60))):
            at = rng.choice(used) + rng.randrange(1024) if rng.random() < 0.9 else rng.randrange(512)
            data[at] = rng.choice((0, 255, rng.randrange(256)))
        survey(bytes(data), extra={"ads": "files"} if number % 3 == 0 else {})


def test_truncation(plain: bytes) -> None:
    rng = random.Random(2)
    for cut in [0, 1, 68, 69, 511, 512, 4096, *(rng.randrange(len(plain)) for _ in range(20))]:
        survey(plain[:cut])


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (11, b"\0\0"),
        (11, b"\1\2"),
        (13, b"\0"),
        (13, b"\3"),
        (13, b"\xe0"),
        (0x28, bytes(8)),
        (0x40, b"\0"),
        (0x44, b"\x80"),
    ],
)
def test_a_boot_sector_that_makes_no_sense_is_refused(plain: bytes, at: int, value: bytes) -> None:
    data = plain[:at] + value + plain[at + len(value) :]
    with pytest.raises(FormatError):
        FORMAT.probe(MemoryDevice(data))


def test_a_directory_inside_itself_is_refused(features: bytes) -> None:
    opened = volume(features)
    opened.library.claim(70, 5)
    opened.library.claim(70, 5)
    with pytest.raises(FormatError, match="belongs to two"):
        opened.library.claim(70, 71)


# --- images of others
# --------------------------------------------------------------------------------------------------------


def test_the_volume_of_util_linux() -> None:
    with open_image(image("ntfs/util-linux__util-linux__ntfs.img.xz")) as opened:
        assert str(opened) == "file > xz > ntfs"
        assert list(opened.volumes[0].filesystem.root.entries()) == []
        assert opened.volumes[0].filesystem.label == "Новый том"


def test_the_windows_volume_of_dfvfs(tmp_path: Path) -> None:
    facts = image("manifests/qcow2__log2timeline__dfvfs__windows_volume.qcow2.sha256").read_text()
    disk = tmp_path / "disk"
    source = image("qcow2/log2timeline__dfvfs__windows_volume.qcow2")
    subprocess.run([tool("qemu-img"), "convert", "-O", "raw", source, disk], check=True)
    with open_image(disk, Options(fs="ntfs")) as opened:
        found = {
            path: node for path, node in tree(opened.volumes[0].filesystem.root) if isinstance(node, File)
        }
        for line in facts.splitlines():
            digest, _, path = line.partition("  ")
            name = path.removeprefix("./")
            if name in found:
                with found[name].open() as content:
                    assert sha256(content) == digest, name
        assert found
