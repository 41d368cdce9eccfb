""".xz files as disk images. Source: The .xz File Format 1.2.1.

The index at the end of each stream states the size of every block; blocks decode independently. A file
written by ``xz`` without ``--block-size`` or threads is one block. A file whose end is missing is decoded
once at open to learn what there is.
"""

from __future__ import annotations

import logging
import lzma
import struct
from array import array
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import accumulate
from typing import Final, NamedTuple
from zlib import crc32

from imgmount.codecs.lzma import MEMORY_LIMIT
from imgmount.containers.compressed.coded_blocks import CodedBlocksDevice
from imgmount.core.block_decoder import CodedBlock, CodedBlockDecoder, feed, measure
from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.errors import FormatError

log = logging.getLogger(__name__)

MAGIC: Final = b"\xfd7zXZ\0"
FOOTER_MAGIC: Final = b"YZ"
HEADER_SIZE: Final = 12  # of a stream: magic, flags, CRC32 of the flags
FOOTER: Final = struct.Struct("<II2s2s")  # CRC32, backward size, stream flags, magic
MAX_INDEX: Final = 16 << 20  # bytes of one stream's index: some four million blocks
MAX_BLOCKS: Final = 1 << 21
MAX_STREAMS: Final = 1 << 16
CHECKS: Final = {0: "none", 1: "CRC32", 4: "CRC64", 10: "SHA-256"}
_decompressor = partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT)


class Stream(NamedTuple):
    """One stream: where its header is, and of each block the size in the file and decoded."""

    offset: int
    stored: list[int]
    decoded: list[int]


class XzDevice(CodedBlocksDevice):
    """What an indexed .xz file holds."""

    fmt = "xz"
    error = lzma.LZMAError

    def __init__(self, file: BlockDevice, streams: list[Stream], cache: ReadCache) -> None:
        self._file = file
        self._headers = array("Q")  # of each block's stream
        self._stored = array("Q")  # first byte of each block
        self._ends = array("Q")
        for stream in streams:
            places = list(accumulate(stream.stored, initial=stream.offset + HEADER_SIZE))
            self._headers.extend([stream.offset] * len(stream.stored))
            self._stored.extend(places[:-1])
            self._ends.extend(places[1:])
        starts = array("Q", accumulate((size for stream in streams for size in stream.decoded), initial=0))
        size = starts.pop()
        self._facts = {
            "streams": str(len(streams)),
            "blocks": str(len(self._stored)),
            "check": _check_name(file),
        }
        super().__init__(size, starts, cache)

    def _block(self, index: int) -> CodedBlock:
        return CodedBlock(_decompressor, self._feed(index), has_end=False)

    def _feed(self, index: int) -> Iterator[bytes]:
        yield self._file.read_exactly(self._headers[index], HEADER_SIZE, "xz")
        yield from feed(self._file, self._stored[index], self._ends[index])

    def info(self) -> Mapping[str, str]:
        return self._facts


class UnindexedXzDevice(CodedBlocksDevice):
    """What decodes of an .xz file whose end is missing."""

    fmt = "xz"
    error = lzma.LZMAError

    def __init__(self, file: BlockDevice, reason: FormatError, cache: ReadCache) -> None:
        self._file = file
        size, error = measure(CodedBlockDecoder(self.fmt, [self._block(0)], self.error))
        self._problem = f"{error or reason}: {size} bytes of the first stream decode"
        log.warning("%s", self._problem)
        super().__init__(size, array("Q", [0]), cache)

    def _block(self, index: int) -> CodedBlock:
        return CodedBlock(_decompressor, feed(self._file, index, self._file.size), damaged=True)

    def verify(self) -> Iterator[str]:
        yield self._problem


def _check_name(file: BlockDevice) -> str:
    check = file.pread(7, 1)[0] & 15
    return CHECKS.get(check, f"type {check}")


def _streams(file: BlockDevice) -> list[Stream]:
    """The streams from first to last, found from the end. Raises ``FormatError``."""
    streams: list[Stream] = []
    end = file.size
    blocks = 0
    while end:
        end = _without_padding(file, end)
        stream = _stream_before(file, end)
        blocks += len(stream.stored)
        if blocks > MAX_BLOCKS or len(streams) >= MAX_STREAMS:
            raise FormatError("xz", f"more than {MAX_BLOCKS} blocks or {MAX_STREAMS} streams")
        streams.append(stream)
        end = stream.offset
    return streams[::-1]


def _without_padding(file: BlockDevice, end: int) -> int:
    """Where the stream that ends at or before ``end`` ends: padding is zeros (2.2), and a footer does not end in one."""
    while end:
        start = max(0, end - (64 << 10))
        kept = len(file.pread(start, end - start).rstrip(b"\0"))
        if kept:
            return start + kept
        end = start
    raise FormatError("xz", "only zeros where a stream should be", offset=0)


def _stream_before(file: BlockDevice, end: int) -> Stream:
    at = end - FOOTER.size
    crc, backward, flags, magic = FOOTER.unpack(file.read_exactly(at, FOOTER.size, "xz"))
    if magic != FOOTER_MAGIC or crc != crc32(struct.pack("<I2s", backward, flags)):
        raise FormatError("xz", "no stream footer", offset=at)
    size = (backward + 1) * 4
    if size > MAX_INDEX:
        raise FormatError("xz", f"an index of {size} bytes", offset=at)
    index = file.read_exactly(at - size, size, "xz")
    if crc32(index[:-4]) != int.from_bytes(index[-4:], "little"):
        raise FormatError("xz", "the index disagrees with its checksum", offset=at - size)
    stored, decoded = _parse_index(index[:-4], at - size)
    start = at - size - sum(stored) - HEADER_SIZE
    header = file.read_exactly(start, HEADER_SIZE, "xz")
    if (
        not header.startswith(MAGIC)
        or header[6:8] != flags
        or header[8:] != crc32(flags).to_bytes(4, "little")
    ):
        raise FormatError("xz", "no stream header where the index says", offset=start)
    return Stream(start, stored, decoded)


def _parse_index(index: bytes, offset: int) -> tuple[list[int], list[int]]:
    """The blocks' sizes in the file, padded to four, and decoded (4.3)."""
    count, at = _variable_length(index, 1, offset)
    if index[0] or count > len(index) // 2:
        raise FormatError("xz", f"an index of {count} blocks", offset=offset)
    stored, decoded = [], []
    for _ in range(count):
        unpadded, at = _variable_length(index, at, offset)
        size, at = _variable_length(index, at, offset)
        stored.append(unpadded + -unpadded % 4)
        decoded.append(size)
    if sum(decoded) >= 1 << 63 or len(index) - at > 3:
        raise FormatError("xz", "the index is not what its length says", offset=offset)
    return stored, decoded


def _variable_length(data: bytes, at: int, offset: int) -> tuple[int, int]:
    """The multibyte integer at ``at`` (1.2), and where it ends."""
    value = 0
    for shift, byte in enumerate(data[at : at + 9]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    raise FormatError("xz", "a number of the index does not end", offset=offset + at)


def open_xz(file: BlockDevice, context: Context) -> BlockDevice:
    """The image inside ``file``."""
    try:
        streams = _streams(file)
    except FormatError as exc:
        return UnindexedXzDevice(file, exc, context.cache)
    return XzDevice(file, streams, context.cache)


def probe(file: BlockDevice) -> Match:
    """Only likely: a container of another kind may begin with an xz stream."""
    header = file.read_exactly(0, HEADER_SIZE, "xz")
    return Match.LIKELY if crc32(header[6:8]) == int.from_bytes(header[8:], "little") else Match.NO


FORMAT: Final = ContainerFormat(
    name="xz",
    title="xz-compressed image",
    open=open_xz,
    probe=probe,
    limits="a file of one large block is decoded from its start for each step backwards",
)
