"""Devices read from end to end."""

from __future__ import annotations

import hashlib

import pytest

from imgmount.core.read_through import STEP, digests, read_through
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


def test_digests_are_of_all_of_it() -> None:
    found = digests(MemoryDevice(DATA), ["md5", "sha1"])
    assert found == {"md5": hashlib.md5(DATA).digest(), "sha1": hashlib.sha1(DATA).digest()}
    assert digests(MemoryDevice(DATA), []) == {}
    with pytest.raises(ImageError):
        digests(Slice(MemoryDevice(DATA), 0, len(DATA) + 1), ["md5"])
