from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from conformance import check_device
from imgmount.core.cache import ReadCache
from imgmount.core.sequential import MAX_IDLE, Decoder, SequentialDevice, group
from imgmount.errors import FormatError, ImageError

DATA = b"".join(b"%07d\n" % number for number in range(5_000))[:-3]
STEP = 1000


class Tape:
    """A decoder that counts what it decodes, fails at a place, and can be held up."""

    def __init__(self, device: Tapes, position: int, end: int) -> None:
        self.device = device
        self.position = position
        self.end = end

    def read(self, size: int) -> bytes:
        assert self.device.gate.wait(30)
        end = min(self.position + size, self.end)
        if self.position < self.device.damage < end:
            raise FormatError("tape", "torn", offset=self.device.damage)
        start, self.position = self.position, end
        self.device.decoded += end - start
        return DATA[start:end]

    def finish(self) -> None:
        if self.position in self.device.bad_ends:
            raise FormatError("tape", "checksum", offset=self.position)


class Tapes(SequentialDevice):
    def __init__(self, starts: list[int], cache: ReadCache, whole: int = 0, size: int = len(DATA)) -> None:
        super().__init__(size, starts, cache, whole=whole, step=STEP)
        self.starts = starts
        self.begun: list[int] = []
        self.decoded = 0
        self.damage = -1
        self.bad_ends: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def _decoder(self, span: int) -> Decoder:
        self.begun.append(span)
        return Tape(self, self.starts[span], len(DATA))


STARTS = [
    [0],
    [0, 1],
    [0, 999, 1000, 1001, 4500, 4500, 20_000],
    [0, 15_000],
    [0, len(DATA)],
    list(range(0, len(DATA), 777)),
]


@pytest.mark.parametrize("starts", STARTS, ids=str)
@pytest.mark.parametrize("whole", [0, 5000, 1 << 20])
@pytest.mark.parametrize("capacity", [0, 3000, 1 << 20])
@pytest.mark.parametrize("workers", [0, 3])
def test_the_bytes_are_the_same_from_any_points(
    starts: list[int], whole: int, capacity: int, workers: int
) -> None:
    cache = ReadCache(capacity)
    if workers:
        cache.start(workers)
    check_device(Tapes(starts, cache, whole), DATA)
    cache.close()


def test_an_empty_device() -> None:
    check_device(Tapes([], ReadCache(0), size=0), b"")


def test_a_reader_that_goes_on_starts_nothing_over() -> None:
    cached = Tapes([0], ReadCache(1 << 20))
    for offset in range(0, len(DATA), 100):
        cached.pread(offset, 100)
    assert cached.begun == [0]
    assert cached.decoded == len(DATA)


def test_several_readers_get_along() -> None:
    device = Tapes([0], ReadCache(2 * STEP))
    for step in range(10):
        for reader in range(MAX_IDLE):
            offset = reader * 12 * STEP + step * STEP
            assert device.pread(offset, STEP) == DATA[offset : offset + STEP]
    assert len(device.begun) <= MAX_IDLE


def test_chunks_asked_for_out_of_order_are_decoded_once() -> None:
    device = Tapes([0], ReadCache(1 << 20))
    for index in (3, 1, 0, 2, 4, 6, 5):
        assert device.pread(index * STEP, STEP) == DATA[index * STEP : (index + 1) * STEP]
    assert device.begun == [0]
    assert device.decoded == 7 * STEP


def test_a_reader_waits_for_the_decoder_that_is_on_its_way() -> None:
    device = Tapes([0], ReadCache(1 << 20))
    device.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        order = random.Random(3).sample(range(8), 8)
        chunks = [pool.submit(device.pread, index * STEP, STEP) for index in order]
        device.gate.set()
        for index, chunk in zip(order, chunks, strict=True):
            assert chunk.result(30) == DATA[index * STEP : (index + 1) * STEP]
    assert len(device.begun) <= 3  # one that asked for the first chunk late may have had to start over


def test_whole_spans_need_no_decoder_that_lives_on() -> None:
    device = Tapes(list(range(0, len(DATA), 3000)), ReadCache(0), whole=3000)
    assert device.pread(9000, 3000) == DATA[9000:12000]
    assert device.pread(3000, 10) == DATA[3000:3010]
    assert (device.begun, device.decoded, device._idle) == ([3, 1], 6000, [])


def test_damage_costs_what_lies_behind_it_in_its_span() -> None:
    device = Tapes([0, 20_000], ReadCache(0))
    device.damage = 7500
    assert device.pread(0, 7000) == DATA[:7000]
    for offset in (7000, 7999, 8000, 19_999, 12_345):
        with pytest.raises(FormatError, match="torn"):
            device.pread(offset, 1)
    begun = len(device.begun)
    with pytest.raises(FormatError, match="torn"):
        device.pread(15_000, 1)
    assert len(device.begun) == begun  # known by now
    assert device.pread(6999, 1) == DATA[6999:7000]
    assert device.pread(20_000, 9000) == DATA[20_000:29_000]


def test_data_that_ends_too_early_is_an_error() -> None:
    device = Tapes([0], ReadCache(0), size=len(DATA) + 2)
    last = len(DATA) // STEP * STEP
    assert device.pread(0, last) == DATA[:last]
    assert device.pread(last, 1) == DATA[last : last + 1]
    with pytest.raises(ImageError, match="ends 2 bytes too early"):
        device.pread(last, STEP)


def test_what_follows_the_last_byte_is_checked() -> None:
    device = Tapes([0, 20_000], ReadCache(0), whole=10_000)
    device.bad_ends = {20_000, len(DATA)}
    assert device.pread(0, 19_000) == DATA[:19_000]
    for offset in (19_000, len(DATA) - 1):
        with pytest.raises(FormatError, match="checksum"):
            device.pread(offset, 1)


def test_groups_are_large_enough() -> None:
    assert group([0, 10, 20, 30, 40], 20) == [0, 2, 4]
    assert group([0, 100, 101, 300], 20) == [0, 1, 3]
    assert group([0], 20) == [0]
