"""QCOW2: headers that lie, files that want others, features that are refused, damage that stays where it is."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from imgmount.chain.open import open_image
from imgmount.containers.vdisk.qcow2.device import Qcow2Device
from imgmount.containers.vdisk.qcow2.refcounts import check_refcounts
from imgmount.core.format import Options
from imgmount.errors import ImageError, MissingPartError, UnsupportedError
from vdisk import check, create, raw_of, run, scribble

SIZE = 3 << 20
SECRET = b"the secret of another folder" * 40
BACKING_FORMAT, FEATURES, DATA_FILE = 0xE2792ACA, 0x6803F857, 0x44415441


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def u64(value: int) -> bytes:
    return struct.pack(">Q", value)


def image_naming(
    path: Path, backing: str = "", fmt: str = "", data_file: str = "", incompatible: int = 0
) -> Path:
    """An empty image of version 3 whose header names other files."""
    extensions = b""
    for kind, content in ((BACKING_FORMAT, fmt), (DATA_FILE, data_file)):
        if content:
            extensions += struct.pack(">II", kind, len(content)) + content.encode().ljust(
                -(-len(content) // 8) * 8, b"\0"
            )
    extensions += bytes(8)
    place = 104 + len(extensions) if backing else 0
    incompatible |= 4 if data_file else 0
    head = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, place, len(backing), 16, SIZE, 0, 1, 0x10000, 0, 0, 0, 0
    )
    head += struct.pack(">QQQII", incompatible, 0, 0, 4, 104) + extensions + backing.encode()
    path.write_bytes(head.ljust(0x10000, b"\0") + bytes(0x10000))
    return path


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.fixture
def plain(tmp_path: Path) -> tuple[Path, bytes]:
    path = scribble(create(tmp_path / "disk.qcow2", "qcow2", SIZE), "qcow2", SIZE, writes=20)
    return path, raw_of(path, "qcow2")


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0x04, u32(4)),
        (0x08, u64(0x200) + u32(0x7FFFFFFF)),
        (0x08, u64(1 << 60) + u32(8)),
        (0x14, u32(63)),
        (0x14, u32(9)),
        (0x14, u32(8)),
        (0x18, u64(1 << 63)),
        (0x20, u32(1)),
        (0x20, u32(2)),
        (0x20, u32(3)),
        (0x24, u32(0x7FFFFFFF)),
        (0x24, u32(0)),
        (0x28, u64(1 << 60)),
        (0x3C, u32(0x7FFFFFFF)),
        (0x48, u64(1 << 5)),
        (0x48, u64(1 << 63)),
        (0x60, u32(7)),
        (0x64, u32(0xFFFFFFF8)),
        (0x64, u32(0)),
        (0x70, u32(0x12345678) + u32(0x7FFFFFFF)),
    ],
)
def test_a_header_that_lies_is_refused(plain: tuple[Path, bytes], offset: int, data: bytes) -> None:
    path, _ = plain
    patch(path, offset, data)
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)


def test_a_short_file_is_refused(plain: tuple[Path, bytes]) -> None:
    path, _ = plain
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ImageError, match="needed"):
        open_image(path)


@pytest.mark.parametrize(("method", "name"), [(1, "legacy AES"), (2, "LUKS")])
def test_encryption_is_refused_by_name(plain: tuple[Path, bytes], method: int, name: str) -> None:
    patch(plain[0], 0x20, u32(method))
    with pytest.raises(UnsupportedError, match=name):
        open_image(plain[0])


def test_an_unknown_feature_is_refused_by_the_name_that_the_image_gives_it(tmp_path: Path) -> None:
    path = image_naming(tmp_path / "disk", incompatible=1 << 40)
    patch(path, 104, struct.pack(">IIBB46s", FEATURES, 48, 0, 40, b"time travel") + bytes(8))
    with pytest.raises(UnsupportedError, match=r"'time travel' \(bit 40\)"):
        open_image(path)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_a_dirty_or_corrupt_image_is_read_and_says_so(plain: tuple[Path, bytes], bits: int) -> None:
    path, expected = plain
    patch(path, 0x48, u64(bits))
    check(path, expected, "qcow2")
    with open_image(path) as opened:
        assert isinstance(opened.disk, Qcow2Device)
        assert opened.disk.info()["warning"]


def test_reference_counts_are_not_needed_to_read(plain: tuple[Path, bytes]) -> None:
    path, expected = plain
    for table, clusters in ((0, 0), (1 << 60, 1), (0x10000, 0x7FFFFFFF)):
        patch(path, 0x30, u64(table) + u32(clusters))
        check(path, expected, "qcow2")


@pytest.mark.parametrize("entry", [1 << 50 | 1 << 63, 0x10200 | 1 << 63])
def test_a_cluster_outside_the_file_is_an_error_for_that_cluster_alone(
    plain: tuple[Path, bytes], entry: int
) -> None:
    path, expected = plain
    with open_image(path) as opened:
        assert isinstance(opened.disk, Qcow2Device)
        l2 = opened.disk.l1[0] & (1 << 56) - 512
    patch(path, l2 + 8 * 5, u64(entry))
    with open_image(path) as opened:
        disk, cluster = opened.disk, 0x10000
        assert disk.pread(0, 5 * cluster) == expected[: 5 * cluster]
        assert disk.pread(6 * cluster, SIZE) == expected[6 * cluster :]
        with pytest.raises(ImageError):
            disk.pread(5 * cluster + 7, 1)
        assert isinstance(disk, Qcow2Device)
        assert list(check_refcounts(disk))


def test_an_l2_table_outside_the_file_is_an_error_for_what_it_maps(plain: tuple[Path, bytes]) -> None:
    path, _ = plain
    with open_image(path) as opened:
        assert isinstance(opened.disk, Qcow2Device)
        l1 = opened.disk.header.l1_offset
    patch(path, l1, u64(1 << 50))
    with open_image(path) as opened, pytest.raises(ImageError):
        opened.disk.pread(0, 1)


def test_a_broken_compressed_cluster_is_an_error_for_that_cluster_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"".join(b"%7d\n" % line for line in range(SIZE // 8)))
    path = tmp_path / "disk.qcow2"
    run("qemu-img", "convert", "-c", "-O", "qcow2", source, path)
    with open_image(path) as opened:
        assert isinstance(opened.disk, Qcow2Device)
        offset, size = opened.disk.compressed_at(opened.disk.l2(0)[0][3])
    patch(path, offset, b"\xff" * (size // 2))
    expected, cluster = source.read_bytes(), 0x10000
    with open_image(path) as opened:
        assert opened.disk.pread(0, 3 * cluster) == expected[: 3 * cluster]
        assert opened.disk.pread(4 * cluster, SIZE) == expected[4 * cluster :]
        with pytest.raises(ImageError, match="compressed cluster 3"):
            opened.disk.pread(3 * cluster, 1)


def test_an_empty_disk_is_few_holes(tmp_path: Path) -> None:
    path = create(tmp_path / "disk", "qcow2", 100 << 30)
    with open_image(path) as opened:
        runs = list(opened.disk.extents(0, opened.disk.size))
        assert [run.device for run in runs] == [None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for images, beside which lies a secret."""
    (tmp_path / "secret").write_bytes(SECRET)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "secret")
    return inside


@pytest.mark.parametrize(
    "name",
    [
        "{}/secret",
        "../secret",
        "..\\secret",
        "file:../secret",
        "file://{}/secret",
        'json:{{"driver":"raw","file":{{"driver":"file","filename":"{}/secret"}}}}',
        "nbd://127.0.0.1:9/secret",
        "nbd:127.0.0.1:9:exportname=secret",
        "https://127.0.0.1/secret",
        "fat:{}",
        "/dev/zero",
        "link",
        "..",
        ".",
        "",
    ],
)
@pytest.mark.parametrize("how", ["backing raw", "backing qcow2", "backing", "data"])
def test_no_file_outside_the_images_folder_is_read(folder: Path, name: str, how: str) -> None:
    name = name.format(folder.parent)
    if how == "data":
        path = image_naming(folder / "disk", data_file=name)
        patch(path, 0x10000, u64(0x8000000000000000))
    else:
        path = image_naming(folder / "disk", backing=name, fmt=how[8:])
    if not name:
        return
    with pytest.raises((MissingPartError, UnsupportedError)) as caught:
        open_image(path)
    assert name.replace("\\", "/").rsplit("/", 1)[-1] in str(caught.value)


def test_a_lost_table_of_snapshots_does_not_cost_the_disk(plain: tuple[Path, bytes]) -> None:
    path, content = plain
    patch(path, 0x3C, u32(1) + u64(1 << 60))
    with open_image(path) as opened:
        assert opened.disk.pread(0, len(content)) == content
        assert isinstance(opened.layers[1].device, Qcow2Device)
        assert "cannot be listed" in opened.layers[1].device.info()["snapshots"]
        assert any("snapshots cannot be listed" in one for one in check_refcounts(opened.layers[1].device))


def test_an_absolute_name_is_looked_up_beside_the_image(folder: Path) -> None:
    (folder / "base").write_bytes(b"beside" * 512)
    path = image_naming(folder / "disk", backing="/elsewhere/base", fmt="raw")
    with open_image(path) as opened:
        assert opened.disk.pread(0, 6) == b"beside"
        assert opened.disk.pread(3072, 512) == bytes(512)
        assert [file.name for file in opened.siblings.files.paths] == ["base"]


def test_a_base_declared_raw_is_raw_whatever_it_looks_like(folder: Path) -> None:
    base = image_naming(folder / "base", backing="base2", fmt="raw")
    path = image_naming(folder / "disk", backing="base", fmt="raw")
    with open_image(path) as opened:
        assert opened.disk.pread(0, 512) == base.read_bytes()[:512]


def test_a_base_of_no_declared_format_is_told_by_its_bytes(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """So are its own bases, if they are in the same folder: its guest may have written what it says."""
    base = create(folder / "base", "qcow2", SIZE)
    scribble(base, "qcow2", SIZE, writes=5)
    path = image_naming(folder / "disk", backing="base")
    with open_image(path) as opened:
        assert opened.disk.pread(0, SIZE) == raw_of(base, "qcow2")
    assert "the format of 'base' is not declared" in caplog.text
    image_naming(base, backing="third")
    (folder / "third").write_bytes(SECRET)
    with open_image(path) as opened:
        assert opened.disk.pread(0, len(SECRET)) == SECRET
        assert {file.name for file in opened.siblings.files.paths} == {"base", "third"}
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret"
    elsewhere.write_bytes(SECRET)
    image_naming(base, backing=str(elsewhere), fmt="raw")
    for refs in ([], ["any"]):
        with pytest.raises(MissingPartError, match="secret"):
            open_image(path, Options(refs=refs))


def test_loops_end(folder: Path) -> None:
    path = image_naming(folder / "disk", backing="disk", fmt="qcow2")
    with pytest.raises(ImageError, match="own parent"):
        open_image(path)
    path = image_naming(folder / "data", data_file="data")
    with pytest.raises(ImageError, match="own parent"):
        open_image(path)
    for number in range(70):
        image_naming(folder / f"image{number}", backing=f"image{number + 1}", fmt="qcow2")
    with pytest.raises(ImageError, match="more than 64"):
        open_image(folder / "image0")


def test_a_backing_format_that_is_not_known_is_named(folder: Path) -> None:
    (folder / "base").write_bytes(SECRET)
    with pytest.raises(UnsupportedError, match="'vvfat'"):
        open_image(image_naming(folder / "disk", backing="base", fmt="vvfat"))
