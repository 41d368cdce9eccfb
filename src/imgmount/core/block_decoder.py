"""Decoders that keep a position, for data that can be decoded only forwards: bz2's, lzma's and zstd's, driven alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.read_through import read_through
from imgmount.errors import FormatError

FEED: Final = 128 << 10  # coded bytes given to a decoder at a time
GRAIN: Final = 128 << 10  # decoded bytes taken at a time: what damage may cost beyond its own place


class CodedBlock(NamedTuple):
    """Coded data that a decoder of its own understands: an xz block, a bzip2 block, a zstd frame.

    ``decompressor`` makes an object with the standard library's ``decompress(data, max_length)``, ``eof`` and
    ``needs_input``.
    """

    decompressor: Callable[[], Any]
    feed: Iterable[bytes]
    has_end: bool = True  # the decompressor sees where it ends: not so for an xz block
    damaged: bool = False  # known to end in an error: what comes before that is all there is


class CodedBlockDecoder:
    """Reads decoded blocks one after the other, as one run of bytes. Not for two threads at once."""

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

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; fewer only at the end.

        Raises ``FormatError`` where the data cannot be decoded.
        """
        parts = []
        while size and (part := self.some(size)):
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> None:
        """Check what follows the last byte: checksums.

        Raises ``FormatError``, also where there is another byte.
        """
        if not self._block.damaged and self.some(1):
            raise FormatError(self._fmt, "more data than its size says")

    def some(self, limit: int) -> bytes:
        """At least one byte and at most ``limit``; none at the end. Raises ``FormatError``."""
        while self._decompressor is not None or self._next_block():
            data = next(self._feed, b"") if self._decompressor.needs_input else b""
            if not data and self._decompressor.needs_input:
                self._decompressor = None
                if self._block.has_end:
                    raise FormatError(self._fmt, "the data is cut short")
                continue
            try:
                decoded: bytes = self._decompressor.decompress(data, min(limit, GRAIN))
            except self._errors as exc:
                raise FormatError(self._fmt, str(exc)) from exc
            if self._decompressor.eof:
                self._decompressor = None
            if decoded:
                return decoded
        return b""

    def _next_block(self) -> bool:
        block = next(self._blocks, None)
        if block is None:
            return False
        self._block, self._decompressor, self._feed = block, block.decompressor(), iter(block.feed)
        return True


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
        return size, exc
    return size, None
