"""Fixtures of NTFS as bytes, and where things are in them."""

from __future__ import annotations

import lzma
from functools import cache
from typing import Any

from conformance import tree
from helpers import FIXTURES, context
from imgmount.core.device import BlockDevice
from imgmount.core.node import File
from imgmount.core.slices import MemoryDevice
from imgmount.filesystems.ntfs import FORMAT
from imgmount.filesystems.ntfs.volume import NtfsVolume

RECORD = 1024  # bytes of a record in all of them but "sectors"


@cache
def load(variant: str) -> bytes:
    return lzma.decompress((FIXTURES / "filesystems/ntfs" / variant / f"{variant}.img.xz").read_bytes())


def volume(data: bytes | BlockDevice, **options: Any) -> NtfsVolume:
    device = data if isinstance(data, BlockDevice) else MemoryDevice(bytes(data))
    opened = FORMAT.open(device, context(**options))
    assert isinstance(opened, NtfsVolume)
    return opened


def file(opened: NtfsVolume, path: str) -> File:
    node = dict(tree(opened.root))[path]
    assert isinstance(node, File)
    return node


def content(opened: NtfsVolume, path: str) -> bytes:
    device = file(opened, path).open()
    return device.pread(0, device.size)


def number_of(data: bytes, path: str) -> int:
    """The number of the record of a file."""
    return dict(tree(volume(data, extra={"system": "show"}).root))[path].id


def place(data: bytes, number: int) -> int:
    """Where a record is."""
    opened = volume(data)
    (run,) = opened.mft.device.extents(number * opened.mft.record_size, opened.mft.record_size)
    return run.offset


def record_at(data: bytes, path: str) -> int:
    return place(data, number_of(data, path))


def attribute_at(data: bytes, record: int, kind: int, name: str = "") -> int:
    """Where an attribute is in the image, in the record that is at ``record``."""
    at = record + int.from_bytes(data[record + 20 : record + 22], "little")
    while True:
        found = int.from_bytes(data[at : at + 4], "little")
        assert found != 0xFFFFFFFF, f"no attribute {kind:#x}"
        start = at + int.from_bytes(data[at + 10 : at + 12], "little")
        if found == kind and data[start : start + 2 * data[at + 9]].decode("utf-16-le") == name:
            return at
        at += int.from_bytes(data[at + 4 : at + 8], "little")


def patched(data: bytes, *changes: tuple[int, bytes]) -> bytes:
    changed = bytearray(data)
    for at, value in changes:
        changed[at : at + len(value)] = value
    return bytes(changed)


def backup_at(data: bytes) -> int:
    return data.rfind(b"NTFS    ") - 3


def both_boots(data: bytes, at: int, value: bytes) -> bytes:
    """The boot sector and its backup, changed in the same way."""
    return patched(data, (at, value), (backup_at(data) + at, value))
