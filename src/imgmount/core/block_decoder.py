"""Decoders that keep a position, for data that decodes only forwards.

The decoders of bz2, lzma and zstd are used in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Any, Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.read_through import read_through
from imgmount.errors import NO_MEMORY, FormatError, ImageError, OutOfMemoryError

FEED: Final = 128 << 10  # coded bytes given to a decoder at a time
GRAIN: Final = 32 << 10  # decoded bytes taken at a time: a decoder that fails loses up to this much
DAMAGED: Final = "the compressed data is damaged"
WRONG_CHECK: Final = "the data disagrees with the checksum that is stored behind it"


class CodedBlock(NamedTuple):
    """Coded data that a decoder of its own understands: an xz block, a bzip2 block, a zstd frame.

    ``decompressor`` makes an object with the standard library's ``decompress(data, max_length)``, ``eof`` and
    ``needs_input``.

    ``borders`` is for a decoder that may run on over damage for a while. They are rising decoded sizes: what
    lies before a border is right once the decoder has reached it; at the end of the block everything is
    right. It is None for a decoder whose output is right at once. ``borders`` may have an attribute ``sure``:
    the decoded size from which on only the checksum would find damage.

    ``check`` is the checksum that ends the block: if it differs, no byte of the block is sure.
    """

    decompressor: Callable[[], Any]
    feed: Iterable[bytes]
    has_end: bool = True  # the decompressor sees where it ends: not so for an xz block
    damaged: bool = False  # known to end in an error: what comes before that is all there is
    borders: Iterable[int] | None = None
    check: bytes = b""


class CodedBlockDecoder:
    """Reads decoded blocks one after the other, as one run of bytes. Not for two threads at once.

    ``salvaged`` is what a ``read`` that failed had decoded before the damage.
    """

    def __init__(
        self, fmt: str, blocks: Iterable[CodedBlock], error: type[Exception] | tuple[type[Exception], ...]
    ) -> None:
        self._fmt = fmt
        self._blocks = iter(blocks)
        self._errors: tuple[type[Exception], ...] = (
            ValueError,
            EOFError,
            *(error if isinstance(error, tuple) else (error,)),
        )
        self._decompressor: Any = None
        self._block = CodedBlock(object, ())
        self._feed: Iterator[bytes] = iter(())
        self._borders: Iterator[int] = iter(())
        self._border: float = 0  # the next one
        self._position = 0  # in the block, of what is decoded
        self._held = bytearray()  # decoded, not yet returned
        self._proven = 0  # bytes at its start that may be
        self._checking = False
        self._returned = 0  # bytes of the block
        self._doubtful = 0  # of them, because the checksum disagrees
        self._failure: FormatError | None = None
        self.salvaged = b""

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; fewer only at the end.

        Raises ``FormatError`` where the data cannot be decoded.
        """
        parts = []
        try:
            while size and (part := self.some(size)):
                parts.append(part)
                size -= len(part)
        except ImageError:
            data = b"".join(parts)
            self.salvaged = data[: max(0, len(data) - self._doubtful)]
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> None:
        """Check what follows the last byte: checksums.

        Raises ``FormatError``, also where there is another byte.
        """
        if not self._block.damaged and self.some(1):
            raise FormatError(self._fmt, "the data goes on where its stated size ends")

    def some(self, limit: int) -> bytes:
        """At least one byte and at most ``limit``; none at the end. Raises ``FormatError``."""
        while not self._proven:
            if self._failure is not None:
                raise self._failure.again()
            if self._decompressor is None and not self._next_block():
                return b""
            # not over a border: a call that fails gives nothing of what it had decoded
            decoded = self._decode(int(min(limit, GRAIN, max(1, self._border - self._position))))
            if decoded and self._block.borders is None:
                self._returned += len(decoded)
                return decoded
        part = bytes(memoryview(self._held)[: min(limit, self._proven)])
        del self._held[: len(part)]
        self._proven -= len(part)
        self._returned += len(part)
        return part

    def _decode(self, limit: int) -> bytes:
        """What the decompressor gives next; nothing at its end or where it fails."""
        data = next(self._feed, b"") if self._decompressor.needs_input else b""
        if not data and self._decompressor.needs_input and not self._checking:
            data, self._checking = self._block.check, True
        if not data and self._decompressor.needs_input:
            self._end_block()
            if self._block.has_end:
                self._failure = FormatError(self._fmt, "the data is cut short")
            return b""
        try:
            decoded: bytes = self._decompressor.decompress(data, limit)
        except self._errors:
            self._decompressor = None
            self._held.clear()
            sure = 0 if self._checking else getattr(self._block.borders, "sure", inf)
            self._doubtful = max(0, self._returned - int(min(sure, self._returned)))
            self._failure = FormatError(self._fmt, WRONG_CHECK if self._checking else DAMAGED)
            return b""
        except MemoryError:
            self._decompressor = None
            raise OutOfMemoryError(NO_MEMORY) from None
        if self._block.borders is not None:
            self._hold(decoded)
        if self._decompressor.eof:
            self._end_block()
        return decoded

    def _hold(self, decoded: bytes) -> None:
        self._held += decoded
        self._position += len(decoded)
        while self._border <= self._position:
            self._proven = len(self._held) - (self._position - int(self._border))
            self._border = next(self._borders, inf)

    def _next_block(self) -> bool:
        block = next(self._blocks, None)
        if block is None:
            return False
        self._block, self._decompressor, self._feed = block, block.decompressor(), iter(block.feed)
        self._borders, self._position = iter(block.borders or ()), 0
        self._checking, self._returned = False, 0
        self._border = next(self._borders, inf)
        return True

    def _end_block(self) -> None:
        self._decompressor = None
        self._proven = len(self._held)


def feed(file: BlockDevice, start: int, end: int) -> Iterator[bytes]:
    """The bytes from ``start`` to ``end`` of ``file``, in portions."""
    return read_through(file, start, end, FEED)


def measure(decoder: CodedBlockDecoder) -> tuple[int, FormatError | None]:
    """How many bytes ``decoder`` gives, and the error that ended it, if one did.

    Decodes all of them, keeps none.
    """
    size = 0
    try:
        while part := decoder.some(GRAIN):
            size += len(part)
    except FormatError as exc:
        return size, exc.again()  # without its traceback, which would keep the decoder
    return size, None
