"""Sparse images, sparse bundles and ASIF that are damaged, hostile, or a folder."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from fixture import unpack
from helpers import FIXTURES, context
from imgmount.chain.open import open_image
from imgmount.containers.apple import asif, sparsebundle, sparseimage
from imgmount.core.format import Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, MissingPartError, UnsupportedError

CONTAINERS = FIXTURES / "containers"


def sprs(slots: list[int], sectors: int = 16, band: int = 2, following: int = 0) -> bytes:
    head = struct.pack(">4s4I2Q", b"sprs", 3, band, 0, sectors, following, sectors).ljust(0x40, b"\0")
    return (head + struct.pack(f">{len(slots)}I", *slots)).ljust(0x1000, b"\0")


def test_bands_lie_in_the_order_of_their_slots() -> None:
    data = sprs([3, 0, 1]) + b"c" * 1024 + b"?" * 1024 + b"a" * 1024
    disk = sparseimage.FORMAT.open(MemoryDevice(data), context())
    assert disk.pread(0, 8192) == b"a" * 1024 + bytes(1024) + b"c" * 1024 + bytes(5120)
    assert [(run.length, run.device is None) for run in disk.extents(0, 8192)] == [
        (1024, False),
        (1024, True),
        (1024, False),
        (5120, True),
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (sprs([], following=0x10), "the image ends|leads back|begins with"),
        (sprs([], band=0), "sectors in a band 0 is not from 1 to"),
        (sprs([], band=1 << 31), "sectors in a band"),
        (sprs([])[:900], "the image ends"),
    ],
)
def test_an_index_that_lies(data: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        sparseimage.FORMAT.open(MemoryDevice(data), context())


def test_an_index_that_leads_to_itself() -> None:
    data = bytearray(sprs([], following=0x1000) + sprs([]))
    struct.pack_into(">4s2IQ", data, 0x1000, b"sprs", 2, 0, 0x1000)
    with pytest.raises(FormatError, match="leads back"):
        sparseimage.FORMAT.open(MemoryDevice(bytes(data)), context())


def test_what_is_wrong_with_an_index_is_told() -> None:
    disk = sparseimage.SparseImageDevice(MemoryDevice(sprs([1, 1, 99]) + bytes(1500)), context())
    found = list(disk.verify())
    assert found == ["band 0 is stored twice", "a slot for band 98: the disk has 8"]
    cut = sparseimage.SparseImageDevice(MemoryDevice(sprs([1, 2]) + bytes(1500)), context())
    assert list(cut.verify()) == ["band 1 is cut: it ends at 0x1800, the file at 0x15dc"]


def bundle(scratch: Path, variant: str = "plain", name: str = "disk.sparsebundle") -> Path:
    shutil.copytree(CONTAINERS / "sparsebundle" / variant, scratch / name)
    return scratch / name


@pytest.mark.parametrize("name", ["disk.sparsebundle", "Mac.backupbundle", "no suffix"])
def test_a_folder_is_an_image(name: str, tmp_path: Path) -> None:
    path = bundle(tmp_path, name=name)
    with open_image(path) as found, open_image(path / "Info.plist") as same:
        assert str(found) == "file > sparsebundle"
        assert found.disk.pread(0, found.disk.size) == same.disk.pread(0, same.disk.size)
        assert path / "bands" / "0" in found.opened
        assert path / "bands" / "2" not in found.opened


def test_bands_that_are_missing_or_short_are_holes(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    (path / "bands" / "0").unlink()
    (path / "bands" / "ff").write_bytes(b"too far")
    (path / "bands" / "00").write_bytes(b"no band is called that")
    with open_image(path) as found:
        assert found.disk.pread(0, 0x2000) == bytes(0x2000)
        assert next(iter(found.disk.extents(0, 100))).device is None
        assert found.disk.pread(0x2000, 14) == b"sector 0000016"
        device = found.layers[-1].device
        assert isinstance(device, sparsebundle.SparseBundleDevice)
        assert list(device.verify()) == ["band ff lies past the end of the disk, which has 8"]


def test_holes_of_an_encrypted_bundle_are_zeros(tmp_path: Path) -> None:
    path = bundle(tmp_path, "encrypted")
    with open_image(path, Options(password="correct horse")) as found:
        assert found.disk.pread(2 * 0x2000, 0x2000) == bytes(0x2000)
        assert found.disk.pread(3 * 0x2000, 14) == b"sector 0000048"


def test_a_link_is_no_folder_of_bands(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    (path / "bands").rename(tmp_path / "elsewhere")
    (path / "bands").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MissingPartError, match="no band is there"):
        open_image(path / "Info.plist")


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        (
            "<integer>8192</integer>",
            "<integer>0</integer>",
            FormatError,
            "band-size 0 is not a multiple of 512 from 512 to 1 TiB",
        ),
        ("<integer>8192</integer>", "<string>x</string>", FormatError, "band-size is 'x'"),
        ("<integer>1</integer>", "<integer>3</integer>", UnsupportedError, "version 3"),
        ("<integer>61440</integer>", "<integer>-1</integer>", FormatError, "size is -1"),
        (
            "<integer>61440</integer>",
            f"<integer>{1 << 63}</integer>",
            FormatError,
            "size .* is not from 0 to",
        ),
    ],
)
def test_an_info_plist_that_lies(
    old: str, new: str, error: type[Exception], said: str, tmp_path: Path
) -> None:
    path = bundle(tmp_path) / "Info.plist"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(error, match=said):
        open_image(path)


def test_entities_are_refused(tmp_path: Path) -> None:
    path = bundle(tmp_path) / "Info.plist"
    bomb = '<!DOCTYPE plist [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
    path.write_text(path.read_text().replace("<plist", f"{bomb}<plist").replace("6.0", "&b;"))
    with pytest.raises(FormatError, match="declares entities"):
        sparsebundle.FORMAT.open(MemoryDevice(path.read_bytes()), context())


ENTRY = 3 * 0x10000  # the table of the ASIF fixture


def asif_data(scratch: Path) -> bytearray:
    unpack(CONTAINERS / "asif" / "partial" / "disk.asif.xz", scratch / "disk.asif")
    return bytearray((scratch / "disk.asif").read_bytes())


@pytest.mark.parametrize(
    ("chunk", "value"), [(0, 2 << 62 | 7), (0, 7), (3, 3 << 62)], ids=["2", "0", "no place"]
)
def test_a_state_that_nobody_knows_is_refused(chunk: int, value: int, tmp_path: Path) -> None:
    data = asif_data(tmp_path)
    struct.pack_into(">Q", data, ENTRY + 8 * chunk, value)
    disk = asif.FORMAT.open(MemoryDevice(bytes(data)), context())
    with pytest.raises(UnsupportedError, match="what that means is not known"):
        disk.pread(chunk << 16, 512)
    assert disk.pread(2 << 16, 14) == b"sector 0000256"


def test_sectors_never_written_are_holes_whatever_lies_there(tmp_path: Path) -> None:
    data = asif_data(tmp_path)
    assert b"old old " in data
    disk = asif.FORMAT.open(MemoryDevice(bytes(data)), context())
    assert b"old old " not in disk.pread(0, disk.size)
    runs = list(disk.extents(3 << 16, 1 << 16))
    assert sum(run.length for run in runs if run.device is None) == 58 * 512


@pytest.mark.parametrize(
    ("offset", "form", "value", "error"),
    [
        (0x40, ">I", 0, FormatError),
        (0x40, ">I", 3 << 16, FormatError),
        (0x44, ">H", 7, FormatError),
        (0x30, ">Q", 1 << 60, FormatError),
        (0x38, ">Q", 5, FormatError),
        (0x04, ">I", 2, UnsupportedError),
    ],
)
def test_an_asif_header_that_lies(
    offset: int, form: str, value: int, error: type[Exception], tmp_path: Path
) -> None:
    data = asif_data(tmp_path)
    struct.pack_into(form, data, offset, value)
    with pytest.raises(error):
        asif.FORMAT.open(MemoryDevice(bytes(data)), context())


def test_the_newer_directory_counts(tmp_path: Path) -> None:
    data = asif_data(tmp_path)
    struct.pack_into(">Q", data, 512, 8)  # the older one, whose table is empty, made newer
    disk = asif.FORMAT.open(MemoryDevice(bytes(data)), context())
    assert disk.pread(0, 512) == bytes(512)
