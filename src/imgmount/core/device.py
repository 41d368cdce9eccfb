"""Block devices: fixed-size runs of bytes, read by position.

A format says *where a byte lives* (``MappedDevice._map``) or *how to decode chunk n*
(``ChunkedDevice._read_chunk``). Clipping, splitting and joining happen here and nowhere else. ``extents``
always names the devices at the bottom, so a run of an ISO in a partition of a fixed VHD is a run of the host
file, and the FUSE layer can hand that file to the kernel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Self, final

from imgmount.core.cache import Content, Cut, ReadCache
from imgmount.errors import FormatError, ImageError

READ_AHEAD_BYTES: Final = 4 << 20  # decoded ahead of a sequential reader, and at least READ_AHEAD_CHUNKS
READ_AHEAD_CHUNKS: Final = 2
RECENT: Final = 16  # chunks that readers came to last, which tell who reads on from who looks something up
GROUP_BYTES: Final = 512 << 10  # units are decoded together up to about this for a sequential reader,
SHORT_BYTES: Final = 8 << 10  # and up to about this for a lookup,
LOOKUP_BYTES: Final = 32 << 10  # which is a read of no more than this

# bytes that belong to another object: copy them at once and keep no reference
Buffer = bytes | bytearray | memoryview


class Extent(NamedTuple):
    """Where ``length`` bytes come from.

    ``device`` at ``offset``, or zeros when ``device`` is None (a hole).
    """

    length: int
    device: BlockDevice | None = None
    offset: int = 0


class BlockDevice(ABC):
    """A fixed-size run of bytes that any number of threads may read. It holds no position."""

    size: int
    block_size: int = 4096

    @final
    def pread(self, offset: int, size: int, /) -> bytes:
        """Up to ``size`` bytes at ``offset``: short only at the end of the device, empty past it."""
        if offset < 0 or size < 0:
            raise ValueError(f"pread({offset}, {size})")
        size = min(size, self.size - offset)
        return self._pread(offset, size) if size > 0 else b""

    @final
    def read_exactly(self, offset: int, size: int, fmt: str) -> bytes:
        """A structure that must be whole.

        Raises ``FormatError`` in the name of ``fmt`` where the device ends first.
        """
        if offset < 0 or size < 0 or offset + size > self.size:
            raise FormatError(fmt, f"{size} bytes needed, the image ends at {self.size:#x}", offset=offset)
        return self._pread(offset, size) if size else b""

    @abstractmethod
    def _pread(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes; the range is not empty and lies inside the device.

        Raises ``ImageError``.
        """

    def buffers(self, offset: int, size: int) -> Iterable[Buffer]:
        """What ``pread`` returns, in order and not joined, for a caller that has a place to copy it to.

        Raises ``ImageError``.
        """
        return (self.pread(offset, size),)

    def extents(self, offset: int, size: int) -> Iterator[Extent]:
        """The runs that make up the range, clipped at the end, in order.

        Each is a hole or lies in a device at the bottom.
        """
        size = min(size, self.size - offset)
        if size > 0:
            yield Extent(size, self, offset)

    def close(self) -> None:  # noqa: B027  most devices borrow nothing
        """Give back what the host lent. Idempotent. Layers do not close the layers below them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def buffers_of(extents: Iterable[Extent]) -> Iterator[Buffer]:
    """The bytes that ``extents`` stand for, in order and not joined."""
    for length, device, offset in extents:
        if device is None:
            yield bytes(length)
        else:
            yield from device.buffers(offset, length)


def gather(extents: Iterable[Extent]) -> bytes:
    """The bytes that ``extents`` stand for."""
    return b"".join(buffers_of(extents))


class MappedDevice(BlockDevice):
    """A device whose bytes live elsewhere, unchanged."""

    @abstractmethod
    def _map(self, offset: int) -> Extent:
        """The extent that starts at ``offset`` (inside the device), of any length but 0."""

    def extents(self, offset: int, size: int) -> Iterator[Extent]:
        end = min(offset + size, self.size)
        while offset < end:
            length, device, start = self._map(offset)
            length = min(length, end - offset)
            if length <= 0:
                raise ImageError(f"{type(self).__name__} has no bytes at {offset:#x}")
            if device is None:
                yield Extent(length)
            elif start < 0 or start + length > device.size:
                raise ImageError(
                    f"data at {start:#x}+{length:#x} lies outside the image of {device.size:#x} bytes"
                )
            else:
                yield from device.extents(start, length)
            offset += length

    def buffers(self, offset: int, size: int) -> Iterable[Buffer]:
        return buffers_of(self.extents(offset, size))

    def _pread(self, offset: int, size: int) -> bytes:
        return gather(self.extents(offset, size))


class ChunkedDevice(BlockDevice):
    """A device that is decoded in units of ``block_size`` bytes, each kept in the mount's cache.

    A format with small blocks decodes several of them as one chunk: see ``GroupedDevice``.
    """

    def __init__(self, size: int, block_size: int, cache: ReadCache) -> None:
        self.size = size
        self.block_size = block_size
        self._cache = cache
        self._serial = cache.enroll()
        fitting = cache.capacity // block_size - 1  # more would push out the chunk that is being read
        self._ahead = max(0, min(fitting, max(READ_AHEAD_CHUNKS, READ_AHEAD_BYTES // block_size)))
        self._recent: list[int] = []

    @abstractmethod
    def _read_chunk(self, index: int) -> Content | Cut:
        """Chunk ``index`` decoded: exactly as long as its span, or ``Cut`` before what is damaged.

        Called from any thread. Raises ``ImageError``.
        """

    def _chunk_at(self, offset: int) -> tuple[int, int, int]:
        """(index, start, end) of the chunk that holds ``offset``."""
        index = offset // self.block_size
        start = index * self.block_size
        return index, start, min(start + self.block_size, self.size)

    def _pread(self, offset: int, size: int) -> bytes:
        return b"".join(self._buffers(offset, size))

    def buffers(self, offset: int, size: int) -> Sequence[Buffer]:
        size = min(size, self.size - offset)
        return self._buffers(offset, size) if size > 0 else ()

    def _buffers(self, offset: int, size: int) -> Sequence[Buffer]:
        buffers: list[Buffer] = []
        end = offset + size
        self._look_ahead(self._chunk_at(offset)[0], self._chunk_at(end - 1)[0])
        while offset < end:
            index, start, stop = self._chunk_at(offset)
            chunk = self._cache.fetch((self._serial, index), self._read_chunk)
            upto = min(end, stop)
            if isinstance(chunk, Cut):
                if upto - start > len(chunk):
                    raise chunk.error.again()
                chunk = chunk.data
            elif len(chunk) != stop - start:
                raise ImageError(
                    f"{type(self).__name__} chunk {index} holds {len(chunk)} bytes, not {stop - start}"
                )
            buffers.append(
                chunk if upto - offset == len(chunk) else memoryview(chunk)[offset - start : upto - start]
            )
            offset = upto
        return buffers

    def _look_ahead(self, first: int, last: int) -> None:
        """Decode the chunks of this read at once, and the next ones for a sequential reader."""
        serial, cache = self._serial, self._cache
        upto = min(last + self._ahead, self._chunk_count() - 1) if self._is_passed(first) else last
        self._note(first, last)
        for ahead in range(first + 1, upto + 1):
            if not cache.read_ahead((serial, ahead), self._read_chunk):
                break

    def _holds(self, index: int) -> bool:
        """Whether chunk ``index`` is here, or due."""
        return (self._serial, index) in self._cache

    def _note(self, first: int, last: int) -> None:
        """A reader came to the chunks ``first`` to ``last``."""
        recent = self._recent
        for index in range(max(first, last - 2), last + 1):  # the next may begin in the last of these
            if index not in recent:
                recent.append(index)
                del recent[:-RECENT]

    def _is_passed(self, index: int) -> bool:
        """Whether a reader has just come to the two chunks before ``index``, as far as there are two.

        That they are in the cache would not tell: of a small image most chunks are.
        """
        recent = self._recent
        return not index or (index - 1 in recent and (index == 1 or index - 2 in recent))

    def _chunk_count(self) -> int:
        return -(-self.size // self.block_size)


class GroupedDevice(ChunkedDevice):
    """A chunked device whose ``unit`` is small: a chunk is a long run of units, or a short one for a lookup.

    Long runs make the bookkeeping cheap, short runs decode little that is not needed. Damage costs only the
    unit that it is in.
    """

    def __init__(self, size: int, unit: int, cache: ReadCache) -> None:
        self.unit = unit
        self.units = -(-size // unit)
        super().__init__(size, _run(unit, min(GROUP_BYTES, cache.capacity // 4)), cache)
        self._short = _ShortRuns(self, cache)
        self._single = _SingleUnits(self, cache)

    @abstractmethod
    def _read_units(self, first: int, count: int) -> Content:
        """``count`` units from ``first`` on, decoded; the last of the device may be cut at its end.

        Raises ``ImageError``.
        """

    def unit_size(self, index: int) -> int:
        """Bytes in unit ``index``: the last may be short."""
        return min(self.unit, self.size - index * self.unit)

    def _read_chunk(self, index: int) -> Content:
        return self.read_run(index, self.block_size)

    def read_run(self, index: int, size: int) -> Content:
        """Run ``index`` of runs of ``size`` bytes, a number of units; the last of the device may be short."""
        count = size // self.unit
        return self._read_units(index * count, min(count, self.units - index * count))

    def _buffers(self, offset: int, size: int) -> Sequence[Buffer]:
        try:
            if (
                size > max(LOOKUP_BYTES, self._short.block_size)
                or self._holds(offset // self.block_size)
                or self._short.is_read_on(offset)
            ):
                return super()._buffers(offset, size)
            return self._short.buffers(offset, size)
        except ImageError:  # perhaps in units that are not needed
            pass  # and gone with all that it holds before more is decoded
        return self._single.buffers(offset, size)


class _ShortRuns(ChunkedDevice):
    """The same units in short runs. Nothing is read ahead."""

    def __init__(self, whole: GroupedDevice, cache: ReadCache) -> None:
        super().__init__(whole.size, _run(whole.unit, SHORT_BYTES), cache)
        self._whole = whole

    def _look_ahead(self, first: int, last: int) -> None:
        self._note(first, last)

    def is_read_on(self, offset: int) -> bool:
        """Whether the reader at ``offset`` has just passed two runs.

        The first two of a device do not count.
        """
        index = offset // self.block_size
        return index > 1 and self._is_passed(index)

    def _read_chunk(self, index: int) -> Content:
        return self._whole.read_run(index, self.block_size)


class _SingleUnits(ChunkedDevice):
    """The same units one by one, for a damaged run: which are whole, and what is wrong with the others."""

    def __init__(self, whole: GroupedDevice, cache: ReadCache) -> None:
        super().__init__(whole.size, whole.unit, cache)
        self._whole = whole
        self._ahead = 0

    def _look_ahead(self, first: int, last: int) -> None:
        """Nothing."""

    def _read_chunk(self, index: int) -> Content:
        return self._whole.read_run(index, self._whole.unit)


def _run(unit: int, size: int) -> int:
    """As many whole units as ``size`` bytes hold, but at least one."""
    return max(1, size // unit) * unit


class UnevenDevice(ChunkedDevice):
    """A chunked device whose chunks differ in size.

    ``starts[n]`` is the first byte of chunk n, ``starts[0]`` is 0.
    """

    def __init__(self, size: int, starts: Sequence[int], cache: ReadCache) -> None:
        self._starts = starts
        super().__init__(size, max(1, size // max(1, len(starts))), cache)

    def _chunk_at(self, offset: int) -> tuple[int, int, int]:
        index = bisect_right(self._starts, offset) - 1
        stop = self._starts[index + 1] if index + 1 < len(self._starts) else self.size
        return index, self._starts[index], stop

    def _chunk_count(self) -> int:
        return len(self._starts)
