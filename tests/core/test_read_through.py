"""Devices read from end to end."""

from __future__ import annotations

import hashlib

import pytest

from imgmount.core.device import BlockDevice
from imgmount.core.read_through import STEP, expect, read_through, watched
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import ImageError

DATA = b"0123456" * (STEP // 3)  # two steps and a bit


def test_steps_follow_each_other_and_end_where_they_should() -> None:
    device = MemoryDevice(DATA)
    assert [len(data) for data in read_through(device)] == [STEP, STEP, len(DATA) - 2 * STEP]
    assert b"".join(read_through(device)) == DATA
    assert list(read_through(device, 3, 10, 5)) == [DATA[3:8], DATA[8:10]]
    assert list(read_through(device, 10, 10)) == []
    assert list(read_through(MemoryDevice(b""))) == []


def md5(device: BlockDevice) -> bytes:
    digest = hashlib.md5()
    for data in read_through(device):
        digest.update(data)
    return digest.digest()


def test_digests_are_of_all_of_it() -> None:
    assert md5(MemoryDevice(DATA)) == hashlib.md5(DATA).digest()
    with pytest.raises(ImageError):
        md5(Slice(MemoryDevice(DATA), 0, len(DATA) + 1))


def test_who_watches_is_told() -> None:
    class Watcher:
        expected = done = 0

        def expect(self, size: int) -> None:
            self.expected += size

        def advance(self, size: int, name: str) -> None:
            self.done += size
            assert name == ""

    watcher = Watcher()
    with watched(watcher):
        expect(len(DATA))
        md5(MemoryDevice(DATA))
    expect(5)
    list(read_through(MemoryDevice(DATA)))
    assert (watcher.expected, watcher.done) == (len(DATA), len(DATA))
