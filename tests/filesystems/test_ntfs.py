"""NTFS beyond its fixtures: extents, streams, links, attributes, refusals by name, other implementations."""

from __future__ import annotations

import logging
import random
import re
import struct
import subprocess
from pathlib import Path

import pytest

from conformance import check_device, manifest, sha256, tree
from filesystems.ntfs_images import attribute_at, content, file, load, patched, record_at, volume
from helpers import context, image, tool
from imgmount.chain.open import open_image
from imgmount.core.format import Options
from imgmount.core.node import File, Symlink
from imgmount.core.slices import MemoryDevice
from imgmount.errors import UnsupportedError
from imgmount.filesystems.ntfs import records, wof
from imgmount.filesystems.ntfs.check import check
from imgmount.filesystems.ntfs.compressed import CompressedDevice
from imgmount.filesystems.ntfs.runs import HOLE, Disk, Runs
from imgmount.filesystems.ntfs.volume import NtfsVolume


@pytest.fixture(scope="module")
def plain() -> bytes:
    return load("plain")


@pytest.fixture(scope="module")
def features() -> bytes:
    return load("features")


@pytest.mark.parametrize(("name", "runs"), [("odd size.bin", 1), ("one.bin", 3)])
def test_plain_files_are_extents_of_the_device(plain: bytes, name: str, runs: int) -> None:
    opened = volume(plain)
    device = file(opened, name).open()
    extents = list(device.extents(0, device.size))
    assert len(extents) >= runs
    assert {run.device for run in extents} == {opened.device}


def test_holes_are_holes(features: bytes) -> None:
    opened = volume(features)
    device = file(opened, "hole first.bin").open()
    first, last = device.extents(0, device.size)
    assert first.device is None
    assert last.device is opened.device
    stat = file(opened, "hole first.bin").stat()
    assert stat.allocated is not None
    assert stat.allocated < stat.size // 10


def test_units_that_did_not_get_smaller_are_extents_too() -> None:
    noise = random.Random(1).randbytes(32 * 4096)
    packed = b"\xff\x3f" + noise[:4096]  # one chunk, stored as it is
    image = MemoryDevice(noise + packed.ljust(2 * 4096, b"\0"))
    runs = Runs()
    for count, start in ((16, 0), (16, HOLE), (18, 16), (14, HOLE)):  # the third goes on into the last unit
        runs.add(count, start)
    expected = noise[:65536] + bytes(65536) + noise[65536:131072] + noise[:4096] + bytes(60000)
    device = CompressedDevice(Disk(image, 4096, context().cache), runs, 16, len(expected))
    check_device(device, expected)
    assert [run.device is image for run in device.extents(0, device.size)] == [True, False, True, False]


@pytest.mark.parametrize(
    "name", ["compressed/mixed.bin", "compressed/text.txt", "lzx.txt", "xpress4k.txt", "one.bin", "holes.bin"]
)
def test_random_reads_from_eight_threads(plain: bytes, features: bytes, name: str) -> None:
    opened = volume(plain if name == "one.bin" else features)
    check_device(file(opened, name).open(), content(opened, name))


def test_a_file_in_hundreds_of_pieces_with_an_attribute_list() -> None:
    opened = volume(load("lists"))
    device = file(opened, "in pieces.txt").open()
    check_device(device, device.pread(0, device.size))
    assert len(list(device.extents(0, device.size))) > 500


def test_the_library_agrees(plain: bytes, features: bytes) -> None:
    library = pytest.importorskip("pyfsntfs")
    from imgmount.core.device_file import DeviceFile

    for data in (plain, features, load("lists"), load("deleted")):
        opened = volume(data, extra={"system": "show"})
        other = library.volume()
        other.open_file_object(DeviceFile(opened.device))
        compared = 0
        for path, node in tree(opened.root):
            if isinstance(node, File) and ":" not in path and node.stat().size and node.id not in (8, 11):
                size = node.stat().size
                entry = other.get_file_entry(node.id)
                assert entry.size == size, path
                assert node.open().pread(0, size) == entry.read_buffer_at_offset(size, 0), path
                compared += 1
        assert compared > 7


def test_what_was_never_written_reads_as_zeros(plain: bytes) -> None:
    attribute = attribute_at(plain, record_at(plain, "odd size.bin"), records.DATA)
    changed = volume(patched(plain, (attribute + 56, struct.pack("<Q", 5000))))  # the valid size
    before, after = content(volume(plain), "odd size.bin"), content(changed, "odd size.bin")
    assert after == before[:5000] + bytes(len(before) - 5000)
    assert [run.device for run in file(changed, "odd size.bin").open().extents(0, 40001)][1:] == [None]


def test_a_compressed_stream_is_never_taken_for_plain(features: bytes) -> None:
    flags = attribute_at(features, record_at(features, "compressed/text.txt"), 0x10) + 24 + 32
    changed = patched(
        features, (flags, bytes(4))
    )  # the file no longer says that it is compressed; its stream does
    assert content(volume(changed), "compressed/text.txt") == content(volume(features), "compressed/text.txt")


def test_streams_are_extended_attributes(features: bytes) -> None:
    opened = volume(features)
    found = file(opened, "streams.txt").xattrs()
    assert found["user.ads.Zone.Identifier"] == b"[ZoneTransfer]\r\nZoneId=3\r\n"
    assert len(found["user.ads.big one"]) == 9000
    assert found["user.ntfs.attributes"] == b"0x00000020"
    assert opened.root.lookup("dir").xattrs()["user.ads.on a directory"] == b"yes\n"
    assert "user.ads.WofCompressedData" not in file(opened, "lzx.txt").xattrs()


def test_security_descriptors_and_times_are_extended_attributes(plain: bytes) -> None:
    found = file(volume(plain), "resident.bin").xattrs()
    revision, _, control = struct.unpack_from("<BBH", found["user.ntfs.security_descriptor"])
    assert (revision, control & 0x8000) == (1, 0x8000)  # self-relative
    assert found["user.ntfs.owner"].startswith(b"S-1-5-")
    assert re.fullmatch(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", found["user.ntfs.created"])


def test_system_files_are_hidden_unless_they_are_asked_for(plain: bytes) -> None:
    assert not [name for name, _ in volume(plain).root.entries() if name.startswith("$")]
    opened = volume(plain, extra={"system": "show"})
    shown = dict(tree(opened.root))
    assert {"$MFT", "$Boot", "$LogFile", "$Extend", "$Secure:$SDS", "$Extend/$Quota"} <= shown.keys()
    assert content(opened, "$Boot")[:512] == plain[:512]
    assert content(opened, "$MFT") == opened.mft.device.pread(0, opened.mft.device.size)


def test_hard_links_are_one_node(plain: bytes) -> None:
    opened = volume(plain)
    one, two = file(opened, "resident.bin"), file(opened, "dir/hard link.bin")
    assert (one.id, one.stat()) == (two.id, two.stat())
    assert one.stat().nlink == 2


def test_names_are_found_in_any_case(plain: bytes) -> None:
    root = volume(plain).root
    assert root.lookup("readme.txt").stat().size == 29
    assert root.lookup("UNÏCÖDÉ 中文 ж 😀.TXT").stat().size == 4


def test_what_wsl_keeps_is_shown() -> None:
    opened = volume(load("lists"))
    stat = file(opened, "of linux.sh").stat()
    assert (stat.mode, stat.uid, stat.gid) == (0o100750, 1000, 100)
    assert file(opened, "of linux.sh").xattrs()["user.ea.OTHER"] == b"value"
    assert opened.root.lookup("names").stat().mode == 0o40555


def test_short_names_are_attributes_and_no_entries() -> None:
    opened = volume(load("lists"))
    names = {path for path, _ in tree(opened.root)}
    assert {"lengthyname", "a folder too long for DOS/inside.txt"} <= names
    assert not {"LENGTH~1", "AFOLDE~1"} & names
    found = file(opened, "lengthyname")
    assert found.stat().nlink == 1
    assert found.xattrs()["user.ntfs.short_name"] == b"LENGTH~1"
    assert list(check(opened)) == []


@pytest.mark.parametrize("variant", ["plain", "features", "clusters", "sectors", "lists", "deleted"])
def test_sound_volumes_need_no_rescue(variant: str, caplog: pytest.LogCaptureFixture) -> None:
    opened = volume(load(variant))
    with caplog.at_level(logging.DEBUG):
        assert manifest(opened.root)
        assert list(check(opened)) == []
    assert not caplog.records


def test_links_never_lead_out(features: bytes) -> None:
    links = {path: node for path, node in tree(volume(features).root) if isinstance(node, Symlink)}
    assert links["junction"].readlink() == "dir"
    assert links["dir/up.lnk"].readlink() == "../streams.txt"
    point = attribute_at(features, record_at(features, "dir/up.lnk"), records.REPARSE_POINT)
    at = features.find("..\\streams.txt".encode("utf-16-le"), point)
    changed = patched(features, (at, "..\\..\\..\\..\\xx".encode("utf-16-le")))
    assert dict(tree(volume(changed).root))["dir/up.lnk"].readlink() == "../xx"  # type: ignore[attr-defined]
    assert all(not link.readlink().startswith("/") for link in links.values())


def with_reparse(data: bytes, path: str, tag: int, attributes: int = 0) -> bytes:
    record = record_at(data, path)
    point = attribute_at(data, record, records.REPARSE_POINT)
    flags = attribute_at(data, record, 0x10) + 24 + 32
    value = int.from_bytes(data[flags : flags + 4], "little") | attributes
    return patched(data, (point + 24, struct.pack("<I", tag)), (flags, struct.pack("<I", value)))


@pytest.mark.parametrize(
    ("tag", "attributes", "words"),
    [
        (0x80000013, 0, "a deduplicated file"), (0xC0000004, 0, "a migrated file"),
        (0x9000101A, 0x1000, "a cloud file"),
        (0x80000008, 0, "a pointer into a WIM"), (0x80000021, 0x400000, "OneDrive"),
    ],
)  # fmt: skip
def test_content_that_is_elsewhere_is_refused_by_name(
    features: bytes, tag: int, attributes: int, words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        file(volume(with_reparse(features, "relative.lnk", tag, attributes)), "relative.lnk").open()


def test_efs_is_refused_by_name(plain: bytes) -> None:
    record = record_at(plain, "odd size.bin")
    of_file = attribute_at(plain, record, 0x10) + 24 + 33
    of_stream = attribute_at(plain, record, records.DATA) + 13
    for at in (of_file, of_stream):
        with pytest.raises(UnsupportedError, match="EFS"):
            file(volume(patched(plain, (at, bytes([plain[at] | 0x40])))), "odd size.bin").open()


@pytest.mark.parametrize("tag", [0x80000023, 0x80000024, 0x80000025, 0x80000026])
def test_linux_special_files_are_special(features: bytes, tag: int) -> None:
    assert manifest(volume(with_reparse(features, "relative.lnk", tag)).root)["relative.lnk"] == "special"


@pytest.mark.parametrize(
    ("method", "compress", "chunk"),
    [(0, "xpress", 4096), (2, "xpress", 8192), (3, "xpress", 16384), (1, "lzx", 32768)],
)
def test_every_wof_algorithm(tmp_path: Path, method: int, compress: str, chunk: int) -> None:
    data = (
        b"".join(b"%06d the same words again\n" % number for number in range(7000)) + bytes(range(256)) * 40
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in/f").write_bytes(data)
    wim = tmp_path / "wim"
    options = ("--quiet", f"--compress={compress}", f"--chunk-size={chunk}")
    command = [tool("wimcapture"), *options, str(tmp_path / "in"), str(wim)]
    subprocess.run(command, check=True)
    raw = wim.read_bytes()
    size, at = struct.unpack_from("<QQ", raw, 48)
    entries = [struct.unpack_from("<QQQ", raw, entry) for entry in range(at, at + (size & (1 << 56) - 1), 50)]
    packed, offset, _ = next(entry for entry in entries if entry[2] == len(data))
    stored = MemoryDevice(raw[offset : offset + (packed & (1 << 56) - 1)])
    check_device(wof.WofDevice(stored, len(data), method, context().cache), data)


def test_a_volume_that_was_not_unmounted_is_named(plain: bytes, tmp_path: Path) -> None:
    assert volume(plain).info()["state"] == "clean"
    assert list(check(volume(plain))) == []
    disk = tmp_path / "disk"
    disk.write_bytes(plain)
    subprocess.run(
        [tool("ntfsfix"), str(disk)], check=True, capture_output=True
    )  # it asks Windows for a check
    dirty = disk.read_bytes()
    assert volume(dirty).info()["state"].startswith("not unmounted")
    assert list(check(volume(dirty))) == ["the volume was not unmounted properly"]


# --- images of others ---


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
        filesystem = opened.volumes[0].filesystem
        assert isinstance(filesystem, NtfsVolume)
        assert list(check(filesystem)) == []
        found = {
            path: node for path, node in tree(opened.volumes[0].filesystem.root) if isinstance(node, File)
        }
        for line in facts.splitlines():
            digest, _, path = line.partition("  ")
            name = path.removeprefix("./")
            if name in found:
                with found[name].open() as device:
                    assert sha256(device) == digest, name
        assert found
