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
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Final, NamedTuple
from zlib import crc32

from imgmount.codecs.lzma import MEMORY_LIMIT
from imgmount.containers.compressed.coded_blocks import CodedBlocksDevice
from imgmount.containers.compressed.xz_block import (
    CHECK_SIZES,
    DECODER,
    ChunkEnds,
    find_blocks,
    parse_header,
    variable_length,
)
from imgmount.core.block_decoder import CodedBlock, CodedBlockDecoder, feed, measure
from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.header import short
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
    is_cut: bool = False  # its last block is not whole


class XzDevice(CodedBlocksDevice):
    """What an .xz file holds.

    ``problem`` is why its index is not used; then its last block may not be whole.
    """

    fmt = "xz"
    error = lzma.LZMAError

    def __init__(self, file: BlockDevice, streams: list[Stream], cache: ReadCache, problem: str = "") -> None:
        self._file = file
        self._headers = array("Q")  # of each block's stream
        self._stored = array("Q")  # first byte of each block
        self._ends = array("Q")
        for stream in streams:
            places = list(accumulate(stream.stored, initial=stream.offset + HEADER_SIZE))
            self._headers.extend([stream.offset] * len(stream.stored))
            self._stored.extend(places[:-1])
            self._ends.extend(places[1:])
        self._check_size = CHECK_SIZES[file.pread(7, 1)[0] & 15]
        self._cut = len(self._stored) - 1 if streams[-1].is_cut else -1  # the block that is not whole
        sizes = [size for stream in streams for size in stream.decoded]
        if self._cut >= 0:
            sizes[-1], error = measure(CodedBlockDecoder(self.fmt, [self._block(self._cut)], self.error))
            problem = f"{error or problem}: {sum(sizes)} bytes can be decoded"
        self._problem = problem
        if problem:
            log.warning("%s", problem)
        self._facts = {
            "streams": str(len(streams)),
            "blocks": str(len(self._stored)),
            "check": _check_name(file),
        }
        starts = array("Q", accumulate(sizes, initial=0))
        size = starts.pop()
        super().__init__(size, starts, cache)

    def _block(self, index: int) -> CodedBlock:
        start, end = self._stored[index], self._ends[index]
        cut = index == self._cut
        check = end if cut else end - self._check_size
        first = start + parse_header(self._file, start)[0]
        return CodedBlock(
            _decompressor,
            self._feed(index, check),
            has_end=cut,
            damaged=cut,
            borders=ChunkEnds(self._file, first, check),
            check=b"" if cut else self._file.read_exactly(check, self._check_size, "xz"),
        )

    def _feed(self, index: int, end: int) -> Iterator[bytes]:
        yield self._file.read_exactly(self._headers[index], HEADER_SIZE, "xz")
        yield from feed(self._file, self._stored[index], end)

    def _memory_of(self, index: int) -> int:
        return DECODER + parse_header(self._file, self._stored[index])[1]

    def info(self) -> Mapping[str, str]:
        return self._facts

    def verify(self) -> Sequence[str]:
        return [self._problem] if self._problem else []


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
    """Where the stream that ends at or before ``end`` ends.

    Padding is zeros (2.2), and a footer does not end in one.
    """
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
        raise FormatError(
            "xz", "no sound stream footer ends the file: it is cut, or damaged there", offset=at
        )
    size = (backward + 1) * 4
    if size > MAX_INDEX:
        raise FormatError("xz", f"an index of {size} bytes is larger than {short(MAX_INDEX)}", offset=at)
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
        raise FormatError("xz", "no sound stream header where the index says", offset=start)
    return Stream(start, stored, decoded)


def _parse_index(index: bytes, offset: int) -> tuple[list[int], list[int]]:
    """The blocks' sizes in the file, padded to four, and decoded (4.3)."""
    count, at = variable_length(index, 1, offset)
    if index[0] or count > len(index) // 2:
        raise FormatError("xz", f"an index of {len(index)} bytes cannot list {count} blocks", offset=offset)
    stored, decoded = [], []
    for _ in range(count):
        unpadded, at = variable_length(index, at, offset)
        size, at = variable_length(index, at, offset)
        stored.append(unpadded + -unpadded % 4)
        decoded.append(size)
    if sum(decoded) >= 1 << 63 or len(index) - at > 3:
        raise FormatError("xz", "the index does not end where its size says", offset=offset)
    return stored, decoded


def open_xz(file: BlockDevice, context: Context) -> BlockDevice:
    """The image inside ``file``.

    Without a sound index, the blocks of the first stream as they follow each other.
    """
    try:
        return XzDevice(file, _streams(file), context.cache)
    except FormatError as exc:
        found = list(find_blocks(file, HEADER_SIZE, CHECK_SIZES[file.pread(7, 1)[0] & 15]))
        if not found:
            raise
        stream = Stream(0, [one.size for one in found], [one.decoded for one in found], not found[-1].whole)
        return XzDevice(
            file, [stream], context.cache, f"{exc}: {len(found)} blocks were found without the index"
        )


def probe(file: BlockDevice) -> Match:
    """Only likely: a container of another kind may begin with an xz stream."""
    header = file.read_exactly(0, HEADER_SIZE, "xz")
    return Match.LIKELY if crc32(header[6:8]) == int.from_bytes(header[8:], "little") else Match.NO


FORMAT: Final = ContainerFormat(
    name="xz",
    title="xz-compressed image",
    extensions=(".xz",),
    checks="CRC-32, CRC-64 or SHA-256 of each block",
    open=open_xz,
    probe=probe,
    packs_files=True,
    limits="a file of one large block is decoded from its start for each step backwards",
)
