"""The one cache of a mount: decoded chunks, bounded by bytes, shared by every chunked device.

Decoding runs outside the lock. Two readers that want the same chunk wait for one decode. Read-ahead is done
by threads that exist only after ``start()``, because none may be running when the daemon forks.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from imgmount.core.memory_budget import MemoryBudget
from imgmount.errors import NO_MEMORY, FormatError, ImageError, OutOfMemoryError, UnsupportedError

DEFAULT_CAPACITY: Final = 64 << 20
QUEUE_PER_WORKER: Final = 8  # a longer queue would decode chunks that are not needed
MAX_FAILURES: Final = 4096  # chunks whose error is remembered

Key = tuple[int, int]  # (device serial, chunk index)
Content = bytes | bytearray  # decoded bytes, which must not be changed
ContentT = TypeVar("ContentT")


class Cut:
    """What could be decoded of a chunk, from its start, and why the rest could not.

    Reads beyond it raise ``error``.
    """

    __slots__ = ("data", "error")

    def __init__(self, data: Content, error: ImageError) -> None:
        self.data = data
        self.error = error

    def __len__(self) -> int:
        return len(self.data)


class _Flight:
    """One decode in progress; waiters block on ``done``. The error has no traceback."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.value: Any = None
        self.error: ImageError | None = None


class ReadCache:
    """Decoded chunks, least recently used first out, never more than ``capacity`` bytes.

    ``decoding`` is the memory that the decoders of the mount may take together.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self.decoding = MemoryBudget()
        self._chunks: OrderedDict[Key, Any] = OrderedDict()
        self._bytes = 0
        self._failures: OrderedDict[Key, ImageError] = OrderedDict()
        self._flights: dict[Key, _Flight] = {}
        self._lock = threading.Lock()
        self._workers: list[threading.Thread] = []
        self._queue: SimpleQueue[tuple[Key, Callable[[int], Any]] | None] = SimpleQueue()
        self._queued: set[Key] = set()
        self._serials = itertools.count(1)
        self.enrolled = 0

    def enroll(self) -> int:
        """A number for one more device that keeps its chunks here.

        ``enrolled`` counts them: 0 means that nothing is decoded.
        """
        self.enrolled += 1
        return next(self._serials)

    def fetch(self, key: Key, load: Callable[[int], ContentT]) -> ContentT:
        """The chunk under ``key``; ``load(index)`` decodes it unless it is here or on its way.

        A failure that lies in the image (``FormatError``, ``UnsupportedError``) is kept and not tried again;
        a failure of the host is tried again.
        """
        while True:
            with self._lock:
                chunk: ContentT | None = self._chunks.get(key)
                if chunk is not None:
                    self._chunks.move_to_end(key)
                    return chunk
                if key in self._failures:
                    raise self._failures[key].again()
                flight = self._flights.get(key)
                if leading := flight is None:
                    flight = self._flights[key] = _Flight()
            if leading:
                return self._lead(key, flight, load)
            flight.done.acquire()  # held by the leader until it has landed
            flight.done.release()
            if flight.error is not None:
                raise flight.error.again()
            if flight.value is not None:
                result: ContentT = flight.value
                return result

    def _lead(self, key: Key, flight: _Flight, load: Callable[[int], ContentT]) -> ContentT:
        """Decode and wake the waiters; an error of the image is kept for them.

        After any other error the waiters try themselves.
        """
        try:
            flight.value = load(key[1])
        except ImageError as exc:
            flight.error = exc.again()
            raise
        except MemoryError:
            flight.error = OutOfMemoryError(NO_MEMORY)
            raise OutOfMemoryError(NO_MEMORY) from None
        finally:
            with self._lock:
                del self._flights[key]
                if flight.value is not None:
                    self._keep(key, flight.value)
                elif isinstance(flight.error, FormatError | UnsupportedError):
                    self._failures[key] = flight.error
                    if len(self._failures) > MAX_FAILURES:
                        self._failures.popitem(last=False)
            flight.done.release()
        result: ContentT = flight.value
        return result

    def _keep(self, key: Key, chunk: Content | Cut) -> None:
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
        """Allow read-ahead, with ``workers`` threads (one a core by default).

        Call after the fork, if there is one.
        """
        for number in range(workers or os.cpu_count() or 1):
            worker = threading.Thread(target=self._work, name=f"read-ahead-{number}", daemon=True)
            worker.start()
            self._workers.append(worker)

    def read_ahead(self, key: Key, load: Callable[[int], Any]) -> bool:
        """Decode a chunk in the background unless it is here or on its way.

        An error is left to the reader of the chunk. False if there are no threads or their queue is full.
        """
        if key in self or key in self._failures:
            return True
        if len(self._queued) >= len(self._workers) * QUEUE_PER_WORKER:
            return False
        self._queued.add(key)
        self._queue.put((key, load))
        return True

    def _work(self) -> None:
        while wish := self._queue.get():
            key, load = wish
            with self._lock:
                if wanted := key in self._queued and key not in self._chunks and key not in self._flights:
                    flight = self._flights[key] = _Flight()
            if wanted:
                with suppress(Exception):  # the reader who needs the chunk meets it
                    self._lead(key, flight, load)
            self._queued.discard(key)

    def close(self) -> None:
        """Stop reading ahead and forget everything. Idempotent."""
        workers, self._workers = self._workers, []
        self._queued.clear()  # workers pass over what is no longer there
        for _ in workers:
            self._queue.put(None)
        for worker in workers:
            worker.join()
        with self._lock:
            self._chunks.clear()
            self._bytes = 0
