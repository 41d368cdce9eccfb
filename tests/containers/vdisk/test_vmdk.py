"""VMDK: descriptors that lie or lead outside, cut streams, physical disks, deltas whose parent is gone or changed."""

from __future__ import annotations

import random
import re
import struct
from pathlib import Path

import pytest

from conformance import check_device
from fixture import unpack
from helpers import FIXTURES, image
from imgmount.chain.open import open_image
from imgmount.containers.vdisk.vmdk.disk import VmdkDevice
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError
from vdisk import check, create, raw_of, run, scribble

SIZE = 5 << 20
SECRET = b"the secret of another folder" * 40


def descriptor(path: Path, *extents: str, kind: str = "custom", more: str = "parentCID=ffffffff") -> Path:
    lines = ["# Disk DescriptorFile", "version=1", "CID=00000001", more, f'createType="{kind}"', *extents]
    path.write_text("\n".join(lines) + "\n")
    return path


def unpacked(tmp_path: Path, variant: str) -> Path:
    for packed in (FIXTURES / "containers/vmdk" / variant).glob("*.xz"):
        unpack(packed, tmp_path / packed.stem)
    return tmp_path


@pytest.fixture
def sparse(tmp_path: Path) -> tuple[Path, bytes]:
    path = scribble(create(tmp_path / "disk.vmdk", "vmdk", SIZE), "vmdk", SIZE, writes=20)
    return path, raw_of(path, "vmdk")


@pytest.fixture
def stream(tmp_path: Path) -> tuple[Path, bytes]:
    """A stream with markers and a footer, which qemu does not write."""
    content = b"".join(b"%7d\n" % line for line in range((SIZE + 512) // 8))
    content = content[: 1 << 20] + bytes(1 << 20) + content[2 << 20 :]
    return write_stream(tmp_path / "disk.vmdk", content), content


def write_stream(path: Path, content: bytes) -> Path:
    """VMware, "Virtual Disk Format 5.0", "Stream-Optimized Compressed Sparse Extents"."""
    import zlib

    grain, sector = 1 << 16, 512

    def padded(data: bytes) -> bytes:
        return data.ljust(-(-len(data) // sector) * sector, b"\0")

    def header(directory: int) -> bytes:
        fields = (
            b"KDMV",
            3,
            0x30001,
            len(content) // sector,
            128,
            1,
            1,
            512,
            0,
            directory,
            128,
            0,
            b"\n \r\n",
            1,
        )
        return padded(struct.pack("<4sIIQQQQIQQQB4sH", *fields))

    text = b'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="streamOptimized"\n'
    out = bytearray((header((1 << 64) - 1) + padded(text)).ljust(128 * sector, b"\0"))
    entries = [0] * 512
    for index in range(-(-len(content) // grain)):
        data = content[index * grain : (index + 1) * grain]
        if any(data):
            entries[index] = len(out) // sector
            packed = zlib.compress(data)
            out += padded(struct.pack("<QI", index * 128, len(packed)) + packed)
    out += padded(struct.pack("<QII", 4, 0, 1))
    table = len(out) // sector
    out += struct.pack("<512I", *entries) + padded(struct.pack("<QII", 1, 0, 2))
    directory = len(out) // sector
    out += (
        padded(struct.pack("<I", table))
        + padded(struct.pack("<QII", 1, 0, 3))
        + header(directory)
        + bytes(sector)
    )
    path.write_bytes(out)
    return path


def test_a_stream_with_a_footer(stream: tuple[Path, bytes]) -> None:
    check(*stream, "vmdk")
    with open_image(stream[0]) as opened:
        assert isinstance(opened.disk, VmdkDevice)
        assert "warning" not in opened.disk.info()


def test_a_stream_whose_footer_is_lost_is_read_by_its_markers(stream: tuple[Path, bytes]) -> None:
    path, expected = stream
    whole = path.read_bytes()
    for lost in (
        1024,
        1536,
        2048,
        2560,
    ):  # the end marker, the footer, the directory: every grain is still there
        path.write_bytes(whole[:-lost])
        check(path, expected, "vmdk")
    with open_image(path) as opened:
        assert isinstance(opened.disk, VmdkDevice)
        assert "rebuilt" in opened.disk.info()["warning"]


def test_what_a_cut_stream_does_not_tell_is_an_error_and_not_zeros(stream: tuple[Path, bytes]) -> None:
    path, expected = stream
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with open_image(path) as opened:
        disk = opened.disk
        lost = next(at for at in range(0, disk.size, 1 << 16) if not readable(disk, at))
        assert 2 << 20 < lost < disk.size
        assert disk.pread(0, lost) == expected[:lost]
        assert not any(readable(disk, at) for at in range(lost, disk.size, 1 << 16))


def readable(disk: object, at: int) -> bool:
    try:
        disk.pread(at, 1)  # type: ignore[attr-defined]
    except ImageError:
        return False
    return True


def test_a_damaged_grain_is_an_error_for_that_grain_alone(stream: tuple[Path, bytes]) -> None:
    path, expected = stream
    content = bytearray(path.read_bytes())
    content[128 * 512 + 100 : 128 * 512 + 200] = bytes(100)
    path.write_bytes(content)
    with open_image(path) as opened:
        with pytest.raises(ImageError, match="compressed grain"):
            opened.disk.pread(0, 1)
        assert opened.disk.pread(1 << 16, SIZE) == expected[1 << 16 :][:SIZE]


def test_zeros_and_flat_pieces(tmp_path: Path) -> None:
    flat = random.Random(1).randbytes(40 * 512)
    (tmp_path / "piece.bin").write_bytes(flat)
    lines = [
        "RW 3 ZERO",
        'RW 9 FLAT "piece.bin" 31',
        'RDONLY 2 ZERO "x"',
        'rw 31 flat "D:\\old folder\\PIECE.BIN" 0 uuid device',
    ]
    path = descriptor(tmp_path / "disk.vmdk", *lines)
    check(path, bytes(3 * 512) + flat[31 * 512 :] + bytes(2 * 512) + flat[: 31 * 512], "vmdk")


def test_a_flat_piece_that_ends_early_is_an_error_where_it_ends(tmp_path: Path) -> None:
    (tmp_path / "piece.bin").write_bytes(b"x" * 1024)
    path = descriptor(tmp_path / "disk.vmdk", 'RW 3 FLAT "piece.bin" 0', "RW 1 ZERO")
    with open_image(path) as opened:
        assert opened.disk.pread(0, 1024) == b"x" * 1024
        assert opened.disk.pread(1536, 9) == bytes(9)
        with pytest.raises(ImageError):
            opened.disk.pread(1000, 100)


def test_a_long_descriptor(tmp_path: Path) -> None:
    (tmp_path / "piece.bin").write_bytes(b"x" * 1024)
    path = descriptor(tmp_path / "disk.vmdk", *[f'RW {1 + n % 2} FLAT "piece.bin" 0' for n in range(3000)])
    with open_image(path) as opened:
        check_device(opened.disk, b"x" * (4500 * 512))


@pytest.mark.parametrize(
    ("kind", "line", "word"),
    [
        ("fullDevice", 'RW 63 FLAT "/dev/sda" 0', "fullDevice"),
        ("partitionedDevice", 'RW 63 FLAT "/dev/sda" 0', "partitionedDevice"),
        ("vmfsRDM", 'RW 63 VMFSRDM "disk-rdm.vmdk"', "vmfsRDM"),
        ("vmfsPassthroughRawDeviceMap", 'RW 63 VMFSRDM "disk-rdm.vmdk"', "VMFSRDM"),
        ("custom", 'RW 63 VMFSRAW "disk-rdm.vmdk"', "VMFSRAW"),
        ("custom", "NOACCESS 63 ZERO", "without access"),
        ("custom", 'RW 63 MAGIC "x"', "MAGIC"),
    ],
)
def test_physical_disks_are_refused_by_name(tmp_path: Path, kind: str, line: str, word: str) -> None:
    path = descriptor(tmp_path / "disk.vmdk", line, kind=kind)
    with pytest.raises(UnsupportedError, match=word):
        open_image(path)


@pytest.mark.parametrize(
    "name", ["{}/secret", "../secret", "..\\secret", "link", "/dev/zero", "nbd://127.0.0.1:9/x", "", ".."]
)
@pytest.mark.parametrize("how", ["FLAT", "SPARSE", "VMFS", "parent"])
def test_no_file_outside_the_images_folder_is_read(tmp_path: Path, name: str, how: str) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/link").symlink_to(tmp_path / "secret")
    name = name.format(tmp_path)
    line = f'RW 1 {how} "{name}" 0' if how != "parent" else "RW 1 ZERO"
    parent = f'parentCID=00000002\nparentFileNameHint="{name}"' if how == "parent" else "parentCID=ffffffff"
    with pytest.raises((MissingPartError, UnsupportedError, FormatError)):
        open_image(descriptor(tmp_path / "inside/disk.vmdk", line, more=parent))


def test_a_disk_that_is_its_own_parent_is_refused(tmp_path: Path) -> None:
    path = descriptor(
        tmp_path / "disk.vmdk", "RW 1 ZERO", more='parentCID=00000001\nparentFileNameHint="disk.vmdk"'
    )
    with pytest.raises(ImageError, match="own parent"):
        open_image(path)


def test_a_parent_that_has_changed_is_reported_and_a_missing_one_named(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "delta")
    with open_image(folder / "second.vmdk") as opened:
        assert isinstance(opened.disk, VmdkDevice)
        assert "warning" not in opened.disk.info()
        expected = opened.disk.pread(0, opened.disk.size)
    first = (folder / "first.vmdk").read_bytes()
    (folder / "first.vmdk").write_bytes(re.sub(rb"\nCID=.{8}", b"\nCID=deadbeef", first, count=1))
    with open_image(folder / "second.vmdk") as opened:
        assert isinstance(opened.disk, VmdkDevice)
        assert "written to" in opened.disk.info()["warning"]
        check_device(opened.disk, expected)
    (folder / "base-flat.vmdk").unlink()
    with pytest.raises(MissingPartError, match=r"base-flat\.vmdk"):
        open_image(folder / "second.vmdk")


def test_a_part_of_a_disk_names_the_descriptor_to_open(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "cowd")
    with pytest.raises(UnsupportedError, match=r"snapshot\.vmdk' describes"):
        open_image(folder / "snapshot-delta.vmdk")
    (folder / "snapshot.vmdk").unlink()
    with pytest.raises(UnsupportedError, match="not beside it"):
        open_image(folder / "snapshot-delta.vmdk")


def test_a_sesparse_snapshot_with_a_journal_is_refused(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "sesparse")
    with (folder / "snapshot-sesparse.vmdk").open("r+b") as file:
        file.seek(512 + 24)
        file.write(b"\1")
    with pytest.raises(UnsupportedError, match="journal"):
        open_image(folder / "snapshot.vmdk")


def test_a_renamed_disk_is_found_in_its_own_file(sparse: tuple[Path, bytes]) -> None:
    path, expected = sparse
    check(path.rename(path.with_name("other.img")), expected, "vmdk")


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0x04, struct.pack("<I", 4)),
        (0x0C, struct.pack("<Q", 1 << 63)),
        (0x0C, struct.pack("<Q", 1 << 50)),
        (0x14, struct.pack("<Q", 0)),
        (0x14, struct.pack("<Q", 129)),
        (0x14, struct.pack("<Q", 1 << 40)),
        (0x1C, struct.pack("<QQ", 1, 1 << 50)),
        (0x1C, struct.pack("<Q", 1 << 50)),
        (0x2C, struct.pack("<I", 0)),
        (0x2C, struct.pack("<I", 0xFFFFFFFF)),
        (0x38, struct.pack("<Q", 1 << 50)),
        (0x49, b"\r\n \r"),
    ],
)
def test_a_header_that_lies_is_refused(sparse: tuple[Path, bytes], offset: int, data: bytes) -> None:
    path, _ = sparse
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)


def test_a_grain_outside_the_file_is_an_error_for_that_grain_alone(sparse: tuple[Path, bytes]) -> None:
    path, expected = sparse
    content = bytearray(path.read_bytes())
    directory = struct.unpack_from("<Q", content, 0x38)[0] * 512
    table = struct.unpack_from("<I", content, directory)[0] * 512
    struct.pack_into("<I", content, table + 4 * 5, 0x7FFFFFFF)
    path.write_bytes(content)
    grain = 1 << 16
    with open_image(path) as opened:
        assert opened.disk.pread(0, 5 * grain) == expected[: 5 * grain]
        assert opened.disk.pread(6 * grain, SIZE) == expected[6 * grain :]
        with pytest.raises(ImageError):
            opened.disk.pread(5 * grain, 1)


def test_an_empty_disk_is_holes(tmp_path: Path) -> None:
    with open_image(create(tmp_path / "disk.vmdk", "vmdk", 100 << 30)) as opened:
        assert {run.device for run in opened.disk.extents(0, opened.disk.size)} == {None}


@pytest.mark.parametrize("size", [1, 3 << 20])
def test_a_descriptor_that_is_too_long_is_refused(tmp_path: Path, size: int) -> None:
    path = descriptor(tmp_path / "disk.vmdk", "#" * size)
    with pytest.raises(FormatError):
        open_image(path)


def test_a_disk_of_other_people_whose_part_is_missing() -> None:
    with pytest.raises(
        MissingPartError, match=r"000001-delta\.vmdk.* the disk without these changes is 'vmfs_thick\.vmdk'"
    ):
        open_image(image("vmdk/strozfriedberg__vmdk-rs/vmfs_thick-000001.vmdk"))


def test_many_odd_extents_of_many_files(tmp_path: Path) -> None:
    rng, lines, expected = random.Random(8), [], b""
    for number in range(12):
        sectors = rng.randrange(1, 900)
        piece = create(tmp_path / f"disk-s{number:03}.vmdk", "vmdk", sectors * 512)
        run(
            "qemu-io",
            "-f",
            "vmdk",
            "-c",
            f"write -P {number + 1} 0 {sectors * 256 // 512 * 512 + 512}",
            piece,
        )
        lines.append(f'RW {sectors} SPARSE "disk-s{number:03}.vmdk"')
        expected += raw_of(
            piece, "vmdk"
        )  # qemu 7.2 cannot be asked for the whole: its convert misplaces holes of later extents
    path = descriptor(tmp_path / "disk.vmdk", *lines, kind="twoGbMaxExtentSparse")
    check(path, expected, "vmdk")


def test_each_extent_of_a_delta_shows_its_own_part_of_the_parent(tmp_path: Path) -> None:
    sizes = [301, 129, 500]
    below = random.Random(2).randbytes(sum(sizes) * 512)
    (tmp_path / "base-flat.vmdk").write_bytes(below)
    base = descriptor(tmp_path / "base.vmdk", f'RW {sum(sizes)} FLAT "base-flat.vmdk" 0')
    base.write_text(base.read_text().replace("CID=00000001", "CID=00000002", 1))
    expected, start = bytearray(below), 0
    for number, sectors in enumerate(sizes):
        piece = create(tmp_path / f"delta-s{number:03}.vmdk", "vmdk", sectors * 512)
        run("qemu-io", "-f", "vmdk", "-c", f"write -P {number + 1} 64K 512", piece)
        own = range(
            start + 65536, min(start + 2 * 65536, start + sectors * 512)
        )  # one grain, or what the extent has of it
        expected[own.start : own.stop] = (bytes([number + 1]) * 512).ljust(len(own), b"\0")
        start += sectors * 512
    lines = [f'RW {sectors} SPARSE "delta-s{number:03}.vmdk"' for number, sectors in enumerate(sizes)]
    more = 'parentCID=00000002\nparentFileNameHint="base.vmdk"'
    path = descriptor(tmp_path / "delta.vmdk", *lines, more=more)
    check(path, bytes(expected), "vmdk")


@pytest.mark.parametrize(
    "first",
    [
        "# Disk DescriptorFile",
        "# Disk Descriptor File",
        "#Disk Descriptor File",
        "# disk_descriptor_file",
        "\ufeff# Disk DescriptorFile",
        "\n\n  # Disk DescriptorFile",
        "# made by hand\r\n# Disk DescriptorFile\r",
        "# no such line",
        "",
    ],
)
def test_the_first_line_is_written_in_several_ways(tmp_path: Path, first: str) -> None:
    (tmp_path / "disk.img").write_bytes(b"sector" * 512)
    path = descriptor(tmp_path / "disk.vmdk", 'RW 6 FLAT "disk.img" 0', kind="monolithicFlat")
    path.write_text(path.read_text().replace("# Disk DescriptorFile", first, 1), newline="")
    check(path, b"sector" * 512, "vmdk")


@pytest.mark.parametrize("text", ["# a script\nversion = 1\n", "version=1\n", "#", "\n" * 5000])
def test_other_texts_are_no_descriptors(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with open_image(tmp_path / "x") as opened:
        assert str(opened) == "file"
