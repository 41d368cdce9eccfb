"""Resources that are compressed in chunks: where each chunk lies, and the device that decodes them.

An ordinary resource begins with a table of where its chunks begin but for the first; in a pipable WIM that
follows the chunks, and each has its size before it. A solid resource has a header of its own, and the sizes
of its chunks. A chunk that is as long stored as decoded is not compressed.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from struct import Struct
from typing import Final, NamedTuple

from imgmount.codecs import libwim, lzms, lzx, xpress
from imgmount.codecs.libwim import Kind
from imgmount.codecs.pieces import Piece, blank
from imgmount.core.cache import Content, ReadCache
from imgmount.core.device import BlockDevice, ChunkedDevice, GroupedDevice
from imgmount.core.fields import table
from imgmount.errors import FormatError, UnsupportedError
from imgmount.filesystems.wim.header import Compression, Resource

MAX_UNIT: Final = 256 << 10  # chunks up to this are decoded in groups
SHARE: Final = 4  # of the cache that a chunk may take at most; a larger one is kept by itself
MAX_KEPT: Final = 256 << 10  # bytes of a table that is kept in memory
MAX_SOLID_TABLE: Final = 16 << 20
PIPE_HEADER: Final = 4  # before each chunk of a pipable WIM
_SOLID: Final = Struct("<QII")  # size, chunk size, kind


class Span(NamedTuple):
    """Where a chunk is stored."""

    offset: int
    stored: int


class Layout(ABC):
    """Where the chunks of a resource of ``size`` bytes are stored on ``device``."""

    def __init__(self, device: BlockDevice, resource: Resource, size: int, compression: Compression) -> None:
        self.device = device
        self.resource = resource
        self.size = size
        self.kind, self.chunk = compression
        self.count = -(-size // self.chunk)

    @abstractmethod
    def spans(self, first: int, count: int) -> list[Span]:
        """Where ``count`` chunks from ``first`` on are. Raises ``FormatError``."""

    def decode(self, first: int, count: int) -> Content:
        """``count`` chunks from ``first`` on. Raises ``ImageError``."""
        spans = self.spans(first, count)
        if count == 1:
            return self._decode_one(first, spans[0])
        start, end = spans[0].offset, spans[-1].offset + spans[-1].stored
        if (
            end > self.resource.offset + self.resource.stored
            or end - start > count * self.chunk + PIPE_HEADER * count
        ):
            message = (
                f"chunks {start:#x} to {end:#x} are larger than {self.chunk} bytes, or past their resource"
            )
            raise FormatError("wim", message, offset=self.resource.offset)
        data = self.device.read_exactly(start, end - start, "wim")
        out = blank(min(count * self.chunk, self.size - first * self.chunk))
        pieces = []
        for number, (offset, stored) in enumerate(spans):
            at = number * self.chunk
            size = min(self.chunk, len(out) - at)
            if stored > size:
                raise FormatError("wim", f"a chunk of {stored} bytes for {size}", offset=offset)
            pieces.append((offset - start, stored, at, size))
        self._expand(data, out, pieces, start)
        return out

    def _decode_one(self, index: int, span: Span) -> Content:
        """A single chunk, for a lookup."""
        start, stored = span
        size = min(self.chunk, self.size - index * self.chunk)
        if stored > size or start + stored > self.resource.offset + self.resource.stored:
            raise FormatError(
                "wim", f"a chunk of {stored} bytes for {size}, or outside its resource", offset=start
            )
        data = self.device.read_exactly(start, stored, "wim")
        if stored == size:
            return data
        out = blank(size)
        self._expand(data, out, ((0, stored, 0, size),), start)
        return out

    def _expand(self, data: bytes, out: bytearray, pieces: Iterable[Piece], offset: int) -> None:
        """Decode ``data``, which is stored at ``offset``."""
        kind = self.kind
        if kind is None:
            raise FormatError("wim", "a chunk, where nothing is to be compressed", offset=offset)
        try:
            if libwim.library() is not None:
                libwim.decompress_all(kind, data, out, pieces, self.chunk)
                return
            for start, stored, at, size in pieces:
                coded = data[start : start + stored]
                out[at : at + size] = coded if stored == size else _decode(kind, coded, size, self.chunk)
        except FormatError as exc:
            raise FormatError("wim", f"a chunk does not decompress: {exc}", offset=offset) from exc


def _decode(kind: Kind, data: bytes, size: int, chunk: int) -> Content:
    """Without libwim."""
    if kind is Kind.XPRESS:
        return xpress.decompress(data, size)
    return lzx.decompress(data, size, chunk) if kind is Kind.LZX else lzms.decompress(data, size, chunk)


class TableLayout(Layout):
    """An ordinary resource. Its table is read where it is needed."""

    def __init__(
        self, device: BlockDevice, resource: Resource, compression: Compression, *, pipable: bool
    ) -> None:
        super().__init__(device, resource, resource.size, compression)
        self._width = 4 if resource.size < 1 << 32 else 8
        extent = (self.count - 1) * self._width
        if extent > resource.stored:
            message = f"{self.count} chunks in a resource of {resource.stored} bytes"
            raise FormatError("wim", message, offset=resource.offset)
        end = resource.offset + resource.stored
        self._pipe = PIPE_HEADER if pipable else 0
        self._table = end - extent if pipable else resource.offset
        self._base = resource.offset if pipable else resource.offset + extent
        self._end = self._table if pipable else end
        self._kept: array[int] | None = None

    def _told(self, low: int, high: int) -> Sequence[int]:
        """What the table says of chunks ``low`` to ``high``, which begin at 1.

        A small table is read whole, and kept.
        """
        if self._kept is None and self.count * self._width <= MAX_KEPT:
            self._kept = self._read(1, self.count)
        return self._read(low, high) if self._kept is None else self._kept[low - 1 : high - 1]

    def _read(self, low: int, high: int) -> array[int]:
        at, extent = self._table + (low - 1) * self._width, max(0, high - low) * self._width
        return table(self.device.read_exactly(at, extent, "wim"), 4 if self._width == 4 else 8, "little")

    def _starts(self, first: int, count: int) -> list[int]:
        """Where ``count`` chunks from ``first`` on begin, and where the last of them ends."""
        end = min(first + count + 1, self.count)  # behind the last chunk in the table
        starts = [0, *self._told(1, end)] if first == 0 else self._told(first, end)
        places = [self._base + start + self._pipe * number for number, start in enumerate(starts, first)]
        return places if len(places) > count else [*places, self._end]

    def spans(self, first: int, count: int) -> list[Span]:
        spans = []
        for index, (start, end) in enumerate(pairwise(self._starts(first, count)), first):
            if start + self._pipe > end:
                raise FormatError("wim", f"chunk {index} ends before it begins", offset=self._table)
            spans.append(Span(start + self._pipe, end - start - self._pipe))
        return spans


class SolidLayout(Layout):
    """A solid resource, whose sizes of chunks are read at once."""

    def __init__(self, device: BlockDevice, resource: Resource) -> None:
        head = device.read_exactly(resource.offset, _SOLID.size, "wim")
        size, chunk, number = _SOLID.unpack(head)
        if number not in list(Kind):
            raise UnsupportedError(f"wim: a solid resource compressed in a way that has the number {number}")
        compression = Compression.checked(Kind(number), chunk, resource.offset)
        super().__init__(device, resource, size, compression)
        extent = 4 * self.count
        if extent > min(MAX_SOLID_TABLE, resource.stored - _SOLID.size):
            message = f"{self.count} chunks in a solid resource of {resource.stored} bytes"
            raise FormatError("wim", message, offset=resource.offset)
        start = resource.offset + _SOLID.size
        sizes = table(device.read_exactly(start, extent, "wim"), 4, "little")
        self._starts = list(accumulate(sizes, initial=start + extent))

    def spans(self, first: int, count: int) -> list[Span]:
        starts = self._starts[first : first + count + 1]
        return [Span(start, end - start) for start, end in pairwise(starts)]


class Kept:
    """The last chunk that is too large for the cache.

    One of a mount, so that many readers of it decode it once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[Layout, int] | None = None
        self._chunk: Content = b""

    def fetch(self, layout: Layout, index: int) -> Content:
        """Chunk ``index``. Raises ``ImageError``."""
        with self._lock:
            if self._key != (layout, index):
                self._key, self._chunk = None, b""
                self._chunk = layout.decode(index, 1)
                self._key = layout, index
            return self._chunk


class _Grouped(GroupedDevice):
    """Small chunks."""

    def __init__(self, layout: Layout, cache: ReadCache) -> None:
        super().__init__(layout.size, layout.chunk, cache)
        self._layout = layout

    def _read_units(self, first: int, count: int) -> Content:
        return self._layout.decode(first, count)


class _Large(ChunkedDevice):
    """Chunks that the cache has room for, each by itself."""

    def __init__(self, layout: Layout, cache: ReadCache) -> None:
        super().__init__(layout.size, layout.chunk, cache)
        self._layout = layout

    def _read_chunk(self, index: int) -> Content:
        return self._layout.decode(index, 1)


class _Huge(BlockDevice):
    """Chunks that would push everything else out of the cache."""

    def __init__(self, layout: Layout, kept: Kept) -> None:
        self.size = layout.size
        self.block_size = layout.chunk
        self._layout = layout
        self._kept = kept

    def _pread(self, offset: int, size: int) -> bytes:
        return b"".join(self._pieces(offset, size))

    def _pieces(self, offset: int, size: int) -> Iterator[memoryview]:
        end = offset + size
        while offset < end:
            index, skip = divmod(offset, self.block_size)
            piece = memoryview(self._kept.fetch(self._layout, index))[skip : skip + end - offset]
            yield piece
            offset += len(piece)


def decoded(layout: Layout, cache: ReadCache, kept: Kept) -> BlockDevice:
    """What ``layout`` holds, as a device."""
    if layout.chunk <= MAX_UNIT:
        return _Grouped(layout, cache)
    return _Large(layout, cache) if layout.chunk * SHARE <= cache.capacity else _Huge(layout, kept)
