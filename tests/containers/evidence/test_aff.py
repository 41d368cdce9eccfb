from __future__ import annotations

import lzma
import struct
import subprocess
from pathlib import Path
from typing import cast

import pytest

from conformance import check_device
from helpers import FIXTURES, context, tool, wrong
from imgmount.chain.open import open_image
from imgmount.containers.evidence.aff import AffDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError

AFF = FIXTURES / "containers/aff"
PAGE = 64 << 10
SIZE = 2411 * 512


def unpacked(variant: str) -> bytes:
    return lzma.decompress((AFF / variant / "disk.aff.xz").read_bytes())


ZLIB = unpacked("zlib")


def opened(data: bytes, **options: object) -> AffDevice:
    return AffDevice(MemoryDevice(data), context(None, **options))


DISK = opened(ZLIB).pread(0, SIZE)


def segments(data: bytes) -> dict[str, tuple[int, int, int]]:
    """name -> (offset of the segment, offset of its data, size of its data)."""
    found, offset = {}, 8
    while offset < len(data):
        _, name, size, _ = struct.unpack_from(">4sIII", data, offset)
        found[data[offset + 16 : offset + 16 + name].decode()] = (offset, offset + 16 + name, size)
        offset += 16 + name + size + 8
    return found


def without(data: bytes, name: str) -> bytes:
    offset, start, size = segments(data)[name]
    return data[:offset] + data[start + size + 8 :]


@pytest.mark.parametrize("variant", ["zlib", "lzma", "stored"])
def test_sound_files_verify(variant: str) -> None:
    device = opened(unpacked(variant))
    assert wrong(device.verify()) == []
    assert device.info()["acquired with"] == "3.7.20"


def test_stored_pages_and_pages_of_zeros_are_not_decoded() -> None:
    assert {run.device is None for run in opened(ZLIB).extents(SIZE // 2 - PAGE, 100)} == {True}
    data = unpacked("stored")
    file = MemoryDevice(data)
    assert {run.device for run in AffDevice(file, context()).extents(0, PAGE)} == {file}


def test_a_damaged_page_costs_itself_alone() -> None:
    _, start, _ = segments(ZLIB)["page0"]
    device = opened(ZLIB[: start + 30] + b"\xee\xee\xee" + ZLIB[start + 33 :])
    with pytest.raises(FormatError, match="page 0"):
        device.pread(0, 1)
    assert device.pread(PAGE, SIZE) == DISK[PAGE:]
    assert "cannot be compared" in wrong(device.verify())[0]
    device = opened(ZLIB[: start + 30] + b"\xee\xee\xee" + ZLIB[start + 33 :], extra={"on-error": "zero"})
    check_device(device, bytes(PAGE) + DISK[PAGE:])
    assert device.info()["damaged, read as zeros"] == f"1 ranges: 0x0+{PAGE:#x}"


def test_a_missing_page_is_an_error() -> None:
    device = opened(without(ZLIB, "page1"))
    with pytest.raises(FormatError, match="page 1 is missing"):
        device.pread(PAGE, 1)
    assert device.pread(0, PAGE) == DISK[:PAGE]
    device = opened(without(ZLIB, "page1"), extra={"on-error": "zero"})
    check_device(device, DISK[:PAGE] + bytes(PAGE) + DISK[2 * PAGE :])
    assert device.info()["damaged, read as zeros"] == f"1 ranges: {PAGE:#x}+{PAGE:#x}"


def test_a_wrong_hash_is_told() -> None:
    _, start, _ = segments(ZLIB)["md5"]
    assert [
        problem[:6] for problem in wrong(opened(ZLIB[:start] + bytes(16) + ZLIB[start + 16 :]).verify())
    ] == ["MD5 is"]


@pytest.mark.parametrize("name", ["page0", "imagesize", "pagesize"])
@pytest.mark.parametrize(("field", "value"), [(4, 2**32 - 1), (8, 2**32 - 1), (8, 2**31), (4, 65), (0, 0)])
def test_hostile_segments_are_refused(name: str, field: int, value: int) -> None:
    offset, _, _ = segments(ZLIB)[name]
    with pytest.raises(FormatError):
        opened(ZLIB[: offset + field] + struct.pack(">I", value) + ZLIB[offset + field + 4 :])


def test_an_end_that_contradicts_its_segment_is_refused() -> None:
    _, start, size = segments(ZLIB)["page3"]
    with pytest.raises(FormatError, match="whose end says otherwise"):
        opened(ZLIB[: start + size + 4] + b"\1" + ZLIB[start + size + 5 :])


@pytest.mark.parametrize("value", [b"\0\0\0\0\xff\xff\xff\xff", b"\0\0\0\0\x40\0\0\0"])
def test_hostile_sizes(value: bytes) -> None:
    _, start, _ = segments(ZLIB)["imagesize"]
    with pytest.raises(FormatError):
        opened(ZLIB[:start] + value + ZLIB[start + 8 :])


@pytest.mark.parametrize("value", [0, 2**27, 2**32 - 1])
def test_hostile_page_sizes(value: int) -> None:
    offset, _, _ = segments(ZLIB)["pagesize"]
    with pytest.raises(FormatError, match="pages of"):
        opened(ZLIB[: offset + 12] + struct.pack(">I", value) + ZLIB[offset + 16 :])


def test_unknown_compression_and_encryption_are_named() -> None:
    offset, _, _ = segments(ZLIB)["page0"]
    with pytest.raises(UnsupportedError, match="compression 0x10"):
        opened(ZLIB[: offset + 12] + struct.pack(">I", 0x11) + ZLIB[offset + 16 :]).pread(0, 1)
    name = b"affkey_aes256"
    key = (
        struct.pack(">4sIII", b"AFF\0", len(name), 0, 0)
        + name
        + struct.pack(">4sI", b"ATT\0", 24 + len(name))
    )
    with pytest.raises(UnsupportedError, match="encryption"):
        opened(ZLIB + key)


@pytest.mark.parametrize("keep", [8, 20, 5000, -1])
def test_truncated_files(keep: int) -> None:
    with pytest.raises(FormatError):
        opened(ZLIB[:keep])


def test_pages_beside_raw_files(tmp_path: Path) -> None:
    tool("affcat")
    draft = tmp_path / "disk.aff"
    draft.write_bytes(ZLIB)
    pages = [f"-d{name}" for name in segments(ZLIB) if name.startswith("page") and name != "pagesize"]
    edits = [*pages, "-saff_file_type=AFM", "-sraw_image_file_extension=000"]
    for edit in edits:
        subprocess.run([tool("affsegment"), edit, draft.name], cwd=tmp_path, check=True, capture_output=True)
    draft.rename(tmp_path / "disk.afm")
    with pytest.raises(MissingPartError, match=r"disk\.000"):
        open_image(tmp_path / "disk.afm")
    (tmp_path / "disk.000").write_bytes(DISK[:1000000])
    (tmp_path / "disk.001").write_bytes(DISK[1000000:])
    with open_image(tmp_path / "disk.afm") as found:
        assert str(found) == "file > aff"
        check_device(found.disk, DISK)
        assert wrong(cast("AffDevice", found.disk).verify()) == []
    (tmp_path / "disk.001").unlink()
    with open_image(tmp_path / "disk.afm") as found:
        assert found.disk.pread(0, 1000000) == DISK[:1000000]
        with pytest.raises(ImageError):
            found.disk.pread(1000000, 1)
