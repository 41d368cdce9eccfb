"""A device as a file object behaves as the same bytes in a BytesIO."""

from __future__ import annotations

import io

import pytest

from imgmount.core.device_file import DeviceFile
from imgmount.core.slices import MemoryDevice

DATA = bytes(range(256)) * 20


def test_it_reads_and_seeks_like_bytes_in_memory() -> None:
    ours, theirs = DeviceFile(MemoryDevice(DATA)), io.BytesIO(DATA)
    for offset, whence in ((100, 0), (50, 1), (-10, 2), (0, 2), (9999, 0), (0, 0)):
        assert ours.seek(offset, whence) == theirs.seek(offset, whence)
        assert ours.read(20) == theirs.read(20)
        assert ours.tell() == theirs.tell()
    assert ours.readable()
    assert ours.seekable()
    assert not ours.writable()
    ours.seek(5)
    assert ours.read() == DATA[5:]
    buffer = bytearray(10)
    ours.seek(-4, io.SEEK_END)
    assert ours.readinto(buffer) == 4
    assert buffer == DATA[-4:] + bytes(6)
    with pytest.raises(ValueError, match="seek"):
        ours.seek(-1)


def test_closing_it_leaves_the_device_open() -> None:
    device = MemoryDevice(DATA)
    with io.BufferedReader(DeviceFile(device)) as buffered:
        assert buffered.read(3) == DATA[:3]
    assert device.pread(0, 3) == DATA[:3]
