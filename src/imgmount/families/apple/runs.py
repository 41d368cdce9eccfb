"""Runs of a disk image that UDIF and NDIF have in common, and the device that decodes the compressed ones.

Each run decodes on its own. The first time that is as a whole, as its checksum comes last; once it was right,
a short read decodes no more than it needs.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from imgmount.core.cache import Content, ReadCache
from imgmount.core.device import BlockDevice, Buffer, UnevenDevice
from imgmount.errors import FormatError, ImageError

SECTOR: Final = 512
ZERO, RAW, IGNORE = 0, 1, 2  # kinds of runs; other numbers are those of a codec
DAMAGED: Final = -1  # sectors whose place a damaged table does not give
MAX_DECODED: Final = 64 << 20  # of one run; hdiutil writes 1 MiB, QEMU reads 64
LONG: Final = 512 << 10  # sound runs of this size and more are not decoded again as a whole for a short read
LOOK: Final = 32 << 10  # bytes of a read that counts as short
ROUNDED: Final = 64 << 10  # what is decoded for a short read ends at a multiple of this
_ERRORS: Final = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)

Decode = Callable[[bytes, int], Content]


class Run(NamedTuple):
    """Some ``sectors`` of the disk, from ``first`` on; ``offset`` counts from the image's data fork."""

    kind: int
    first: int
    sectors: int
    offset: int
    stored: int


class Codec(NamedTuple):
    """``whole`` decodes a run, ``head`` its first bytes, which is quicker up to ``part`` of the run."""

    name: str
    whole: Decode
    head: Decode | None = None
    part: float = 0.0


def zlib_head(data: bytes, least: int) -> bytes:
    """The first ``least`` bytes of a zlib stream."""
    return zlib.decompressobj().decompress(data, least)


def bzip2_head(data: bytes, least: int) -> bytes:
    """The first ``least`` bytes of a bzip2 stream."""
    return bz2.BZ2Decompressor().decompress(data, least)


def xz_head(data: bytes, least: int, memory: int) -> bytes:
    """The first ``least`` bytes of an .xz stream, in ``memory`` bytes at most."""
    return lzma.LZMADecompressor(memlimit=memory).decompress(data, least)


class RunsDevice(UnevenDevice):
    """The decoded bytes of ``runs`` in a row; their offsets count in ``data``."""

    def __init__(
        self, fmt: str, codecs: Mapping[int, Codec], runs: Sequence[Run], data: BlockDevice, cache: ReadCache
    ) -> None:
        self._fmt = fmt
        self._codecs = codecs
        self._runs = runs
        self._data = data
        starts = array("Q", accumulate((run.sectors * SECTOR for run in runs), initial=0))
        super().__init__(starts.pop(), starts, cache)
        self._heads = cache.enroll()
        self._sound = bytearray(len(runs))  # 1 for each run whose whole was right
        self._damaged: dict[int, str] = {}

    def start(self, index: int) -> int:
        """Where the bytes of run ``index`` are here."""
        return self._starts[index]

    def _stored(self, run: Run) -> bytes:
        size = run.sectors * SECTOR
        if size > MAX_DECODED or run.stored > 2 * size + ROUNDED:
            raise FormatError(self._fmt, f"a run of {run.stored} bytes for {size}", offset=run.offset)
        return self._data.read_exactly(run.offset, run.stored, self._fmt)

    def _read_chunk(self, index: int) -> Content:
        run = self._runs[index]
        # decoding a damaged run again for each of its pieces would take long
        if index in self._damaged:
            raise FormatError(self._fmt, self._damaged[index], offset=run.offset)
        data = self._stored(run)
        try:
            whole = self._codecs[run.kind].whole(data, run.sectors * SECTOR)
        except FormatError as exc:
            self._damaged[index] = where = f"the run of sector {run.first}: {exc.reason}"
            raise FormatError(self._fmt, where, offset=run.offset) from exc
        self._sound[index] = 1
        return whole

    def _buffers(self, offset: int, size: int) -> Sequence[Buffer]:
        index, start, stop = self._chunk_at(offset)
        upto = offset + size - start
        is_short = size <= LOOK and stop - start >= LONG and start + upto <= stop
        if is_short and self._sound[index] and not self._is_wanted(index):
            head = self._head(index, upto, stop - start)
            if len(head) >= upto:
                return (memoryview(head)[offset - start : upto],)
        return super()._buffers(offset, size)

    def _is_wanted(self, index: int) -> bool:
        """Whether all of a run is here already, or the reader seems to go on and will need it."""
        return self._holds(index) or (index > 1 and self._is_passed(index))

    def _head(self, index: int, upto: int, size: int) -> Content:
        """The first bytes of a run, if that saves time; none where more is needed than is at hand."""
        codec = self._codecs[self._runs[index].kind]
        key = (self._heads, index)
        least = -(-upto // ROUNDED) * ROUNDED
        decode = codec.head
        if decode is None or (key not in self._cache and least > codec.part * size):
            return b""
        try:
            return self._cache.fetch(key, lambda _: self._decode_head(decode, index, least))
        except ImageError:  # decoding the whole run finds the damage
            return b""

    def _decode_head(self, decode: Decode, index: int, least: int) -> Content:
        try:
            return decode(self._stored(self._runs[index]), least)
        except _ERRORS as exc:
            reason = f"the run of sector {self._runs[index].first} does not decode"
            raise FormatError(self._fmt, reason) from exc
