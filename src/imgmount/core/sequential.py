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

from imgmount.core.cache import Content, Cut, ReadCache
from imgmount.core.device import ChunkedDevice
from imgmount.errors import FormatError, ImageError

STEP: Final = 1 << 20
MAX_IDLE: Final = 3  # decoders that wait for their reader to come back
# how many spans that are cut into chunks have their damage remembered, with a step of data each
MAX_DAMAGED: Final = 16
MIN_GROUP: Final = 256 << 10


class Decoder(Protocol):
    """A decoder with a position, used by one thread at a time."""

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; fewer only at the end.

        Raises ``ImageError``; an attribute ``salvaged``, if there is one, holds what came before a
        ``FormatError``.
        """

    def finish(self) -> None:
        """Called after the last byte of the span: check what follows it. Raises ``ImageError``."""


class _Stream:
    """A decoder in span ``span`` at ``position``, on its way to ``target`` while it is busy."""

    __slots__ = ("decoder", "memory", "position", "span", "target")

    def __init__(self, decoder: Decoder, span: int, position: int, memory: int) -> None:
        self.decoder = decoder
        self.span = span
        self.position = position
        self.target = 0
        self.memory = memory  # taken from the mount's budget


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
        # chunks decoded on the way to others that were asked for first
        self._passed: OrderedDict[int, Content] = OrderedDict()
        # span -> the start of its first chunk that is damaged, and what is left of that
        self._damage: OrderedDict[int, tuple[int, Cut]] = OrderedDict()
        self._running = 0  # decoders at work

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

    def _decoder_memory(self, span: int) -> int:
        """Bytes that a decoder of ``span`` takes for itself. Raises ``ImageError``."""
        del span
        return 0

    def _read_chunk(self, index: int) -> Content | Cut:
        span = bisect_right(self._firsts, index) - 1
        start, end = self._span(span)
        if self._firsts[span + 1] == self._firsts[span] + 1:
            return self._read_whole(span, end - start)
        offset = start + (index - self._firsts[span]) * self._step
        passed, stream = self._take(index, span, offset)
        if stream is None:
            return passed
        try:
            while isinstance(chunk := self._next(stream, end), bytes | bytearray):
                if stream.position == offset:
                    stream.position += len(chunk)
                    return chunk
                self._pass(self._firsts[span] + (stream.position - start) // self._step, stream, chunk)
            self._remember(span, stream.position, chunk)
        finally:
            self._give_back(stream, end)
        if stream.position == offset and chunk.data:
            return chunk
        raise chunk.error.again()

    def _read_whole(self, span: int, size: int) -> Content | Cut:
        """The span, which is one chunk."""
        memory = self._decoder_memory(span) + 2 * size  # in pieces, and joined
        with self._state:
            while not self._admit(memory):
                self._state.wait()
        try:
            chunk = _next_chunk(self._decoder(span), size, last=True)
        finally:
            with self._state:
                self._dismiss(memory)
        if isinstance(chunk, Cut) and not chunk.data:
            raise chunk.error.again()
        return chunk

    def _take(self, index: int, span: int, offset: int) -> tuple[Content | Cut, _Stream | None]:
        """The chunk if it is known, else the decoder that can reach it first; waits while that is busy."""
        start = self._starts[span]
        memory = self._decoder_memory(span) + 2 * self._step
        with self._state:
            while True:
                if index in self._passed:
                    return self._passed.pop(index), None
                if span in self._damage and offset >= self._damage[span][0]:
                    return self._damaged_chunk(span, offset), None
                idle = max(_behind(self._idle, span, offset), default=None, key=_position)
                best = idle.position if idle else start
                if not any(
                    min(stream.target, offset + 1) > best for stream in _behind(self._busy, span, offset)
                ):
                    if idle:
                        self._running += 1
                        break
                    if self._admit(memory):
                        break
                self._state.wait()
            stream = idle or self._new_stream(span, start, memory)
            stream.target = offset + self._step
            if idle:
                self._idle.remove(idle)
            self._busy.append(stream)
            return b"", stream

    def _damaged_chunk(self, span: int, offset: int) -> Cut:
        """What is left of the chunk at ``offset``, which is damaged or lies behind damage.

        Raises its error.
        """
        position, cut = self._damage[span]
        if offset == position and cut.data:
            return cut
        raise cut.error.again()

    def _new_stream(self, span: int, start: int, memory: int) -> _Stream:
        try:
            return _Stream(self._decoder(span), span, start, memory)
        except BaseException:
            self._dismiss(memory)
            raise

    def _admit(self, memory: int) -> bool:
        """Whether one more decoder may begin: there is memory, or no other decoder of this device is at work.

        So every device can always go on, and with it the devices that wait for its bytes.
        """
        while not self._cache.decoding.take(memory, must=not self._running and not self._idle):
            if not self._idle:
                return False
            self._drop_idle(1)
        self._running += 1
        return True

    def _dismiss(self, memory: int) -> None:
        self._running -= 1
        self._cache.decoding.give(memory)
        self._state.notify_all()

    def _drop_idle(self, count: int) -> None:
        """Let go of the decoders that were used longest ago."""
        for stream in self._idle[:count]:
            self._cache.decoding.give(stream.memory)
        del self._idle[:count]

    def _next(self, stream: _Stream, end: int) -> Content | Cut:
        size = min(self._step, end - stream.position)
        return _next_chunk(stream.decoder, size, last=stream.position + size == end)

    def _pass(self, index: int, stream: _Stream, chunk: Content) -> None:
        with self._state:
            self._passed[index] = chunk
            stream.position += len(chunk)
            # read-ahead comes out of order, but not further apart than this
            while len(self._passed) > self._ahead + 1:
                self._passed.popitem(last=False)

    def _remember(self, span: int, position: int, chunk: Cut) -> None:
        with self._state:
            self._damage.setdefault(span, (position, chunk))
            while len(self._damage) > MAX_DAMAGED:
                self._damage.popitem(last=False)

    def _give_back(self, stream: _Stream, end: int) -> None:
        with self._state:
            self._busy.remove(stream)
            if stream.position == stream.target < end:
                self._running -= 1
                self._idle.append(stream)
                self._drop_idle(max(0, len(self._idle) - self._max_idle))
                self._state.notify_all()
            else:
                self._dismiss(stream.memory)

    def close(self) -> None:
        with self._state:
            self._drop_idle(len(self._idle))
            self._passed.clear()


def _behind(streams: list[_Stream], span: int, offset: int) -> list[_Stream]:
    return [stream for stream in streams if stream.span == span and stream.position <= offset]


def _position(stream: _Stream) -> int:
    return stream.position


def _next_chunk(decoder: Decoder, size: int, *, last: bool) -> Content | Cut:
    """The next ``size`` bytes, or what comes before the damage.

    Raises ``ImageError``, which another try may not raise.
    """
    try:
        chunk = decoder.read(size)
    except FormatError as exc:
        return Cut(getattr(decoder, "salvaged", b""), exc.again())
    if len(chunk) != size:
        return Cut(chunk, ImageError(f"the compressed data ends {size - len(chunk)} bytes too early"))
    if last:
        try:
            decoder.finish()
        except FormatError as exc:
            return Cut(b"", exc.again())
    return chunk


def group(starts: Sequence[int], least: int = MIN_GROUP) -> list[int]:
    """Indices into ``starts``: between two of them lie ``least`` bytes or more, or a single piece."""
    chosen = [0]
    for index in range(1, len(starts)):
        if starts[index] - starts[chosen[-1]] >= least:
            chosen.append(index)
    return chosen
