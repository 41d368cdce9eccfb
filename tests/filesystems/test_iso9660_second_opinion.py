"""The second opinion: pycdlib finds nothing in sound images, and differences are named."""

from __future__ import annotations

import lzma
import sys

import pytest

from filesystems.iso_writer import ROOT, SECTOR, build, record
from helpers import FIXTURES, context
from imgmount.core.slices import MemoryDevice
from imgmount.errors import MountError
from imgmount.filesystems.iso9660.second_opinion import compare
from imgmount.filesystems.iso9660.volume import Iso9660

HERE = FIXTURES / "filesystems" / "iso9660"


def opinion(data: bytes) -> list[str]:
    return list(compare(Iso9660(MemoryDevice(data), context())))


@pytest.mark.parametrize(
    "path", ["plain/plain", "joliet/joliet", "deep-genisoimage/deep", "deep-xorriso/deep"]
)
def test_sound_images_have_no_differences(path: str) -> None:
    assert opinion(lzma.decompress((HERE / f"{path}.iso.xz").read_bytes())) == []


def test_a_difference_is_one_line() -> None:
    lines = opinion(lzma.decompress((HERE / "rockridge" / "rockridge.iso.xz").read_bytes()))
    assert lines == [
        "iso9660: rockridge: 'link12': link to '/', to '' for pycdlib"
    ]  # pycdlib is wrong: it is to /


def test_what_pycdlib_cannot_open_is_one_line() -> None:
    data = build([record(b"A.;1", ROOT, SECTOR)])
    data[16 * SECTOR + 84 : 16 * SECTOR + 88] = bytes(4)
    (line,) = opinion(bytes(data))
    assert line.startswith("iso9660: pycdlib cannot open it: it raises ")


def test_without_pycdlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycdlib", None)
    with pytest.raises(MountError, match=r"pip install imgmount\[strict\]"):
        opinion(bytes(build([])))
