"""Data that can be decoded only forwards, from a few points: compressed streams.

Decoders stay alive between reads, so that a reader that goes on where it stopped does not start over. Going
back costs decoding from the last point before the place wanted.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final, Protocol

from imgmount.core.cache import ReadCache
from imgmount.core.device import ChunkedDevice
from imgmount.errors import FormatError, ImageError

STEP: Final = 1 << 20
MAX_IDLE: Final = 3  # decoders that wait for their reader to come back: as many readers get along
MIN_GROUP: Final = 256 << 10


class Decoder(Protocol):
    """A decoder with a position, used by one thread at a time."""

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; fewer only at the end. Raises ``ImageError``."""

    def finish(self) -> None:
        """Called after the last byte of the span: check what follows it. Raises ``ImageError``."""


class _Stream:
    """A decoder in span ``span`` at ``position``, on its way to ``target`` while it is busy."""

    __slots__ = ("decoder", "position", "span", "target")

    def __init__(self, decoder: Decoder, span: int, position: int, target: int) -> None:
        self.decoder = decoder
        self.span = span
        self.position = position
        self.target = target


class SequentialDevice(ChunkedDevice):
    """A device that decodes forwards from the points ``starts``, of which the first is 0.

    The span up to the next point is one chunk, decoded in any thread, if it is no longer than ``whole``; a
    longer one is cut into chunks of ``step`` bytes, decoded in order by a decoder that lives on: up to
    ``idle`` of them.
    """

    def __init__(
        self,
        size: int,
        starts: Sequence[int],
        cache: ReadCache,
        *,
        whole: int = 0,
        step: int = STEP,
        idle: int = MAX_IDLE,
    ) -> None:
        self._starts = starts
        self._step = step
        self._whole = max(whole, step)
        self._max_idle = idle
        lengths = [end - start for start, end in pairwise([*starts, size])]
        self._firsts = [
            0,
            *accumulate(1 if length <= self._whole else -(-length // step) for length in lengths),
        ]
        largest = max((length if length <= self._whole else step for length in lengths), default=1)
        super().__init__(size, max(1, largest), cache)
        self._state = threading.Condition()
        self._idle: list[_Stream] = []  # least recently used first
        self._busy: list[_Stream] = []
        self._passed: OrderedDict[int, bytes] = (
            OrderedDict()
        )  # chunks decoded on the way to others that were asked for first
        self._damage: dict[int, tuple[int, FormatError]] = {}  # span -> where its decoder fails, and how

    @abstractmethod
    def _decoder(self, span: int) -> Decoder:
        """A new decoder whose next byte is at ``starts[span]``.

        Called from any thread. Raises ``ImageError``.
        """

    def _chunk_at(self, offset: int) -> tuple[int, int, int]:
        span = bisect_right(self._starts, offset) - 1
        start, end = self._span(span)
        first = self._firsts[span]
        if self._firsts[span + 1] == first + 1:
            return first, start, end
        inside = (offset - start) // self._step
        start += inside * self._step
        return first + inside, start, min(start + self._step, end)

    def _chunk_count(self) -> int:
        return self._firsts[-1]

    def _span(self, span: int) -> tuple[int, int]:
        return self._starts[span], self._starts[span + 1] if span + 1 < len(self._starts) else self.size

    def _read_chunk(self, index: int) -> bytes:
        span = bisect_right(self._firsts, index) - 1
        start, end = self._span(span)
        if self._firsts[span + 1] == self._firsts[span] + 1:
            decoder = self._decoder(span)
            return _next_chunk(decoder, end - start, last=True)
        offset = start + (index - self._firsts[span]) * self._step
        passed, stream = self._take(index, span, offset)
        if stream is None:
            return passed
        try:
            while stream.position < offset:
                self._pass(
                    self._firsts[span] + (stream.position - start) // self._step,
                    stream,
                    self._next(stream, end),
                )
            chunk = self._next(stream, end)
            stream.position += len(chunk)
        except FormatError as exc:
            with self._state:
                self._damage.setdefault(span, (stream.position, exc.again()))
            raise
        else:
            return chunk
        finally:
            self._give_back(stream, end)

    def _take(self, index: int, span: int, offset: int) -> tuple[bytes, _Stream | None]:
        """The chunk, if it was decoded in passing, or else the decoder that will be there first, waited for if it is busy."""
        start = self._starts[span]
        with self._state:
            while True:
                if index in self._passed:
                    return self._passed.pop(index), None
                damage = self._damage.get(span)
                if damage is not None and offset >= damage[0]:
                    raise damage[1].again()
                idle = max(_behind(self._idle, span, offset), default=None, key=_position)
                best = idle.position if idle else start
                if not any(
                    min(stream.target, offset + 1) > best for stream in _behind(self._busy, span, offset)
                ):
                    break
                self._state.wait()
            stream = idle or _Stream(self._decoder(span), span, start, 0)
            stream.target = offset + self._step
            if idle:
                self._idle.remove(idle)
            self._busy.append(stream)
            return b"", stream

    def _next(self, stream: _Stream, end: int) -> bytes:
        size = min(self._step, end - stream.position)
        return _next_chunk(stream.decoder, size, last=stream.position + size == end)

    def _pass(self, index: int, stream: _Stream, chunk: bytes) -> None:
        with self._state:
            self._passed[index] = chunk
            stream.position += len(chunk)
            while (
                len(self._passed) > self._ahead + 1
            ):  # readers ahead come out of order, but no further than that
                self._passed.popitem(last=False)

    def _give_back(self, stream: _Stream, end: int) -> None:
        with self._state:
            self._busy.remove(stream)
            if stream.position == stream.target < end:
                self._idle.append(stream)
                del self._idle[: -self._max_idle]
            self._state.notify_all()

    def close(self) -> None:
        with self._state:
            self._idle.clear()
            self._passed.clear()


def _behind(streams: list[_Stream], span: int, offset: int) -> list[_Stream]:
    return [stream for stream in streams if stream.span == span and stream.position <= offset]


def _position(stream: _Stream) -> int:
    return stream.position


def _next_chunk(decoder: Decoder, size: int, *, last: bool) -> bytes:
    chunk = decoder.read(size)
    if len(chunk) != size:
        raise ImageError(f"the compressed data ends {size - len(chunk)} bytes too early")
    if last:
        decoder.finish()
    return chunk


def group(starts: Sequence[int], least: int = MIN_GROUP) -> list[int]:
    """Indices into ``starts`` such that what lies between two of them is ``least`` bytes or more, or a single piece."""
    chosen = [0]
    for index in range(1, len(starts)):
        if starts[index] - starts[chosen[-1]] >= least:
            chosen.append(index)
    return chosen
