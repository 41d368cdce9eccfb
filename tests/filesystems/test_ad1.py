from __future__ import annotations

import hashlib
import shutil
import struct
from pathlib import Path

import pytest

from conformance import manifest, tree
from helpers import FIXTURES, context, wrong
from imgmount.chain.open import open_image
from imgmount.core.node import File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError
from imgmount.filesystems.ad1 import Ad1

AD1 = FIXTURES / "filesystems/ad1"
ONE = (AD1 / "one/files.ad1").read_bytes()
HEADER = 512


def opened(data: bytes) -> Ad1:
    return Ad1(MemoryDevice(data), context())


def node(image: Ad1, path: str) -> File:
    found = dict(tree(image.root))[path]
    assert isinstance(found, File)
    return found


def changed(offset: int, fmt: str, *values: int) -> bytes:
    data = bytearray(ONE)
    struct.pack_into(fmt, data, offset, *values)
    return bytes(data)


def item(name: str) -> int:
    """Where the item called ``name`` is in the file."""
    return ONE.index(struct.pack("<I", len(name)) + name.encode()) - 44


def test_times_and_digests() -> None:
    image = opened(ONE)
    small = node(image, "C:\\data [NTFS]/small.txt")
    assert small.stat()[1:4] == (17, 1704067200 * 10**9, 1704164645_123456000)
    assert small.xattrs()["user.md5"] == hashlib.md5(b"Hello, evidence.\n").hexdigest().encode()
    assert wrong(image.verify()) == []
    assert image.info() == {"version": "4", "segments": "1", "chunk size": "65536"}


def test_any_segment_opens_the_set_and_a_missing_one_is_named(tmp_path: Path) -> None:
    for number in (1, 2):
        shutil.copy(AD1 / f"split/files.ad{number}", tmp_path)
    for number in (1, 2):
        with open_image(tmp_path / f"files.ad{number}") as found:
            assert found.whole is not None
            assert manifest(found.whole.filesystem.root) == manifest(opened(ONE).root)
    (tmp_path / "files.ad2").unlink()
    with open_image(tmp_path / "files.ad1") as found:
        assert found.whole is not None
        assert isinstance(found.whole.problem, MissingPartError)
        assert "files.ad2" in str(found.whole.problem)


def test_alternate_streams_stand_beside_their_file() -> None:
    target = item("alone") - HEADER
    image = opened(changed(item("small.txt") + 8, "<Q", target))
    names = [name for name, _ in tree(image.root)]
    assert "C:\\data [NTFS]/small.txt" in names
    assert "C:\\data [NTFS]/small.txt:alone" in names


def test_a_damaged_chunk_costs_itself_alone() -> None:
    table = struct.unpack_from("<Q", ONE, item("large.bin") + 24)[0]
    start = struct.unpack_from("<Q", ONE, HEADER + table + 16)[0]
    image = opened(changed(HEADER + start + 40, "<Q", 0xEEEE_EEEE_EEEE))
    sound = node(opened(ONE), "C:\\data [NTFS]/large.bin").open()
    broken = node(image, "C:\\data [NTFS]/large.bin").open()
    with pytest.raises(FormatError, match="decompress"):
        broken.pread(65536, 1)
    for start in (0, 131072):
        assert broken.pread(start, 65536) == sound.pread(start, 65536)
    assert [problem for problem in wrong(image.verify()) if "large.bin" in problem]


@pytest.mark.parametrize("name", ["large.bin", "folder", "small.txt"])
@pytest.mark.parametrize("field", [0, 8, 16, 24, 32])
@pytest.mark.parametrize("value", [2**63, 2**64 - 1, "itself", "parent"])
def test_hostile_links_end(name: str, field: int, value: int | str) -> None:
    links = {"itself": item(name) - HEADER, "parent": item("C:\\data [NTFS]") - HEADER}
    image = opened(changed(item(name) + field, "<Q", value if isinstance(value, int) else links[value]))
    seen = 0
    try:
        for _, found in tree(image.root):
            seen += 1
            found.stat()
            if isinstance(found, File):
                found.open().pread(0, 100)
    except ImageError:
        pass
    assert seen < 100


def test_metadata_that_loops() -> None:
    first = struct.unpack_from("<Q", ONE, item("alone") + 16)[0]
    with pytest.raises(FormatError, match="facts"):
        node(opened(changed(HEADER + first, "<Q", first)), "D:/alone").stat()


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0x18, 0), (0x18, 2), (0x1C, 0), (0x1C, 2**32 - 1), (512 + 24, 0), (512 + 24, 2**31)],
)
def test_hostile_headers_are_refused(offset: int, value: int) -> None:
    with pytest.raises(FormatError):
        opened(changed(offset, "<I", value))


def test_other_versions_are_named() -> None:
    with pytest.raises(UnsupportedError, match="version 9"):
        opened(changed(512 + 16, "<I", 9))


@pytest.mark.parametrize("keep", [16, 100, 512, 600])
def test_truncated_images(keep: int) -> None:
    with pytest.raises(FormatError):
        list(opened(ONE[:keep]).root.entries())
