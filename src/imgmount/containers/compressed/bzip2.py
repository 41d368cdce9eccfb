"""bzip2 files as disk images. Source: the format as bzip2 1.0.8 writes it; there is no specification.

A stream is a run of blocks of up to 900,000 bytes, each of which begins with a 48-bit magic at any bit and
decodes on its own once it is given a stream's header and end. The decoded sizes are stored nowhere: all
blocks are decoded once at open, on all cores. The place of what follows a damaged block is unknown: from
there on the image cannot be read, and its size is an estimate.
"""

from __future__ import annotations

import bz2
import logging
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Final, NamedTuple

from imgmount.containers.compressed.coded_blocks import CodedBlocksDevice
from imgmount.core.block_decoder import CodedBlock, CodedBlockDecoder, measure
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.errors import FormatError

log = logging.getLogger(__name__)

BLOCK_MAGIC: Final = 0x314159265359
END_MAGIC: Final = 0x177245385090
MAGIC_BITS: Final = 48
CRC_BITS: Final = 32
HEADER: Final = b"BZh"  # then the level, "1" to "9"
HEADER_BITS: Final = 32
BLOCK_UNIT: Final = 100_000  # bytes, times the level: in a full block
MAX_BLOCK_BITS: Final = 8 * (4 << 20)  # 900,000 symbols of at most 20 bits, and the tables
MAX_BLOCKS: Final = 1 << 20
MAX_FALSE: Final = 2  # false magics in one block that are passed over; each has a chance of 1 in 2**40
SEARCHED: Final = 1 << 20  # bytes of the file searched at a time


class Mark(NamedTuple):
    """A magic found at a bit of the file: where a block begins, or where a stream ends."""

    bit: int
    is_end: bool


class Bzip2Device(CodedBlocksDevice):
    """What a bzip2 file holds."""

    fmt = "bzip2"
    error = OSError

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._file = file
        self._problems: list[str] = []
        self._begins = array("Q")  # bits
        self._ends = array("Q")
        self._streams = 0
        self._lost = 0  # bytes from the first damaged block on, about
        starts = array("Q")
        size = 0
        for begin, end, decoded in self._blocks():
            self._begins.append(begin)
            self._ends.append(end)
            starts.append(size)
            size += decoded
        if self._lost:
            starts.append(size)
            self._problems[-1] += f": from {size:#x} on nothing can be placed, about {self._lost} bytes"
            size += self._lost
        for problem in self._problems:
            log.warning("%s", problem)
        super().__init__(size, starts, context.cache)

    def _blocks(self) -> Iterator[tuple[int, int, int]]:
        """(first bit, last bit, decoded size) of each block, as far as the streams can be followed."""
        marks = list(_marks(self._file))
        sizes = self._guess_sizes(marks)
        wanted, combined = HEADER_BITS, 0
        index = 0
        while index < len(marks):
            mark = marks[index]
            if mark.bit < wanted:  # inside a block that has been decoded
                index += 1
            elif mark.bit > wanted:
                self._problems.append(f"bzip2: neither a block nor an end begins at {wanted // 8:#x}")
                self._lost = self._estimate(
                    [Mark(wanted, is_end=False), *marks[index:]], [None, *sizes[index:]]
                )
                return
            elif mark.is_end:
                self._streams += 1
                following = self._next_stream(mark.bit, combined)
                if following is None:
                    return
                wanted, combined = following, 0
                index += 1
            else:
                decoded, end = self._measure_block(marks, index, sizes[index])
                if decoded is None:
                    self._problems.append(f"bzip2: the block at {wanted // 8:#x} cannot be decoded")
                    self._lost = self._estimate(marks[index:], sizes[index:])
                    return
                yield mark.bit, end, decoded
                combined = (combined << 1 | combined >> 31) & 0xFFFF_FFFF ^ _bits(
                    self._file, mark.bit + MAGIC_BITS, CRC_BITS
                )
                wanted = end
        self._problems.append("bzip2: the file is truncated")

    def _estimate(self, marks: list[Mark], sizes: list[int | None]) -> int:
        """About how many bytes the blocks at ``marks`` hold; those that do not decode count as full ones."""
        full = BLOCK_UNIT * int(self._file.pread(len(HEADER), 1))
        pairs = zip(marks, sizes, strict=False)
        return sum(full if size is None else size for mark, size in pairs if not mark.is_end) or full

    def _guess_sizes(self, marks: list[Mark]) -> list[int | None]:
        """What each mark's block decodes to if it ends at the next mark; None for what does not decode."""

        def size(pair: tuple[Mark, Mark]) -> int | None:
            begin, end = pair
            return None if begin.is_end else self._decoded_size(begin.bit, end.bit)

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # the threads have ended before the process forks
            return [*pool.map(size, pairwise(marks)), None]

    def _measure_block(self, marks: list[Mark], index: int, guess: int | None) -> tuple[int | None, int]:
        begin = marks[index].bit
        if guess is not None:
            return guess, marks[index + 1].bit
        for end in marks[index + 2 : index + 2 + MAX_FALSE]:
            if (decoded := self._decoded_size(begin, end.bit)) is not None:
                return decoded, end.bit
        return None, begin

    def _decoded_size(self, begin: int, end: int) -> int | None:
        if not MAGIC_BITS + CRC_BITS < end - begin <= MAX_BLOCK_BITS:
            return None
        decoder = CodedBlockDecoder(
            self.fmt,
            [CodedBlock(bz2.BZ2Decompressor, [_one_block(self._file, begin, end)], borders=())],
            self.error,
        )
        size, error = measure(decoder)
        return None if error else size

    def _next_stream(self, end: int, combined: int) -> int | None:
        """Check the CRC of the stream whose end magic is at bit ``end``.

        Returns where the next stream's first block should be.
        """
        if _bits(self._file, end + MAGIC_BITS, CRC_BITS) != combined:
            self._problems.append(
                f"bzip2: stream {self._streams} disagrees with its checksum, at {end // 8:#x}"
            )
        offset = -(-(end + MAGIC_BITS + CRC_BITS) // 8)
        header = self._file.pread(offset, 4)
        if _is_header(header):
            return offset * 8 + HEADER_BITS
        if header:
            self._problems.append(
                f"bzip2: {self._file.size - offset} bytes after the last stream are ignored, at {offset:#x}"
            )
        return None

    def _block(self, index: int) -> CodedBlock:
        if index == len(self._begins):
            raise FormatError("bzip2", self._problems[-1].removeprefix("bzip2: "))
        return CodedBlock(
            bz2.BZ2Decompressor, [_one_block(self._file, self._begins[index], self._ends[index])], borders=()
        )

    def info(self) -> Mapping[str, str]:
        return {"streams": str(self._streams), "blocks": str(len(self._begins))}

    def verify(self) -> Sequence[str]:
        return self._problems


def _is_header(data: bytes) -> bool:
    return data[:3] == HEADER and b"1" <= data[3:4] <= b"9"


def _bits(file: BlockDevice, bit: int, count: int) -> int:
    """``count`` bits of the file as a number; those past its end are 0."""
    first, last = bit // 8, -(-(bit + count) // 8)
    value = int.from_bytes(file.pread(first, last - first).ljust(last - first, b"\0"), "big")
    return value >> (8 * last - bit - count) & (1 << count) - 1


def _one_block(file: BlockDevice, begin: int, end: int) -> bytes:
    """A stream of the block between two bits alone. Its combined CRC is the block's own."""
    block = _bits(file, begin, end - begin)
    crc = block >> (end - begin - MAGIC_BITS - CRC_BITS) & 0xFFFF_FFFF
    stream = (block << MAGIC_BITS | END_MAGIC) << CRC_BITS | crc
    length = end - begin + MAGIC_BITS + CRC_BITS
    return HEADER + b"9" + (stream << -length % 8).to_bytes(-(-length // 8), "big")


def _marks(file: BlockDevice) -> Iterator[Mark]:
    """Every magic in the file, at any bit, in order."""
    count = 0
    for base in range(0, file.size, SEARCHED):
        # a magic across the border: seven bytes, the first of them in this portion
        data = file.pread(base, SEARCHED + 6)
        found = [
            Mark(8 * base + bit, is_end) for is_end in (False, True) for bit in _search(data, is_end=is_end)
        ]
        for mark in sorted(found):
            if mark.bit < 8 * (base + SEARCHED):
                count += 1
                if count > MAX_BLOCKS:
                    raise FormatError(
                        "bzip2", f"more than {MAX_BLOCKS} blocks: no more are read", offset=mark.bit // 8
                    )
                yield mark


def _search(data: bytes, *, is_end: bool) -> Iterator[int]:
    magic = END_MAGIC if is_end else BLOCK_MAGIC
    for shift in range(8):
        pattern = (magic << 8 - shift).to_bytes(7, "big")  # the magic, ``shift`` bits into seven bytes
        core = pattern[1:6]
        at = data.find(core, 1)
        while at >= 0:
            window = int.from_bytes(data[at - 1 : at + 6].ljust(7, b"\0"), "big")
            if window >> (8 - shift) & (1 << MAGIC_BITS) - 1 == magic:
                yield 8 * (at - 1) + shift
            at = data.find(core, at + 1)


def probe(file: BlockDevice) -> Match:
    """Only likely: a container of another kind may begin with a bzip2 stream."""
    first = int.from_bytes(file.pread(4, 6), "big")
    return Match.LIKELY if _is_header(file.pread(0, 4)) and first in (BLOCK_MAGIC, END_MAGIC) else Match.NO


FORMAT: Final = ContainerFormat(
    name="bzip2",
    title="bzip2-compressed image",
    extensions=(".bz2",),
    checks="CRC-32 of each block and of the stream",
    open=Bzip2Device,
    probe=probe,
    packs_files=True,
    limits="decoded once at open to learn the blocks' sizes",
)
