"""VHD: footers lost, moved and wrong, parents absent, tables that lie."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from conformance import check_device
from helpers import image
from imgmount.chain.open import open_image
from imgmount.containers.vdisk.vhd import DYNAMIC_CHECKSUM, FOOTER_CHECKSUM, VhdDevice, checksum
from imgmount.core.format import Options
from imgmount.errors import FormatError, ImageError, MissingPartError
from vdisk import check, create, raw_of, run, scribble

SIZE = 5 << 20


@pytest.fixture
def dynamic(tmp_path: Path) -> tuple[Path, bytes]:
    path = scribble(create(tmp_path / "disk.vhd", "vpc", SIZE, "force_size=on"), "vpc", SIZE, writes=20)
    return path, raw_of(path, "vpc")


def patch(path: Path, offset: int, data: bytes) -> None:
    """Bytes of the footer's copy or the dynamic header replaced, their checksums made right, the trailer dropped."""
    content = bytearray(path.read_bytes()[:-512])
    content[offset : offset + len(data)] = data
    content[0x40:0x44] = struct.pack(">I", checksum(bytes(content[:512]), FOOTER_CHECKSUM))
    content[0x224:0x228] = struct.pack(">I", checksum(bytes(content[512:1536]), DYNAMIC_CHECKSUM))
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["cut", "zeroed", "garbled", "short"])
def test_a_lost_footer_is_replaced_by_its_copy(dynamic: tuple[Path, bytes], damage: str) -> None:
    path, expected = dynamic
    content = path.read_bytes()
    tail = {
        "cut": b"",
        "zeroed": bytes(512),
        "garbled": content[-512:-256] + bytes(256),
        "short": content[-512:-1],
    }[damage]
    if damage == "garbled":
        tail = content[-512:].replace(b"\0\0\0\3", b"\0\0\0\2", 1)
    path.write_bytes(content[:-512] + tail)
    check(path, expected, "vhd")


def test_a_fixed_disk_needs_no_extension_and_may_have_an_old_footer(tmp_path: Path) -> None:
    path = scribble(
        create(tmp_path / "disk", "vpc", SIZE, "subformat=fixed,force_size=on"), "vpc", SIZE, writes=10
    )
    expected = raw_of(path, "vpc")
    check(path, expected, "vhd")
    path.write_bytes(path.read_bytes()[:-1])
    check(path, expected, "vhd")


@pytest.mark.parametrize("padding", [bytes(512), bytes(100), b"conectix" * 100, bytes(900_000)])
def test_a_fixed_disk_that_was_filled_up_behind_its_footer(tmp_path: Path, padding: bytes) -> None:
    path = scribble(
        create(tmp_path / "disk", "vpc", SIZE, "subformat=fixed,force_size=on"), "vpc", SIZE, writes=10
    )
    expected = raw_of(path, "vpc")
    path.write_bytes(path.read_bytes() + padding)
    check(path, expected, "vhd", container="vhd")


@pytest.mark.parametrize("creator", [b"vpc ", b"qemu", b"win ", b"d2v ", b"tap\0", b"CTXS", b"vbox"])
def test_the_size_is_the_footers_and_the_geometrys_disk_is_its_beginning(
    tmp_path: Path, creator: bytes
) -> None:
    path = scribble(create(tmp_path / "disk.vhd", "vpc", SIZE, "force_size=on"), "vpc", SIZE, writes=20)
    content = bytearray(path.read_bytes())
    for footer in (0, len(content) - 512):
        content[footer + 0x1C : footer + 0x20] = creator
        part = bytes(content[footer : footer + 512])
        content[footer + 0x40 : footer + 0x44] = struct.pack(">I", checksum(part, FOOTER_CHECKSUM))
    path.write_bytes(content)
    by_geometry = raw_of(path, "vpc")
    with open_image(path) as opened:
        assert opened.disk.size == SIZE
        assert opened.disk.pread(0, len(by_geometry)) == by_geometry[:SIZE]
        disk = opened.disk
        assert isinstance(disk, VhdDevice)
        assert "size by geometry" in disk.info()


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0x200 + 0x1C, b"\0\0\0\0"),  # no blocks
        (0x200 + 0x1C, b"\xff\xff\xff\xff"),
        (0x200 + 0x20, b"\0\0\0\0"),  # block size
        (0x200 + 0x20, b"\0\x20\0\1"),
        (0x200 + 0x20, b"\x80\0\0\0"),
        (0x200 + 0x10, b"\x10" + bytes(7)),  # table offset
        (0x30, b"\x7f" + b"\xff" * 7),  # disk size
        (0x30, b"\x80" + bytes(7)),
        (0x10, b"\xff" * 8),  # dynamic header
        (0x3C, b"\0\0\0\x07"),  # disk type
        (0x3C, b"\0\0\0\x04"),  # differencing, of no parent
        (0x0C, b"\0\2\0\0"),  # version
    ],
)
def test_a_header_that_lies_is_refused(dynamic: tuple[Path, bytes], offset: int, data: bytes) -> None:
    path, expected = dynamic
    patch(path, offset, data)
    try:
        opened = open_image(path)
    except ImageError:
        return
    with opened:  # more entries than the disk needs do no harm
        check_device(opened.disk, expected)
        assert data == b"\xff\xff\xff\xff"


def test_a_block_outside_the_file_is_an_error_for_that_block_alone(dynamic: tuple[Path, bytes]) -> None:
    path, expected = dynamic
    with open_image(path) as opened:
        table = int(opened.disk._header.table_offset)  # type: ignore[attr-defined]
    patch(path, table + 4, b"\x7f\xff\xff\xff")
    with open_image(path) as opened:
        assert opened.disk.pread(0, 2 << 20) == expected[: 2 << 20]
        assert opened.disk.pread(4 << 20, SIZE) == expected[4 << 20 :]
        with pytest.raises(ImageError):
            opened.disk.pread(2 << 20, 1)
        assert isinstance(opened.disk, VhdDevice)
        assert len(list(opened.disk.verify())) == 2  # the lost footer, the block


def test_verify_looks_at_both_copies_of_the_footer(dynamic: tuple[Path, bytes]) -> None:
    path, _ = dynamic
    whole = path.read_bytes()
    other = bytearray(whole[:512])
    other[0x44:0x54] = b"another disk's  "
    other[0x40:0x44] = struct.pack(">I", checksum(bytes(other), FOOTER_CHECKSUM))
    flipped = bytes([whole[0x50] ^ 0xFF])  # in the identifier, which qemu-img draws at random
    told = {
        "missing": bytes(512),
        "checksum": whole[:0x50] + flipped + whole[0x51:512],
        "differ": bytes(other),
    }
    for problem, copy in told.items():
        path.write_bytes(copy + whole[512:])
        with open_image(path, Options(container="vhd")) as opened:
            assert isinstance(opened.disk, VhdDevice)
            assert [problem in line for line in opened.disk.verify()] == [True]


def test_a_tiny_file_is_no_vhd(tmp_path: Path) -> None:
    path = tmp_path / "tiny.vhd"
    path.write_bytes(b"conectix" + bytes(60))
    with pytest.raises(FormatError, match="footer"):
        open_image(path)


def test_an_empty_disk_is_one_hole_after_another(tmp_path: Path) -> None:
    path = create(tmp_path / "disk.vhd", "vpc", 100 << 30)
    with open_image(path) as opened:
        runs = list(opened.disk.extents(0, opened.disk.size))
        assert {run.device for run in runs} == {None}
        assert len(runs) < 100


def test_parents_of_other_people() -> None:
    with open_image(image("vhd/log2timeline__dfvfs/image-differential.vhd")) as opened:
        assert isinstance(opened.disk, VhdDevice)
        assert opened.disk.info()["parent"].startswith("image.vhd")
    with pytest.raises(MissingPartError, match=r"fat-parent\.vhd"):
        open_image(image("vhd/log2timeline__dfvfs/fat-differential.vhd"))


def differencing(tmp_path: Path) -> Path:
    folder = Path(__file__).parents[3] / "fixtures/containers/vhd/differencing"
    for name in ("child.vhd", "parent.vhd"):
        (tmp_path / f"{name}.xz").write_bytes((folder / f"{name}.xz").read_bytes())
        run("xz", "-d", tmp_path / f"{name}.xz")
    return tmp_path / "child.vhd"


def test_a_parent_is_found_by_its_identifier_or_named_when_it_is_missing(tmp_path: Path) -> None:
    child = differencing(tmp_path)
    with open_image(child) as opened:
        expected = opened.disk.pread(0, opened.disk.size)
    (tmp_path / "parent.vhd").rename(tmp_path / "renamed.vhd")
    check(child, expected, "vhd")
    (tmp_path / "renamed.vhd").unlink()
    with pytest.raises(MissingPartError, match=r"parent\.vhd"):
        open_image(child)


def test_another_disk_of_the_parents_name_is_not_taken_for_it(tmp_path: Path) -> None:
    child = differencing(tmp_path)
    (tmp_path / "parent.vhd").unlink()
    create(tmp_path / "parent.vhd", "vpc", SIZE)
    with pytest.raises(ImageError, match="is not the parent"):
        open_image(child)


def test_a_disk_that_is_its_own_parent_is_refused(tmp_path: Path) -> None:
    child = differencing(tmp_path)
    content = child.read_bytes()
    own = content[0x44:0x54]
    patch(child, 0x200 + 0x28, own)
    (tmp_path / "parent.vhd").unlink()
    (tmp_path / "parent.vhd").hardlink_to(child)
    with pytest.raises(ImageError, match="own parent"):
        open_image(child)
