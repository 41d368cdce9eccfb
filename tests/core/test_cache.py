from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from imgmount.core.cache import ReadCache
from imgmount.errors import ImageError

THREADS = 8


def block(size: int) -> Callable[[int], bytes]:
    return lambda index: bytes([index % 256]) * size


def keys(cache: ReadCache, count: int) -> list[int]:
    return [index for index in range(count) if (1, index) in cache]


def test_equal_wishes_share_one_decode() -> None:
    cache = ReadCache(1 << 20)
    entered, gate = threading.Event(), threading.Event()
    calls = []

    def slow(index: int) -> bytes:
        calls.append(index)
        entered.set()
        assert gate.wait(30)
        return b"chunk"

    with ThreadPoolExecutor(THREADS) as pool:
        first = pool.submit(cache.fetch, (1, 0), slow)
        assert entered.wait(30)
        others = [pool.submit(cache.fetch, (1, 0), slow) for _ in range(THREADS - 1)]
        assert cache.fetch((1, 1), block(3)) == b"\1\1\1"  # another chunk does not wait
        gate.set()
        assert {future.result() for future in [first, *others]} == {b"chunk"}
    assert calls == [0]


def test_waiters_get_the_error_and_nobody_keeps_it() -> None:
    cache = ReadCache(1 << 20)
    entered, gate = threading.Event(), threading.Event()

    def failing(_: int) -> bytes:
        entered.set()
        assert gate.wait(30)
        raise ImageError("damaged")

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(cache.fetch, (1, 0), failing)]
        assert entered.wait(30)
        futures += [pool.submit(cache.fetch, (1, 0), failing) for _ in range(THREADS - 1)]
        gate.set()
        for future in futures:
            with pytest.raises(ImageError, match="damaged"):
                future.result()
    assert (1, 0) not in cache
    assert cache.fetch((1, 0), block(2)) == b"\0\0"


def test_bytes_are_bounded_and_the_least_recently_used_goes_first() -> None:
    cache = ReadCache(100)
    for index in range(10):
        cache.fetch((1, index), block(10))
    assert len(cache) == 100
    cache.fetch((1, 0), block(10))  # used again
    cache.fetch((1, 10), block(25))
    assert keys(cache, 11) == [0, 4, 5, 6, 7, 8, 9, 10]
    assert len(cache) == 95


def test_a_chunk_larger_than_the_cache_is_given_and_not_kept() -> None:
    cache = ReadCache(100)
    cache.fetch((1, 0), block(60))
    assert len(cache.fetch((1, 1), block(101))) == 101
    assert keys(cache, 2) == [0]
    assert len(cache) == 60


def test_many_threads_never_hold_more_than_the_capacity_nor_mix_chunks() -> None:
    cache = ReadCache(1000)
    barrier = threading.Barrier(THREADS)

    def reader(seed: int) -> int:
        barrier.wait(30)
        most = 0
        for step in range(500):
            index = (seed * 7 + step * 13) % 40
            assert cache.fetch((index % 3, index), block(90)) == bytes([index]) * 90
            most = max(most, len(cache))
        return most

    with ThreadPoolExecutor(THREADS) as pool:
        assert (
            max(pool.map(reader, range(THREADS))) <= 1000 + 90
        )  # the newest, for the moment in which the oldest leaves
    assert len(cache) <= 1000


def test_nothing_is_read_ahead_before_start() -> None:
    cache = ReadCache(1 << 20)
    threads = threading.active_count()
    cache.read_ahead((1, 5), block(10))
    assert (1, 5) not in cache
    assert threading.active_count() == threads


def test_read_ahead_after_start() -> None:
    cache = ReadCache(1 << 20)
    cache.start(2)
    entered, gate = threading.Event(), threading.Event()
    calls = []

    def slow(index: int) -> bytes:
        calls.append(index)
        entered.set()
        assert gate.wait(30)
        return b"ahead"

    cache.read_ahead((1, 5), slow)
    assert (1, 5) in cache
    cache.read_ahead((1, 5), slow)
    assert entered.wait(30)
    gate.set()
    assert cache.fetch((1, 5), slow) == b"ahead"
    assert calls == [5]
    cache.close()


def test_an_error_ahead_waits_for_the_reader_who_needs_the_chunk() -> None:
    cache = ReadCache(1 << 20)
    cache.start(1)
    done = threading.Event()

    def failing(_: int) -> bytes:
        raise ImageError("damaged")

    cache.read_ahead((1, 5), failing)
    cache.read_ahead((1, 6), lambda _: done.set() or b"next")  # type: ignore[func-returns-value]
    assert done.wait(30)
    assert (1, 5) not in cache
    with pytest.raises(ImageError, match="damaged"):
        cache.fetch((1, 5), failing)
    cache.close()


def test_the_queue_is_bounded() -> None:
    cache = ReadCache(1 << 20)
    cache.start(1)
    gate = threading.Event()
    for index in range(100):
        cache.read_ahead((1, index), lambda _: bytes(gate.wait(30)))
    assert len(keys(cache, 100)) == 8
    gate.set()
    cache.close()
    cache.close()
    assert len(cache) == 0


def test_a_closed_cache_still_decodes() -> None:
    cache = ReadCache(1 << 20)
    cache.start(1)
    cache.close()
    cache.read_ahead((1, 1), block(10))
    assert (1, 1) not in cache
    assert cache.fetch((1, 1), block(10)) == b"\1" * 10
