"""Files that HFS+ and APFS compress: the attribute ``com.apple.decmpfs``, and for large ones the fork.

The attribute begins with "fpmc", u32 type, u64 size (LE); what follows is the content of types 1, 3, 7, 9, 11
and 13. The others keep it in the resource fork in chunks of 64 KiB. A chunk that coding would make longer is
stored behind a marker byte.

Source: xnu ``bsd/sys/decmpfs.h`` and ``bsd/kern/decmpfs.c`` for the header; the forks as libfshfs and
libfsapfs document them ("Compressed data" in their format descriptions), checked with files that macOS wrote.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple

from imgmount.codecs import lzbitmap, lzfse
from imgmount.codecs.deflate import inflate
from imgmount.core.cache import Content, ReadCache
from imgmount.core.device import BlockDevice, ChunkedDevice, GroupedDevice
from imgmount.core.fields import table
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import FormatError, UnsupportedError

NAME: Final = "decmpfs"
ATTRIBUTE: Final = "com.apple.decmpfs"
CHUNK: Final = 0x10000
MAX_SIZE: Final = 1 << 62
MAX_INLINE: Final = 1 << 20  # decoded; Apple's writers put no more than one chunk there
MAX_CHUNKS: Final = 1 << 22  # 256 GiB
MAX_CODED: Final = 2 * CHUNK  # bytes of a coded chunk
_HEADER: Final = Struct("<4sIQ")
_PAIRS_AT: Final = 4  # in the data of a zlib fork: behind the number of chunks

_Decode = Callable[[bytes, int], Content]


class _Codec(NamedTuple):
    """How content is coded. Behind a first byte that is ``marker`` under ``mask`` it is stored."""

    decode: _Decode
    mask: int
    marker: int


def _stored(data: bytes, _: int) -> Content:
    return data


def _zlib(data: bytes, size: int) -> Content:
    return inflate(data, size, wrapper="zlib")


_PLAIN: Final = _Codec(_stored, 0, 1)  # without a marker
_ZLIB: Final = _Codec(_zlib, 0x0F, 0x0F)
_LZVN: Final = _Codec(lzfse.decode_lzvn, 0xFF, 0x06)
_MARKED: Final = _Codec(_stored, 0xFF, 0xCC)
_LZFSE: Final = _Codec(lzfse.decode, 0xFF, 0xFF)
_LZBITMAP: Final = _Codec(lzbitmap.decode, 0x0F, 0x0F)

INLINE: Final = {1: _PLAIN, 3: _ZLIB, 7: _LZVN, 9: _MARKED, 11: _LZFSE, 13: _LZBITMAP}
IN_FORK: Final = {4: _ZLIB, 8: _LZVN, 10: _MARKED, 12: _LZFSE, 14: _LZBITMAP}
ELSEWHERE: Final = {
    5: "the content is in a generation store, not in the file",
    0x8000_0001: "the content is not on the volume (a dataless file)",
}


class Header(NamedTuple):
    """The attribute: its type, the size of the decoded file, and what follows the header."""

    kind: int
    size: int
    data: bytes

    @property
    def uses_fork(self) -> bool:
        """Whether the resource fork holds the content, and is no resource fork otherwise."""
        return self.kind in IN_FORK


def parse(raw: bytes) -> Header:
    """The value of the attribute. Raises ``FormatError``."""
    if len(raw) < _HEADER.size:
        raise FormatError(NAME, f"an attribute of {len(raw)} bytes, {_HEADER.size} or more expected")
    magic, kind, size = _HEADER.unpack_from(raw)
    if magic != b"fpmc":
        raise FormatError(NAME, f"the attribute begins with {magic!r}, b'fpmc' expected")
    if size > MAX_SIZE:
        raise FormatError(NAME, f"a file of {size} bytes")
    return Header(kind, size, raw[_HEADER.size :])


def content(header: Header, fork: BlockDevice | None, cache: ReadCache) -> BlockDevice:
    """The decoded file. ``fork`` is the resource fork, if there is one.

    Sizes are compared with what is there before anything is allocated. Raises ``FormatError``,
    ``UnsupportedError``.
    """
    if header.kind in INLINE:
        return _inline(header, cache)
    if header.kind in IN_FORK:
        if header.size == 0:
            return MemoryDevice(b"")
        if fork is None:
            raise FormatError(NAME, f"type {header.kind} without the resource fork that it needs")
        return ForkContent(header, fork, cache)
    reason = ELSEWHERE.get(header.kind, "not a known way to compress files")
    raise UnsupportedError(f"{NAME}: type {header.kind:#x}: {reason}")


def _inline(header: Header, cache: ReadCache) -> BlockDevice:
    if header.size > MAX_INLINE:
        raise FormatError(NAME, f"{header.size} bytes inside an attribute, {MAX_INLINE} at most expected")
    if header.size == 0:
        return MemoryDevice(b"")
    if header.kind == 1:
        return MemoryDevice(bytes(_decoded(_PLAIN, header.data, header.size)))
    return InlineContent(header, cache)


def _decoded(codec: _Codec, data: bytes, size: int) -> Content:
    """``size`` bytes of one chunk. Raises ``FormatError``."""
    if data and data[0] & codec.mask == codec.marker:
        data, codec = data[1:], _PLAIN
    chunk = codec.decode(data, size)
    if len(chunk) != size:
        raise FormatError(NAME, f"a chunk of {len(chunk)} bytes, {size} expected")
    return chunk


class InlineContent(ChunkedDevice):
    """A small file that its attribute holds, decoded when it is read."""

    def __init__(self, header: Header, cache: ReadCache) -> None:
        super().__init__(header.size, header.size, cache)
        self._header = header

    def _read_chunk(self, index: int) -> Content:  # noqa: ARG002
        return _decoded(INLINE[self._header.kind], self._header.data, self._header.size)


class ForkContent(GroupedDevice):
    """A file whose chunks are in its resource fork; several are decoded at a time."""

    def __init__(self, header: Header, fork: BlockDevice, cache: ReadCache) -> None:
        count = -(-header.size // CHUNK)
        if count > MAX_CHUNKS:
            raise FormatError(NAME, f"a file of {header.size} bytes, {MAX_CHUNKS * CHUNK} at most expected")
        self._codec = IN_FORK[header.kind]
        self._is_zlib = header.kind == 4
        self._data, self._words = _zlib_table(fork, count) if self._is_zlib else _table(fork, count)
        super().__init__(header.size, CHUNK, cache)

    def _span(self, index: int) -> tuple[int, int]:
        """Where chunk ``index`` is in its data: (offset, bytes). Raises ``FormatError``."""
        words = self._words
        if self._is_zlib:
            start, size = words[2 * index], words[2 * index + 1]
        else:
            start, size = words[index], words[index + 1] - words[index]
        if not 0 < size <= MAX_CODED or start + size > self._data.size:
            raise FormatError(NAME, f"chunk {index}: {size} bytes at {start:#x} of {self._data.size:#x}")
        return start, size

    def _read_units(self, first: int, count: int) -> Content:
        return b"".join([self._unit(index) for index in range(first, first + count)])

    def _unit(self, index: int) -> Content:
        start, size = self._span(index)
        return _decoded(self._codec, self._data.pread(start, size), self.unit_size(index))


def _table(fork: BlockDevice, count: int) -> tuple[BlockDevice, array[int]]:
    """The offsets of ``count`` chunks and of their end, in the fork: u32 LE each. Raises ``FormatError``."""
    size = 4 * (count + 1)
    words = table(fork.read_exactly(0, size, NAME), 4, "little")
    if words[0] != size:
        raise FormatError(NAME, f"the first of {count} chunks is at {words[0]:#x}, {size:#x} expected")
    return fork, words


def _zlib_table(fork: BlockDevice, count: int) -> tuple[BlockDevice, array[int]]:
    """(the data of the one resource, (offset in it, bytes) of each chunk). Raises ``FormatError``.

    A true resource fork: its header is BE and names the place of the data. Their u32 BE length is followed by
    what the offsets count from: the number of chunks and the pairs, u32 LE.
    """
    start = int.from_bytes(fork.read_exactly(0, 4, NAME), "big")
    length = int.from_bytes(fork.read_exactly(start, 4, NAME), "big")
    if length > fork.size - start - 4:
        raise FormatError(NAME, f"a resource of {length} bytes in a fork of {fork.size}", offset=start)
    data = Slice(fork, start + 4, length)
    told = int.from_bytes(data.read_exactly(0, _PAIRS_AT, NAME), "little")
    if told != count:
        raise FormatError(NAME, f"{told} chunks for a file that has {count}", offset=start + 4)
    return data, table(data.read_exactly(_PAIRS_AT, 8 * count, NAME), 4, "little")
