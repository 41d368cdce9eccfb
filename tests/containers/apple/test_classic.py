"""Disk Copy 4.2, DART, NDIF, ShrinkWrap, and the wrappers that resource forks travel in."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from conformance import sha256
from containers.apple.apple_rows import rows
from fixture import unpack
from helpers import FIXTURES, context, image, wrong
from imgmount.chain.open import Image, open_image
from imgmount.containers.apple import dart, dc42, macbinary
from imgmount.containers.apple.ndif.device import NdifDevice
from imgmount.core.format import Match, Verifiable
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError

CONTAINERS = FIXTURES / "containers"


def fixture(variant: str, scratch: Path) -> Path:
    folder = CONTAINERS / variant
    for path in folder.iterdir():
        if path.suffix == ".xz":
            unpack(path, scratch / path.stem)
        elif path.is_dir():
            shutil.copytree(path, scratch / path.name)
        elif path.name not in ("make.sh", "expected.json"):
            shutil.copy(path, scratch)
    return scratch


def checked(found: Image) -> list[str]:
    devices = [layer.device for layer in found.layers if isinstance(layer.device, Verifiable)]
    return [problem for device in devices for problem in wrong(device.verify())]


@pytest.mark.parametrize("row", rows("dart", "mac-floppy"), ids=lambda row: Path(row["file"]).name)
def test_other_peoples_images(row: dict[str, Any]) -> None:
    with open_image(image(row["file"])) as found:
        assert [found.disk.size, sha256(found.disk)] == row["raw"]
        assert checked(found) == []


@pytest.mark.parametrize(
    ("variant", "name", "said"),
    [
        ("dc42/tags", "disk.image", "checksum of the data"),
        ("dart/none", "disk.image", "checksum of the"),
        ("shrinkwrap/floppy", "floppy.smi", "checksum of the data"),
        ("ndif/codecs", "disk.img", "CRC28|the run of sector"),
    ],
)
def test_a_changed_byte_is_told(variant: str, name: str, said: str, tmp_path: Path) -> None:
    path = fixture(variant, tmp_path) / name
    with open_image(path) as found:
        assert checked(found) == []
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    problems = []
    with open_image(path) as found:
        try:
            problems += checked(found)
        except ImageError as exc:
            problems.append(str(exc))
    assert any(re.search(said, problem) for problem in problems)


def test_changed_tags_are_told(tmp_path: Path) -> None:
    path = fixture("dc42/tags", tmp_path) / "disk.image"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with open_image(path) as found:
        assert [line.split(" is ")[0] for line in checked(found)] == ["checksum of the tags"]


def dc42_header(**changes: int) -> bytes:
    fields = {
        "size": 409600,
        "tags": 0,
        "sum": 0,
        "tag_sum": 0,
        "format": 0,
        "byte": 0x12,
        "mark": 0x100,
    } | changes
    return b"\4Test".ljust(64, b"\0") + struct.pack(">4I2BH", *fields.values())


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (dc42_header() + bytes(409600), Match.CERTAIN),
        (dc42_header(size=5 << 20) + bytes(5 << 20), Match.LIKELY),
        (dc42_header() + bytes(409599), Match.NO),
        (dc42_header(mark=0x101) + bytes(409600), None),
        (dc42_header(size=1000) + bytes(409600), None),
        (dc42_header(tags=13) + bytes(409600), None),
    ],
)
def test_disk_copy_headers(data: bytes, match: Match | None) -> None:
    if match is None:
        with pytest.raises(FormatError):
            dc42.FORMAT.probe(MemoryDevice(data))
    else:
        assert dc42.FORMAT.probe(MemoryDevice(data)) is match


def test_a_damaged_block_of_dart_costs_itself_alone(tmp_path: Path) -> None:
    path = fixture("dart/best", tmp_path) / "disk.image"
    with open_image(path) as found:
        content = found.disk.pread(0, found.disk.size)
    data = bytearray(path.read_bytes())
    first = struct.unpack_from(">h", data, 4)[0]
    data[84 : 84 + first] = bytes(first)
    path.write_bytes(data)
    with open_image(path) as found:
        assert found.disk.pread(20480, 1 << 20) == content[20480:]
        with pytest.raises(FormatError, match="block 0: the data ends after"):
            found.disk.pread(0, 512)
        assert any(line.startswith("dart: block 0: ") for line in checked(found))


@pytest.mark.parametrize("change", [(0, 3), (2, 5), (3, 0), (4, 0x7F)])
def test_no_other_file_is_taken_for_dart(change: tuple[int, int], tmp_path: Path) -> None:
    data = bytearray((fixture("dart/fast", tmp_path) / "disk.image").read_bytes())
    data[change[0]] = change[1]
    with contextlib.suppress(FormatError):
        assert dart.FORMAT.probe(MemoryDevice(bytes(data))) is Match.NO


def test_without_its_fork_an_ndif_is_no_disk_image(tmp_path: Path) -> None:
    path = fixture("ndif/codecs", tmp_path) / "disk.img"
    (tmp_path / "._disk.img").unlink()
    with open_image(path) as found:
        assert str(found) == "file"
    with pytest.raises(MissingPartError, match="the resource fork is missing"):
        NdifDevice(MemoryDevice(b""), context())


@pytest.mark.parametrize("how", ["rsrc", "macosx", "netatalk", "percent", "xattr"])
def test_a_fork_is_found_wherever_it_went(how: str, tmp_path: Path) -> None:
    path = fixture("ndif/rsrc", tmp_path) / "install.smi"
    fork = tmp_path / "install.smi.rsrc"
    other = (fixture("ndif/codecs", tmp_path) / "._disk.img").read_bytes()
    if how == "xattr":
        try:
            os.setxattr(path, "user.com.apple.ResourceFork", fork.read_bytes())
        except OSError:
            pytest.skip("no extended attributes here")
    if how != "rsrc":
        fork.unlink()
    places = {
        "macosx": "__MACOSX/._install.smi",
        "netatalk": ".AppleDouble/install.smi",
        "percent": "%install.smi",
    }
    if how in places:
        (tmp_path / places[how]).parent.mkdir(exist_ok=True)
        (tmp_path / places[how]).write_bytes(other)  # of the same chunks
    with open_image(path) as found:
        assert str(found) == "file > ndif"
        assert checked(found) == []


def test_any_part_opens_the_image(tmp_path: Path) -> None:
    fixture("ndif/segments", tmp_path)
    with open_image(tmp_path / "one.bin") as first, open_image(tmp_path / "drei.bin") as last:
        assert sha256(first.disk) == sha256(last.disk)
    (tmp_path / "zwei.bin").unlink()
    for name in ("one.bin", "drei.bin"):
        with pytest.raises(MissingPartError, match="part 2 of 3 is missing"):
            open_image(tmp_path / name)
    (tmp_path / "one.bin").unlink()
    with pytest.raises(MissingPartError, match="part 1 of 3 is missing"):
        open_image(tmp_path / "drei.bin")


def patched_map(scratch: Path, offset: int, value: bytes) -> Path:
    """The fixture with other bytes in its map."""
    path = fixture("ndif/codecs", scratch) / "disk.img"
    double = bytearray((scratch / "._disk.img").read_bytes())
    at = double.index(b"\x07Install", double.index(b"rohdddsk") + 60) - 4
    double[at + offset : at + offset + len(value)] = value
    (scratch / "._disk.img").write_bytes(double)
    return path


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (0, b"\0\x0d", UnsupportedError),
        (0x44, bytes(4), FormatError),
        (0x44, b"\xff" * 4, FormatError),
        (0x7C, b"\xff" * 4, FormatError),
        (0x7C, bytes(4), FormatError),
    ],
)
def test_a_map_that_lies(offset: int, value: bytes, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        open_image(patched_map(tmp_path, offset, value))


@pytest.mark.parametrize("value", [0xF0, 0x77])
def test_an_unknown_chunk_is_refused_and_others_are_read(value: int, tmp_path: Path) -> None:
    path = patched_map(tmp_path, 0x80 + 12 + 3, bytes([value]))
    with open_image(path) as found:
        with pytest.raises(UnsupportedError, match=f"runs of type {value:#x}"):
            found.disk.pread(4 * 512, 1)
        assert found.disk.pread(0, 14) == b"sector 0000000"


def test_chunks_out_of_order_end_the_map(tmp_path: Path) -> None:
    path = patched_map(tmp_path, 0x80 + 24, bytes(3))
    with open_image(path) as found:
        assert found.disk.pread(0, 14) == b"sector 0000000"
        with pytest.raises(FormatError, match="cannot be told"):
            found.disk.pread(200 * 512, 1)
        assert "the map is not followed further" in checked(found)[0]


def test_a_macbinary_of_another_kind_is_no_image() -> None:
    text = (FIXTURES / "filesystems" / "macforks" / "text" / "readme.bin").read_bytes()
    assert macbinary.FORMAT.probe(MemoryDevice(text)) is Match.NO
    assert macbinary.FORMAT.probe(MemoryDevice(bytes(4096))) is Match.NO


@pytest.mark.parametrize("name", ["Text_File_I.Bin", "Text_File_II.bin", "Text_File.bin", "Date_Test.bin"])
def test_other_peoples_macbinary(name: str) -> None:
    with open_image(image(f"wrapper/wezm__macbinary__{name}")) as found:
        assert str(found) == "file > macforks"
        assert [name for name, _ in found.volumes[0].filesystem.root.entries()] == ["data", "rsrc"]


def test_binhex_that_is_cut_says_so(tmp_path: Path) -> None:
    path = fixture("binhex/smi", tmp_path) / "install.smi.hqx"
    text = path.read_bytes()
    path.write_bytes(text[: len(text) // 2])
    with open_image(path, None) as found:
        assert "the text is cut" in str(found.volumes[0].problem)
