from __future__ import annotations

import pytest

from conformance import check_device
from imgmount.core.cache import ReadCache
from imgmount.core.device import (
    GROUP_BYTES,
    BlockDevice,
    ChunkedDevice,
    Extent,
    GroupedDevice,
    MappedDevice,
    UnevenDevice,
)
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ImageError

DATA = b"".join(b"%07d\n" % number for number in range(10_000))[:-5]


class Chunked(ChunkedDevice):
    def __init__(self, data: bytes, block_size: int, cache: ReadCache) -> None:
        super().__init__(len(data), block_size, cache)
        self.data = data
        self.read: list[int] = []

    def _read_chunk(self, index: int) -> bytes:
        self.read.append(index)
        return self.data[index * self.block_size : (index + 1) * self.block_size]


class Grouped(GroupedDevice):
    def __init__(self, data: bytes, unit: int, cache: ReadCache, *, bad: int | None = None) -> None:
        super().__init__(len(data), unit, cache)
        self.data = data
        self.bad = bad
        self.read: list[tuple[int, int]] = []

    def _read_units(self, first: int, count: int) -> bytes:
        self.read.append((first, count))
        if self.bad is not None and first <= self.bad < first + count:
            raise ImageError(f"unit {self.bad}")
        return self.data[first * self.unit : (first + count) * self.unit]


class Uneven(UnevenDevice):
    def __init__(self, data: bytes, starts: list[int], cache: ReadCache) -> None:
        super().__init__(len(data), starts, cache)
        self.chunks = [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]

    def _read_chunk(self, index: int) -> bytes:
        return self.chunks[index]


class Shuffled(MappedDevice):
    """Blocks in reverse order, every third one a hole."""

    def __init__(self, device: BlockDevice, block_size: int) -> None:
        self.device = device
        self.block_size = block_size
        self.size = device.size // block_size * block_size

    def _map(self, offset: int) -> Extent:
        index, skip = divmod(offset, self.block_size)
        left = self.block_size - skip
        if index % 3 == 0:
            return Extent(left)
        return Extent(left, self.device, self.size - (index + 1) * self.block_size + skip)


@pytest.mark.parametrize("block_size", [1, 7, 512, 4096, 1 << 20])
def test_chunks(block_size: int) -> None:
    data = DATA[: 300 * block_size]
    check_device(Chunked(data, block_size, ReadCache(1 << 20)), data)
    check_device(Chunked(data, block_size, ReadCache(0)), data)


@pytest.mark.parametrize("unit", [7, 2048, 40_000, 1 << 20])
@pytest.mark.parametrize("capacity", [0, 100_000, 8 << 20])
def test_groups(unit: int, capacity: int) -> None:
    data = DATA[: 300 * unit] * (9 if unit > 2000 else 1)
    check_device(Grouped(data, unit, ReadCache(capacity)), data)


def test_who_looks_something_up_costs_a_few_units_and_who_reads_on_costs_long_runs() -> None:
    data = DATA * 50
    device = Grouped(data, 2048, ReadCache(8 << 20))
    few, many = 8 << 10 >> 11, GROUP_BYTES >> 11
    device.pread(1_000_000, 100)
    device.pread(1_000_200, 100)
    assert device.read == [(1_000_000 // 2048 // few * few, few)]
    device.read.clear()
    start = 100 * 2048 * few
    for offset in range(start, start + GROUP_BYTES, 4096):
        assert device.pread(offset, 4096) == data[offset : offset + 4096]
    assert [count for _, count in device.read[:2]] == [few, few]
    assert device.read[2] == (start // GROUP_BYTES * many, many)
    device.read.clear()
    assert device.pread(300_000, 200_000) == data[300_000:500_000]
    assert device.read == [(0, many)]


def test_a_read_of_a_few_units_costs_the_runs_that_it_lies_in() -> None:
    data = DATA * 50
    device = Grouped(data, 2048, ReadCache(8 << 20))
    start, size = 1_000_000, 32 << 10
    assert device.pread(start, size) == data[start : start + size]
    assert device.read == [(488, 4), (492, 4), (496, 4), (500, 4), (504, 4)]
    device.read.clear()
    assert device.pread(0, size + 1) == data[: size + 1]
    assert device.read == [(0, GROUP_BYTES >> 11)]


def test_lookups_cost_few_units_also_where_all_around_is_in_the_cache() -> None:
    device = Grouped(DATA * 50, 2048, ReadCache(8 << 20))
    few, runs = 8 << 10 >> 11, 121
    for number in range(2 * runs):
        device.pread((2 * number % runs << 13) + 5000, 100)  # neighbours are 60 lookups apart
    assert sorted(device.read) == [(index * few, few) for index in range(runs)]


@pytest.mark.parametrize("size", [1, 2048, 100_000, 1_000_000])
def test_damage_costs_its_unit_alone(size: int) -> None:
    data = DATA * 20
    device = Grouped(data, 2048, ReadCache(8 << 20), bad=77)
    start, end = 77 * 2048, 78 * 2048
    assert device.pread(end, size) == data[end : end + size]
    assert device.pread(start - min(size, start), min(size, start)) == data[start - min(size, start) : start]
    for offset in (start, end - 1):
        with pytest.raises(ImageError, match="unit 77"):
            device.pread(offset, size)


@pytest.mark.parametrize("starts", [[0], [0, 1], [0, 5, 6, 4096, 50_000], [0, 100, 100, 100, 79_994]])
def test_uneven_chunks(starts: list[int]) -> None:
    check_device(Uneven(DATA, starts, ReadCache(1 << 20)), DATA)


@pytest.mark.parametrize("block_size", [1, 64, 4096])
def test_mapped(block_size: int) -> None:
    data = DATA[: 333 * block_size]
    device = Shuffled(MemoryDevice(data), block_size)
    count = device.size // block_size
    blocks = [data[index * block_size : (index + 1) * block_size] for index in reversed(range(count))]
    check_device(
        device, b"".join(bytes(block_size) if index % 3 == 0 else block for index, block in enumerate(blocks))
    )


def test_a_read_is_clipped_and_never_negative() -> None:
    device = MemoryDevice(b"abc")
    assert device.pread(2, 100) == b"c"
    assert device.pread(3, 1) == device.pread(0, 0) == b""
    assert list(device.extents(3, 1)) == []
    for offset, size in [(-1, 1), (0, -1)]:
        with pytest.raises(ValueError, match="pread"):
            device.pread(offset, size)


@pytest.mark.parametrize(
    "extent", [Extent(0), Extent(5, MemoryDevice(b"abc"), 0), Extent(2, MemoryDevice(b"abc"), -1)]
)
def test_a_map_that_leaves_its_device_is_an_error(extent: Extent) -> None:
    class Wrong(MappedDevice):
        size = 5

        def _map(self, _: int) -> Extent:
            return extent

    with pytest.raises(ImageError):
        Wrong().pread(0, 5)


def test_a_chunk_of_the_wrong_length_is_an_error() -> None:
    device = Chunked(DATA, 4096, ReadCache(1 << 20))
    device.data = DATA[:5000]
    assert device.pread(0, 4096) == DATA[:4096]
    with pytest.raises(ImageError, match="chunk 1 holds 904 bytes"):
        device.pread(4096, 1)


def test_two_devices_share_a_cache_and_no_chunk() -> None:
    cache = ReadCache(1 << 20)
    one, other = Chunked(DATA, 4096, cache), Chunked(DATA[::-1], 4096, cache)
    assert one.pread(0, 10) == DATA[:10]
    assert other.pread(0, 10) == DATA[::-1][:10]
    assert one.pread(4000, 200) == DATA[4000:4200]
    assert one.read == [0, 1]


def ahead_of(reads: list[int], cache: ReadCache, block_size: int = 1024) -> set[int]:
    """The chunks that are decoded when chunks ``reads`` are asked for, beside those."""
    device = Chunked(DATA, block_size, cache)
    for index in reads:
        device.pread(index * block_size, 1)
    cache.close()
    return set(device.read) - set(reads)


def test_a_sequential_reader_is_read_ahead_of_and_a_random_one_is_not() -> None:
    def started(workers: int = 1) -> ReadCache:
        cache = ReadCache(1 << 20)
        cache.start(workers)
        return cache

    assert ahead_of([20, 40, 60, 5], started()) == set()
    assert ahead_of([20, 21, 22], ReadCache(1 << 20)) == set()  # not started
    cache = started()
    device = Chunked(DATA, 1024, cache)
    for index in (20, 21, 22):
        device.pread(index * 1024, 1)
    assert all((device._serial, index) in cache for index in (23, 24, 25))
    cache.close()
    cache = started(4)
    device = Chunked(DATA, 1024, cache)
    for start in (20_000, 24_000):  # the second begins in the last chunk of the first
        device.pread(start, 4_000)
    assert all((device._serial, index) in cache for index in (28, 29, 30))
    cache.close()


@pytest.mark.parametrize(
    ("capacity", "chunks"), [(20_000, 3), (6_000, 2), (4_000, 1), (2_000, 0), (1_000, 0), (0, 0)]
)
def test_reading_ahead_never_pushes_out_what_is_being_read(capacity: int, chunks: int) -> None:
    device = Chunked(DATA, 2_000, ReadCache(capacity))
    assert min(device._ahead, 3) == chunks
