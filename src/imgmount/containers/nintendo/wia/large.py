"""Groups that are too large to be decoded whole: wit's usual 40 MiB, and 100 MiB of its best.

Decoded forwards, bit by bit.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Iterator
from hashlib import sha1
from typing import Any, Final

from imgmount.containers.nintendo.wia import codec
from imgmount.containers.nintendo.wia.groups import (
    COUNT,
    EXCEPTION,
    LIST_ALIGN,
    PLACE_UNIT,
    GroupTable,
    Lists,
    check_count,
    exceptions,
    hash_exceptions,
)
from imgmount.containers.nintendo.wia.header import HASH_GROUP, SECTOR, Range
from imgmount.core.block_decoder import CodedBlock, CodedBlockDecoder, feed
from imgmount.core.cache import ReadCache
from imgmount.core.sequential import MAX_IDLE, Decoder, SequentialDevice
from imgmount.errors import ChecksumError, FormatError
from imgmount.families.nintendo import wii_clusters as wii
from imgmount.families.nintendo.wii_clusters import HashException

PLAIN: Final = ("none", "purge")
KNOWN: Final = 4  # groups whose exceptions are kept
MAX_DICTIONARY: Final = 64 << 20  # of LZMA: its best level has no larger one; and of all decoders that wait
ERRORS: Final = (OSError, lzma.LZMAError)


class _Copy:
    """A decompressor of what is not compressed."""

    def __init__(self) -> None:
        self.eof = False
        self._data = memoryview(b"")

    @property
    def needs_input(self) -> bool:
        return not self._data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._data = memoryview(data)
        part, self._data = self._data[:max_length], self._data[max_length:]
        return bytes(part)


def _block(groups: GroupTable, data: Iterator[bytes]) -> CodedBlock:
    if groups.compression in PLAIN:
        return CodedBlock(_Copy, data, has_end=False)
    if groups.compression == "bzip2":
        return CodedBlock(bz2.BZ2Decompressor, data)
    filters = [_lzma(groups)]
    return CodedBlock(lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters), data, has_end=False)


def _lzma(groups: GroupTable) -> dict[str, Any]:
    return codec.lzma_filter(groups.fmt, groups.compression, groups.extra, MAX_DICTIONARY)


def _idle(groups: GroupTable) -> int:
    """How many decoders may wait for their reader: as many as their dictionaries allow."""
    if not groups.compression.startswith("lzma"):
        return MAX_IDLE
    fitting: int = MAX_DICTIONARY // _lzma(groups)["dict_size"]
    return min(MAX_IDLE, fitting)


class _Zeros:
    """The decoder of a group that is not stored."""

    def read(self, size: int) -> bytes:
        return bytes(size)

    def finish(self) -> None:
        """Nothing follows."""


class _Stored:
    """The decoder of data behind its exception lists."""

    def __init__(self, source: CodedBlockDecoder, *, ends: bool) -> None:
        self.read = source.read
        self._finish = source.finish if ends else None

    def finish(self) -> None:
        """What is compressed has no more bytes than the chunk."""
        if self._finish:
            self._finish()


class _Purged:
    """The decoder of purged data, {place, size, bytes} again and again: zeros are between them."""

    def __init__(self, fmt: str, source: CodedBlockDecoder, stored: int, size: int) -> None:
        self._fmt = fmt
        self._source = source
        self._stored = stored  # bytes of all pieces that are not yet read
        self._size = size
        self._position = 0
        self._place = 0  # where the next bytes of the piece at hand belong
        self._left = 0  # of that piece

    def read(self, size: int) -> bytes:
        out = bytearray(size)
        start, end = self._position, self._position + size
        while self._left or self._stored:
            if not self._left:
                self._next_piece()
            if self._place >= end:
                break
            part = self._take(min(self._left, end - self._place))
            out[self._place - start : self._place - start + len(part)] = part
            self._place += len(part)
            self._left -= len(part)
        self._position = end
        return bytes(out)

    def _next_piece(self) -> None:
        place, length = codec.SEGMENT.unpack(self._take(codec.SEGMENT.size))
        if place < self._place or place + length > self._size or length > self._stored:
            raise FormatError(self._fmt, f"a purged segment of {length} bytes at {place:#x}")
        self._place, self._left = place, length

    def _take(self, size: int) -> bytes:
        part = self._source.read(min(size, self._stored))
        self._stored -= len(part)
        if len(part) < size:
            raise FormatError(self._fmt, "a purged segment is cut short")
        return part

    def finish(self) -> None:
        """Its SHA-1 was checked before."""


def _open(groups: GroupTable, index: int, size: int, lists: int = 0) -> tuple[Decoder, Lists]:
    """(decoder of the ``size`` bytes of group ``index``, its exceptions). Raises ``ImageError``."""
    entry = groups.entry(index)
    start, end = entry[0] * PLACE_UNIT, entry[0] * PLACE_UNIT + entry[1]
    if start == end:
        return _Zeros(), [[] for _ in range(lists)]
    if end > groups.file.size:
        raise FormatError(groups.fmt, f"group {index} is stored past the end of the file", offset=start)
    source = CodedBlockDecoder(groups.fmt, iter([_block(groups, feed(groups.file, start, end))]), ERRORS)
    raw = bytearray()
    for _ in range(lists):
        raw += source.read(COUNT.size)
        raw += source.read(int.from_bytes(raw[-COUNT.size :], "big") * EXCEPTION.size)
    found, _ = exceptions(groups.fmt, bytes(raw), lists)
    if groups.compression not in PLAIN:
        return _Stored(source, ends=True), found
    raw += source.read(-len(raw) % LIST_ALIGN)
    if groups.compression == "none":
        if end - start - len(raw) < size:
            raise FormatError(
                groups.fmt, f"group {index} has {end - start - len(raw)} bytes, {size} expected", offset=start
            )
        return _Stored(source, ends=False), found
    _check(groups, index, start, end)
    return _Purged(groups.fmt, source, max(0, end - start - len(raw) - codec.DIGEST_SIZE), size), found


def _check(groups: GroupTable, index: int, start: int, end: int) -> None:
    """The SHA-1 that ends a purged group."""
    digest = sha1()
    for part in feed(groups.file, start, end - codec.DIGEST_SIZE):
        digest.update(part)
    if end - start < codec.DIGEST_SIZE or digest.digest() != groups.file.pread(
        end - codec.DIGEST_SIZE, codec.DIGEST_SIZE
    ):
        raise ChecksumError(groups.fmt, f"group {index} does not match its SHA-1", offset=start)


class LargeRaw(SequentialDevice):
    """Bytes of the disc outside of partitions: an entry of ``header.read_raws``."""

    def __init__(self, groups: GroupTable, entry: tuple[int, int, int, int], cache: ReadCache) -> None:
        _, size, self._first, count = entry
        check_count(groups, size, groups.chunk_size, count)
        super().__init__(size, range(0, size, groups.chunk_size), cache, step=HASH_GROUP, idle=_idle(groups))
        self._groups = groups

    def _decoder(self, span: int) -> Decoder:
        start, end = self._span(span)
        return _open(self._groups, self._first + span, end - start)[0]


class LargePart(SequentialDevice):
    """Data of a Wii partition, without hashes. ``cluster`` is its first one in the partition."""

    def __init__(self, groups: GroupTable, place: Range, cluster: int, cache: ReadCache) -> None:
        size, chunk = place.sectors * wii.DATA, groups.chunk_size // SECTOR * wii.DATA
        check_count(groups, size, chunk, place.groups)
        super().__init__(size, range(0, size, chunk), cache, step=wii.GROUP_DATA, idle=_idle(groups))
        self._groups = groups
        self._first = place.group
        self._per_chunk = chunk // wii.DATA
        self.cluster = cluster
        self.clusters = place.sectors
        self._known: dict[int, list[HashException]] = {}  # exceptions of the groups that were last begun

    def _start(self, span: int) -> tuple[Decoder, list[HashException]]:
        start, end = self._span(span)
        decoder, lists = _open(
            self._groups, self._first + span, end - start, self._per_chunk // wii.GROUP_CLUSTERS
        )
        found = list(hash_exceptions(self._groups.fmt, self.cluster + start // wii.DATA, lists))
        self._known = {**dict(list(self._known.items())[1 - KNOWN :]), span: found}
        return decoder, found

    def _decoder(self, span: int) -> Decoder:
        return self._start(span)[0]

    def clusters_at(self, first: int, end: int) -> Iterator[tuple[int, bytes, list[HashException]]]:
        """(cluster, data from there, exceptions) of each piece with clusters ``first`` to ``end``."""
        at, stop = max(first - self.cluster, 0), min(end - self.cluster, self.clusters)
        while at < stop:
            span = at // self._per_chunk
            upto = min(stop, (span + 1) * self._per_chunk)
            data = self.pread(at * wii.DATA, (upto - at) * wii.DATA)
            found = self._known.get(span)
            yield self.cluster + at, data, self._start(span)[1] if found is None else found
            at = upto
