"""VHDX: the log replayed in memory, lost copies of tables, parents, tables that lie."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import struct
import uuid
from pathlib import Path

import pytest

from fixture import unpack
from helpers import FIXTURES, image
from imgmount.chain.open import open_image
from imgmount.codecs.crc32c import crc32c
from imgmount.containers.vdisk.vhdx.device import VhdxDevice
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError
from vdisk import check, create, raw_of, run, scribble

SIZE = 5 << 20
MIB = 1 << 20


def patch(path: Path, offset: int, data: bytes, *, table: int | None = None, size: int = 0) -> None:
    """Bytes replaced, and the checksum of the structure of ``size`` bytes at ``table`` made right."""
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    if table is not None:
        content[table + 4 : table + 8] = bytes(4)
        content[table + 4 : table + 8] = struct.pack("<I", crc32c(bytes(content[table : table + size])))
    path.write_bytes(content)


def patch_header(path: Path, offset: int, data: bytes) -> None:
    content = path.read_bytes()
    start = max((0x10000, 0x20000), key=lambda at: struct.unpack_from("<Q", content, at + 8)[0])
    patch(path, start + offset, data, table=start, size=4096)


def patch_metadata(path: Path, item: str, data: bytes) -> None:
    content = path.read_bytes()
    entry = content.index(uuid.UUID(item).bytes_le)
    base = content.index(b"metadata")
    patch(path, base + struct.unpack_from("<I", content, entry + 16)[0], data)


def unpacked(tmp_path: Path, variant: str) -> Path:
    for packed in (FIXTURES / "containers/vhdx" / variant).glob("*.xz"):
        unpack(packed, tmp_path / packed.stem)
    return tmp_path


@pytest.fixture
def dynamic(tmp_path: Path) -> tuple[Path, bytes]:
    path = scribble(create(tmp_path / "disk.vhdx", "vhdx", SIZE, "block_size=1M"), "vhdx", SIZE, writes=20)
    return path, raw_of(path, "vhdx")


def test_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of every catalogue
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283


@pytest.mark.parametrize("lost", [(0x10000,), (0x20000,), (0x30000,), (0x40000,), (0x10000, 0x40000)])
def test_one_copy_of_each_table_is_enough(dynamic: tuple[Path, bytes], lost: tuple[int, ...]) -> None:
    path, expected = dynamic
    for offset in lost:
        patch(path, offset + 16, b"damage")
    check(path, expected, "vhdx")
    with open_image(path) as opened:
        assert isinstance(opened.disk, VhdxDevice)
        assert len(list(opened.disk.verify())) == len(lost)


def test_without_any_header_the_disk_is_refused(dynamic: tuple[Path, bytes]) -> None:
    for offset in (0x10000, 0x20000):
        patch(dynamic[0], offset + 16, b"damage")
    with pytest.raises(FormatError, match="checksum"):
        open_image(dynamic[0])


def test_the_log_is_replayed_and_the_file_is_not_touched(tmp_path: Path) -> None:
    path = unpacked(tmp_path, "log") / "disk.vhdx"
    before = hashlib.sha256(path.read_bytes()).digest()
    with open_image(path) as opened:
        assert isinstance(opened.disk, VhdxDevice)
        assert opened.disk.info()["log"] == "replayed in memory (2 entries)"
        opened.disk.pread(0, opened.disk.size)
    assert hashlib.sha256(path.read_bytes()).digest() == before


def test_a_log_without_a_whole_run_of_entries_is_refused(tmp_path: Path) -> None:
    path = unpacked(tmp_path, "log") / "disk.vhdx"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"loge", b"LOGE"))
    with pytest.raises(FormatError, match="no valid sequence"):
        open_image(path)
    newest = content.index(b"loge" + content[content.index(b"loge") + 4 :][:4])
    path.write_bytes(
        content[: newest + 64] + b"?" + content[newest + 65 :]
    )  # the last entry, which went round the end
    with open_image(path) as opened:
        assert isinstance(opened.disk, VhdxDevice)
        assert opened.disk.info()["log"] == "replayed in memory (1 entries)"


def test_a_file_that_is_shorter_than_its_log_says_is_refused(tmp_path: Path) -> None:
    path = unpacked(tmp_path, "log") / "disk.vhdx"
    path.write_bytes(path.read_bytes()[: -2 * MIB])
    with pytest.raises(FormatError, match="cut"):
        open_image(path)


@pytest.mark.parametrize(
    ("name", "opener"),
    [
        ("vhdx/LTRData__DiscUtils__vhdx-log-replay.vhdx.gz", gzip.open),
        ("vhdx/nccgroup__TriforceAFL__iotest-dirtylog-10G-4M.vhdx.bz2", bz2.open),
    ],
    ids=["gz", "bz2"],
)
def test_the_logs_of_other_people(tmp_path: Path, name: str, opener: object) -> None:
    path, replayed = tmp_path / "disk.vhdx", tmp_path / "replayed.vhdx"
    with opener(image(name)) as packed:  # type: ignore[operator]
        path.write_bytes(packed.read())
    replayed.write_bytes(path.read_bytes())
    run("qemu-img", "check", "-r", "all", replayed)
    with open_image(path) as ours, open_image(replayed) as theirs:
        assert isinstance(ours.disk, VhdxDevice)
        assert "log" in ours.disk.info()
        for offset in range(0, ours.disk.size, 64 * MIB):
            assert ours.disk.pread(offset, 9 * MIB) == theirs.disk.pread(offset, 9 * MIB)


@pytest.mark.parametrize(
    ("offset", "data", "error"),
    [
        (0x40, b"\1\0", UnsupportedError),
        (0x42, b"\2\0", UnsupportedError),
        (0x30, b"\1" * 16, FormatError),  # a log that is empty
        (0x30, b"\1" * 16 + bytes(2) + b"\1\0" + struct.pack("<I", 0xFFFFFFFF), FormatError),
        (0x30, b"\1" * 16 + bytes(2) + b"\1\0" + struct.pack("<IQ", MIB, 1 << 62), FormatError),
    ],
)
def test_a_header_that_lies_is_refused(
    dynamic: tuple[Path, bytes], offset: int, data: bytes, error: type[ImageError]
) -> None:
    patch_header(dynamic[0], offset, data)
    with pytest.raises(error):
        open_image(dynamic[0])


@pytest.mark.parametrize(
    ("item", "data"),
    [
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", struct.pack("<I", 0)),
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", struct.pack("<I", 3 << 20)),
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", struct.pack("<I", 512 << 20)),
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", struct.pack("<II", MIB, 2)),  # a parent, but no locator
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", struct.pack("<Q", 0)),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", struct.pack("<Q", 1 << 63)),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", struct.pack("<Q", 64 << 40)),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", struct.pack("<Q", SIZE + 1)),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", struct.pack("<I", 0)),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", struct.pack("<I", 513)),
    ],
)
def test_metadata_that_lies_is_refused(dynamic: tuple[Path, bytes], item: str, data: bytes) -> None:
    patch_metadata(dynamic[0], item, data)
    with pytest.raises(ImageError):
        open_image(dynamic[0])


def test_an_item_that_is_there_twice_is_refused(dynamic: tuple[Path, bytes]) -> None:
    path, _ = dynamic
    content = path.read_bytes()
    table = content.index(b"metadata")
    count = struct.unpack_from("<H", content, table + 10)[0]
    patch(path, table + 32 + count * 32, content[table + 32 : table + 64])
    check(path, raw_of(path, "vhdx"), "vhdx")
    patch(path, table + 10, struct.pack("<H", count + 1))
    with pytest.raises(FormatError, match="metadata item"):
        open_image(path)


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\0"])
def test_region_tables_that_lie_are_refused(dynamic: tuple[Path, bytes], data: bytes) -> None:
    for start in (0x30000, 0x40000):
        patch(dynamic[0], start + 8, data, table=start, size=0x10000)
    with pytest.raises(FormatError):
        open_image(dynamic[0])


def test_an_unknown_region_that_is_required_is_named(dynamic: tuple[Path, bytes]) -> None:
    path, _ = dynamic
    for start in (0x30000, 0x40000):
        patch(path, start + 8, struct.pack("<I", 3), table=start, size=0x10000)
        patch(path, start + 16 + 64, b"\1" * 16 + struct.pack("<QII", MIB, MIB, 1), table=start, size=0x10000)
    with pytest.raises(UnsupportedError, match="01010101"):
        open_image(path)


@pytest.mark.parametrize("entry", [6 | 1 << 62, 5, 7])
def test_a_block_outside_the_file_is_an_error_for_that_block_alone(
    dynamic: tuple[Path, bytes], entry: int
) -> None:
    path, expected = dynamic
    with open_image(path) as opened:
        table = int(opened.disk._table_offset)  # type: ignore[attr-defined]
    patch(path, table + 8, struct.pack("<Q", entry))
    with open_image(path) as opened:
        assert opened.disk.pread(0, MIB) == expected[:MIB]
        assert opened.disk.pread(2 * MIB, SIZE) == expected[2 * MIB :]
        with pytest.raises(ImageError):
            opened.disk.pread(MIB, 1)


def test_a_parent_is_found_by_its_identifier_or_named_when_it_is_missing(tmp_path: Path) -> None:
    child = unpacked(tmp_path, "differencing") / "child.vhdx"
    with open_image(child) as opened:
        expected = opened.disk.pread(0, opened.disk.size)
    parent = tmp_path / "parent.vhdx"
    parent.rename(tmp_path / "renamed.avhdx")
    check(child, expected, "vhdx")
    (tmp_path / "renamed.avhdx").rename(parent)
    patch_header(parent, 0x20, b"written to since")
    with pytest.raises(ImageError, match="is not the parent"):
        open_image(child)
    parent.unlink()
    with pytest.raises(MissingPartError, match=r"parent\.vhdx"):
        open_image(child)


def test_an_empty_disk_is_few_holes(tmp_path: Path) -> None:
    with open_image(create(tmp_path / "disk.vhdx", "vhdx", 100 << 30, "block_size=1M")) as opened:
        runs = list(opened.disk.extents(0, opened.disk.size))
        assert {run.device for run in runs} == {None}
        assert len(runs) < 100
