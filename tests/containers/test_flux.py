"""What is below the level of sectors is refused by name, and served raw where that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixture import unpack
from helpers import FIXTURES
from imgmount.chain import open_image
from imgmount.core.format import Kind
from imgmount.core.slices import MemoryDevice
from imgmount.errors import UnsupportedError
from imgmount.registry import best_match


@pytest.mark.parametrize(("start", "name"), [
    (b"CAPS\0\0\0\x0c", "ipf"),
    (b"SCP\x19\x80\x03\0\x9f", "scp"),
    (b"Formatted Disk Image file\r\n", "fdi"),
    (b"HXCPICFE\0", "hfe"),
    (b"UAE--ADF\0", "uae"),
])
def test_it_is_refused_by_name(start: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(start.ljust(4096, b"\0"))
    with pytest.raises(UnsupportedError, match=f"^{name}: "):
        open_image(path)


def test_three_letters_are_not_enough() -> None:
    assert best_match(Kind.CONTAINER, MemoryDevice(b"SCPRIPT without revolutions".replace(b"I", b"\0"))) is None
    assert best_match(Kind.CONTAINER, MemoryDevice(b"SCP")) is None


@pytest.mark.parametrize(("variant", "name"), [("pfs3", "Professional File System"), ("sfs", "Smart File System")])
def test_filesystems_are_refused_by_name(variant: str, name: str, tmp_path: Path) -> None:
    unpack(FIXTURES / "filesystems/pfs" / variant / "x.img.xz", tmp_path / "x.img")
    with open_image(tmp_path / "x.img") as opened:
        assert name in str(opened.volumes[0].problem)
        assert isinstance(opened.volumes[0].problem, UnsupportedError)
