"""VDI: parents by identifier, odd sizes, maps that lie."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from imgmount.chain.open import open_image
from imgmount.containers.vdisk.vdi import VdiDevice
from imgmount.errors import ImageError, MissingPartError
from vdisk import check, create, raw_of, run, scribble

SIZE = 5 << 20


@pytest.fixture
def dynamic(tmp_path: Path) -> tuple[Path, bytes]:
    path = scribble(create(tmp_path / "disk.vdi", "vdi", SIZE), "vdi", SIZE, writes=20)
    return path, raw_of(path, "vdi")


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0x44, struct.pack("<I", 0x20000)),
        (0x4C, struct.pack("<I", 9)),
        (0x4C, struct.pack("<I", 4)),
        (0x154, struct.pack("<I", 0xFFFFFFF0)),
        (0x170, struct.pack("<Q", 1 << 63)),
        (0x170, struct.pack("<Q", (1 << 64) - 1)),
        (0x178, struct.pack("<I", 0)),
        (0x178, struct.pack("<I", 0x100001)),
        (0x178, struct.pack("<I", 0x80000000)),
        (0x178, struct.pack("<I", 512)),
        (0x180, struct.pack("<I", 0)),
    ],
)
def test_a_header_that_lies_is_refused(dynamic: tuple[Path, bytes], offset: int, data: bytes) -> None:
    patch(dynamic[0], offset, data)
    with pytest.raises(ImageError):
        open_image(dynamic[0])


def test_a_huge_map_is_refused_before_it_is_read(dynamic: tuple[Path, bytes]) -> None:
    path, _ = dynamic
    patch(path, 0x170, struct.pack("<QIII", 1 << 50, 1 << 20, 0, 0xFFFFFFFF))
    with pytest.raises(ImageError, match="blocks for a disk"):
        open_image(path)


def test_a_size_that_is_not_whole_sectors_is_rounded_up(dynamic: tuple[Path, bytes]) -> None:
    path, expected = dynamic
    patch(path, 0x170, struct.pack("<Q", SIZE - 300))
    check(path, expected, "vdi")


def test_a_block_outside_the_file_is_an_error_for_that_block_alone(dynamic: tuple[Path, bytes]) -> None:
    path, expected = dynamic
    with open_image(path) as opened:
        table = int(opened.disk._header.map_offset)  # type: ignore[attr-defined]
    patch(path, table + 4, struct.pack("<I", 0x7FFFFFFF))
    with open_image(path) as opened:
        assert opened.disk.pread(0, 1 << 20) == expected[: 1 << 20]
        assert opened.disk.pread(2 << 20, SIZE) == expected[2 << 20 :]
        with pytest.raises(ImageError):
            opened.disk.pread(1 << 20, 1)
        assert isinstance(opened.disk, VdiDevice)
        assert len(list(opened.disk.verify())) == 1
    patch(path, table + 4, path.read_bytes()[table : table + 4])
    with open_image(path) as opened:
        assert isinstance(opened.disk, VdiDevice)
        assert any("another one" in problem for problem in opened.disk.verify())


def test_blocks_that_are_stored_in_a_row_are_one_extent(tmp_path: Path) -> None:
    path = create(tmp_path / "disk.vdi", "vdi", SIZE, "static=on")
    with open_image(path) as opened:
        assert len(list(opened.disk.extents(0, SIZE))) == 3


def test_an_empty_disk_is_few_holes(tmp_path: Path) -> None:
    path = create(tmp_path / "disk.vdi", "vdi", 100 << 30)
    with open_image(path) as opened:
        runs = list(opened.disk.extents(0, opened.disk.size))
        assert {run.device for run in runs} == {None}
        assert len(runs) < 100


def test_a_missing_parent_is_named_by_its_identifier(tmp_path: Path) -> None:
    folder = Path(__file__).parents[3] / "fixtures/containers/vdi/differencing"
    for name in ("snapshot.vdi", "undo.vdi", "base.vdi"):
        (tmp_path / f"{name}.xz").write_bytes((folder / f"{name}.xz").read_bytes())
        run("xz", "-d", tmp_path / f"{name}.xz")
    with open_image(tmp_path / "snapshot.vdi") as opened:
        assert isinstance(opened.disk, VdiDevice)
        assert opened.disk.info()["parent"].startswith("undo.vdi")
        assert "warning" not in opened.disk.info()
    (tmp_path / "base.vdi").unlink()
    with pytest.raises(MissingPartError, match=r"parent [0-9a-f-]{36} is missing"):
        open_image(tmp_path / "snapshot.vdi")
    patch(tmp_path / "undo.vdi", 0x1A8, (tmp_path / "undo.vdi").read_bytes()[0x188:0x198])
    with pytest.raises(ImageError, match="own parent"):
        open_image(tmp_path / "snapshot.vdi")
