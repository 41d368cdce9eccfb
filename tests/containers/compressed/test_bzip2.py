from __future__ import annotations

import bz2
import random

import pytest

from conformance import check_device
from imgmount.containers.compressed.bzip2 import BLOCK_MAGIC, END_MAGIC, _marks
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from packers import disk, noise, opened, problems, readable

DATA = disk(400_000)


@pytest.mark.parametrize("magic", [BLOCK_MAGIC, END_MAGIC])
def test_a_magic_is_found_at_every_bit(magic: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgmount.containers.compressed.bzip2.SEARCHED", 64)
    rng = random.Random(1)
    bits = sorted(rng.sample(range(0, 8 * 2000, 64), 60))
    bits = [bit + rng.randrange(8) for bit in bits]
    value = sum(magic << (8 * 2100 - 48 - bit) for bit in bits)
    found = list(_marks(MemoryDevice(value.to_bytes(2100, "big"))))
    assert [(mark.bit, mark.is_end) for mark in found] == [(bit, magic == END_MAGIC) for bit in bits]


@pytest.mark.parametrize("magic", [BLOCK_MAGIC, END_MAGIC])
def test_a_magic_inside_a_block_is_passed_over(magic: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from imgmount.containers.compressed import bzip2

    coded = bz2.compress(DATA, 1)
    real = list(_marks(MemoryDevice(coded)))
    false = [
        bzip2.Mark(real[1].bit + 1000, magic == END_MAGIC),
        bzip2.Mark(real[1].bit + 3003, magic == END_MAGIC),
    ]
    monkeypatch.setattr(bzip2, "_marks", lambda _: iter(sorted(real + false)))
    device = opened(coded, "bzip2")
    check_device(device, DATA)
    assert problems(device) == []


@pytest.mark.parametrize(
    ("tail", "count"), [(b"", 0), (b"\0", 1), (b"garbage", 1), (bz2.compress(b"more"), 0)]
)
def test_what_follows_the_stream(tail: bytes, count: int) -> None:
    device = opened(bz2.compress(DATA) + tail, "bzip2")
    assert device.pread(0, len(DATA)) == DATA
    assert device.pread(len(DATA), 100) == (b"more" if count == 0 and tail else b"")
    assert len(problems(device)) == count


@pytest.mark.parametrize(("number", "place"), [(0, 200), (1, 1), (1, 200), (3, 1), (3, 200)])
def test_nothing_behind_a_damaged_block_is_read(number: int, place: int) -> None:
    """Not as if the image were shorter: a copy of it must fail.

    Byte 200 is in the data; byte 1 is in the magic, without which the block before does not end either.
    """
    data = noise(450_000)
    coded = bytearray(bz2.compress(data, 1))
    blocks = [mark.bit for mark in _marks(MemoryDevice(bytes(coded)))]
    coded[blocks[number] // 8 + place] ^= 4
    device = opened(bytes(coded), "bzip2")
    number -= place == 1
    before = number * 99_900  # at least
    assert len(data) - 1000 - (100_000 if place == 1 else 0) < device.size < len(data) + 1000
    assert device.pread(0, before) == data[:before]
    assert readable(device, data) <= number * 100_000
    for offset in (number * 100_000, device.size - 1):
        with pytest.raises(FormatError, match="nothing can be placed"):
            device.pread(offset, 1)
    assert "nothing can be placed" in problems(device)[0]


def test_a_long_run_makes_a_block_of_many_megabytes() -> None:
    size = 60 << 20
    device = opened(bz2.compress(bytes(size)), "bzip2")
    assert device.size == size
    assert device.pread(50 << 20, 1000) == bytes(1000)


def test_an_empty_stream() -> None:
    device = opened(bz2.compress(b""), "bzip2")
    assert device.size == 0
    assert problems(device) == []
