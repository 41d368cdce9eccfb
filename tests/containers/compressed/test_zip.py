"""Zips with disk images: which one is opened, what is refused, directories that lie."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from helpers import FIXTURES, context
from imgmount.chain.open import open_image
from imgmount.containers.compressed.zip import FORMAT
from imgmount.core.format import Match, Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.sources.file import FileDevice
from packers import problems

STORED = FIXTURES / "containers" / "zip" / "stored" / "firmware.ipsw"


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, data in files:
            file.writestr(name, data)
    return out.getvalue()


def test_a_stored_image_is_read_in_place() -> None:
    with open_image(STORED) as found:
        zip_device = found.layers[1].device
        assert {type(run.device) for run in zip_device.extents(0, zip_device.size)} == {FileDevice}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_largest_image_is_opened_or_the_one_that_is_named(method: int, tmp_path: Path) -> None:
    path = tmp_path / "disks.zip"
    files = (("a/small.img", b"s" * 1024), ("large.img", b"l" * 4096), ("__MACOSX/._large.img", bytes(9999)))
    path.write_bytes(zipped(*files, ("readme.txt", bytes(99999)), method=method))
    with open_image(path) as found:
        assert found.disk.pread(0, 9999) == b"l" * 4096
    for name in ("a/small.img", "small.img"):
        with open_image(path, Options(extra={"member": name})) as found:
            assert found.disk.pread(0, 9999) == b"s" * 1024
    with pytest.raises(
        ImageError, match=r"zip: no disk image called 'b\.img'; there are: large\.img, a/small\.img"
    ):
        open_image(path, Options(extra={"member": "b.img"}))


def test_a_zip_without_images_is_none() -> None:
    assert FORMAT.probe(MemoryDevice(zipped(("a.txt", b"x")))) is Match.NO


def test_a_changed_byte_of_a_deflated_image_is_told(tmp_path: Path) -> None:
    data = bytearray(zipped(("a.img", bytes(range(256)) * 64), method=zipfile.ZIP_DEFLATED))
    place = data.index(b"PK\1\2") + 16
    data[place] ^= 1  # of the CRC
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with open_image(path) as found:
        assert [layer.name for layer in found.layers] == ["file", "zip", "gzip"]
        assert problems(found.layers[2].device)


@pytest.mark.parametrize(
    ("offset", "form", "value", "error"),
    [
        (8, "<H", 1, UnsupportedError),
        (10, "<H", 14, UnsupportedError),
        (42, "<I", 5, FormatError),
        (42, "<I", 0xFFFFFFF0, FormatError),
        (0, "<I", 0, FormatError),
    ],
)
def test_an_entry_that_lies(offset: int, form: str, value: int, error: type[Exception]) -> None:
    data = bytearray(zipped(("a.img", bytes(512))))
    struct.pack_into(form, data, data.index(b"PK\1\2") + offset, value)
    with pytest.raises(error):
        FORMAT.open(MemoryDevice(bytes(data)), context())


@pytest.mark.parametrize(("offset", "form"), [(10, "<H"), (12, "<I"), (16, "<I")])
def test_an_end_that_lies(offset: int, form: str) -> None:
    data = bytearray(zipped(("a.img", bytes(512))))
    struct.pack_into(form, data, data.index(b"PK\5\6") + offset, 0xFFFF if form == "<H" else 0xFFFFFFFF)
    with pytest.raises(FormatError):
        FORMAT.open(MemoryDevice(bytes(data)), context())


def test_large_files_have_their_sizes_elsewhere() -> None:
    data = bytearray(zipped(("a.img", b"x" * 512)))
    entry = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    field = struct.pack("<2H3Q", 1, 24, 512, 512, 0)
    struct.pack_into("<2I", data, entry + 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", data, entry + 30, len(field))
    struct.pack_into("<I", data, entry + 42, 0xFFFFFFFF)
    directory = bytes(data[entry:end]) + field
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), entry)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, entry + len(directory), 1)
    last = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    whole = bytes(data[:entry]) + directory + record + locator + last
    assert FORMAT.open(MemoryDevice(whole), context()).pread(0, 999) == b"x" * 512
