"""The one cache of a mount: decoded chunks, bounded by bytes, shared by every chunked device.

Decoding runs outside the lock. Two readers that want the same chunk wait for one decode. Read-ahead is a thread pool that
exists only after ``start()``, because no thread may be running when the daemon forks.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

DEFAULT_CAPACITY: Final = 64 << 20
QUEUE_PER_WORKER: Final = 8  # more would only decode chunks that nobody may ask for

Key = tuple[int, int]  # (device serial, chunk index)


class _Flight:
    """One decode in progress; waiters block on ``done``."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.value: bytes | None = None
        self.error: BaseException | None = None


class ReadCache:
    """Decoded chunks, least recently used first out, never more than ``capacity`` bytes."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self._chunks: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0
        self._flights: dict[Key, _Flight] = {}
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._queued: set[Key] = set()
        self._queue_limit = 0
        self._serials = itertools.count(1)
        self.enrolled = 0

    def enroll(self) -> int:
        """A number for one more device that keeps its chunks here. ``enrolled`` counts them: 0 means that nothing is decoded."""
        self.enrolled += 1
        return next(self._serials)

    def fetch(self, key: Key, load: Callable[[int], bytes]) -> bytes:
        """The chunk under ``key``; ``load(index)`` decodes it if nobody has or is about to. Errors are not kept."""
        with self._lock:
            chunk = self._chunks.get(key)
            if chunk is not None:
                self._chunks.move_to_end(key)
                return chunk
            flight = self._flights.get(key)
            if leading := flight is None:
                flight = self._flights[key] = _Flight()
        if leading:
            return self._lead(key, flight, load)
        with flight.done:  # held by the leader until it has landed
            if flight.value is None:
                raise flight.error or RuntimeError("decode ended without a result")
            return flight.value

    def _lead(self, key: Key, flight: _Flight, load: Callable[[int], bytes]) -> bytes:
        try:
            flight.value = load(key[1])
        except BaseException as exc:
            flight.error = exc
            raise
        else:
            return flight.value
        finally:
            with self._lock:
                del self._flights[key]
                if flight.value is not None:
                    self._keep(key, flight.value)
            flight.done.release()

    def _keep(self, key: Key, chunk: bytes) -> None:
        if len(chunk) > self.capacity:
            return
        self._chunks[key] = chunk
        self._bytes += len(chunk)
        while self._bytes > self.capacity:
            _, old = self._chunks.popitem(last=False)
            self._bytes -= len(old)

    def __contains__(self, key: Key) -> bool:
        return key in self._chunks or key in self._flights or key in self._queued

    def __len__(self) -> int:
        """Bytes held."""
        return self._bytes

    def start(self, workers: int | None = None) -> None:
        """Allow read-ahead, with ``workers`` threads (one a core by default). Call after the fork, if there is one."""
        from concurrent.futures import ThreadPoolExecutor  # 10 ms that only readers of coded images pay

        workers = workers or os.cpu_count() or 1
        self._queue_limit = workers * QUEUE_PER_WORKER
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="read-ahead")

    def read_ahead(self, key: Key, load: Callable[[int], bytes]) -> None:
        """Decode a chunk in the background, if there is a background. Failures wait for the reader who needs it."""
        pool = self._pool
        if pool is None or key in self or len(self._queued) >= self._queue_limit:
            return
        self._queued.add(key)
        try:
            pool.submit(self._fetch_queued, key, load)
        except RuntimeError:  # shutting down
            self._queued.discard(key)

    def _fetch_queued(self, key: Key, load: Callable[[int], bytes]) -> None:
        try:
            self.fetch(key, load)
        finally:
            self._queued.discard(key)  # an error stays in the future, unread: the reader will meet it again

    def close(self) -> None:
        """Stop reading ahead and forget everything. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._chunks.clear()
            self._bytes = 0
        self._queued.clear()
