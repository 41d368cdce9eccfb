"""Reading through: no byte twice, unreadable ranges in one piece, sums over all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from zlib import crc32

import pytest

from counting_device import CountingDevice
from fake_tree import PATTERN
from imgmount.codecs.crc32 import Crc32
from imgmount.core.checks import Digest, Sum
from imgmount.core.device import BlockDevice, Extent
from imgmount.core.slices import Concat, MemoryDevice, Slice, Unreadable
from imgmount.errors import FormatError, ImageError
from imgmount.jobs import reading
from imgmount.jobs.reading import GRAIN, Reader


def broken(*runs: tuple[int, int]) -> BlockDevice:
    """4 MiB of which the given pieces, of so many bytes at so much, cannot be read."""
    pieces: list[Extent] = []
    at = 0
    for offset, size in runs:
        lost = Unreadable(size, FormatError("fake", "torn"))
        pieces += [Extent(offset - at, MemoryDevice(PATTERN * 4)), Extent(size, lost)]
        at = offset + size
    return Concat([*pieces, Extent((4 << 20) - at, MemoryDevice(PATTERN * 4))])


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([(0x5000, 0x1000)], [(0x5000, 0x6000)]),
        ([(0xFF000, 0x3000)], [(0xFF000, 0x102000)]),  # over a border of steps
        ([(0x5000, 0x1000), (0x6000, 0x1000), (0x9000, 0x200)], [(0x5000, 0x7000), (0x9000, 0x9200)]),
        ([(0, 4 << 20)], [(0, 4 << 20)]),
    ],
)
def test_what_cannot_be_read_is_told_in_runs(
    runs: Sequence[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    found = list(Reader().unreadable(broken(*runs), "disk"))
    assert [one[:2] for one in found] == expected
    assert {one.reason for one in found} == {"fake: torn"}


def test_what_a_disk_has_given_is_not_read_again() -> None:
    below = CountingDevice(MemoryDevice(PATTERN * 4))
    disk = Slice(below, 512, 3 << 20)
    reader = Reader()
    sums: list[Sum] = [Digest("sha1"), Crc32()]
    reader.compute(disk, sums, "disk", keep=True)
    data = (PATTERN * 4)[512 : 512 + (3 << 20)]
    assert [one.digest() for one in sums] == [
        hashlib.sha1(data, usedforsecurity=False).digest(),
        crc32(data).to_bytes(4, "big"),
    ]
    assert below.bytes == disk.size
    assert list(reader.unreadable(disk, "disk")) == []
    assert list(reader.unreadable(Concat([Extent(9999, disk, 77), Extent(5, disk, 1 << 20)]), "file")) == []
    assert below.bytes == disk.size
    assert list(reader.unreadable(Slice(below, 100, 1000), "file")) == []  # begins in front of it
    assert below.bytes == disk.size + 1000


def test_files_are_not_remembered() -> None:
    below = CountingDevice(MemoryDevice(PATTERN))
    reader = Reader()
    for _ in range(2):
        assert list(reader.unreadable(below, "file")) == []
    assert below.bytes == 2 * below.size


def test_damage_is_told_of_the_file_too_and_ends_a_sum() -> None:
    disk = broken((1 << 20, 0x1000))
    reader = Reader()
    with pytest.raises(ImageError, match="torn"):
        reader.compute(disk, [Digest("md5")], "disk", keep=True)
    assert [one[:2] for one in reader.unreadable(disk, "disk", keep=True)] == [(1 << 20, 0x101000)]
    (lost,) = reader.unreadable(Slice(disk, 0xFE000, 0x8000), "file")
    assert lost[:2] == (0x2000, 0x3000)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_RUNS", 3)
    below = CountingDevice(MemoryDevice(PATTERN))
    scattered = Concat([Extent(100, below, offset) for offset in range(0, 100_000, 1000)])
    reader = Reader()
    list(reader.unreadable(scattered, "disk", keep=True))
    list(reader.unreadable(scattered, "disk", keep=True))
    assert below.bytes == 2 * scattered.size - 300


def test_holes_of_any_size_have_a_sum() -> None:
    hole = 1 << 50
    found = Crc32()
    Reader().compute(Concat([Extent(hole), Extent(3, MemoryDevice(b"abc")), Extent(hole)]), [found], "disk")
    other = Crc32()
    other.zeros(hole)
    other.update(b"abc")
    other.zeros(hole)
    assert found.digest() == other.digest()


class LongTorn(BlockDevice):
    """Cannot be read from 1 MiB on, for a terabyte."""

    size = 1 << 50
    start, end = 1 << 20, (1 << 40) + 12345

    def __init__(self) -> None:
        self.reads = 0

    def _pread(self, offset: int, size: int) -> bytes:
        self.reads += 1
        if offset < self.end and offset + size > self.start:
            raise FormatError("fake", "torn")
        return bytes(size)

    def extents(self, offset: int, size: int) -> Iterator[Extent]:
        if offset >= self.end:  # the rest is a hole
            yield Extent(min(size, self.size - offset))
        else:
            yield Extent(min(size, self.end - offset), self, offset)


def test_the_end_of_a_very_long_range_is_found_with_few_reads() -> None:
    device = LongTorn()
    (lost,) = Reader().unreadable(device, "disk")
    assert (lost.start, lost.all) == (device.start, False)
    assert device.end <= lost.end < device.end + GRAIN
    assert device.reads < 20_000
    assert str(lost) == f"unreadable 0x100000 to {lost.end:#x} (not all of it was tried): fake: torn"
