"""PSP discs in compressed blocks (CISO, "CSO"), versions 1 and 2.

GameCube images with the same magic are another format.

Little endian: a header of 24 bytes, an index of one u32 a block and one more for the end, the blocks. Source:
README_CSO.md of maxcso, which defined version 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Final

from construct import Bytes, Int8ul, Int32ul, Int64ul, Padding, Struct

from imgmount.codecs import lz4
from imgmount.codecs.deflate import inflate, inflate_all
from imgmount.codecs.pieces import blank
from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice, GroupedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.header import parse_header, within
from imgmount.errors import FormatError, UnsupportedError

_HEADER = Struct(             # offset
    "magic" / Bytes(4),       # 0x00
    "header_size" / Int32ul,  # 0x04  wrong in many files
    "size" / Int64ul,         # 0x08  of the disc
    "block_size" / Int32ul,   # 0x10
    "version" / Int8ul,       # 0x14
    "shift" / Int8ul,         # 0x15  of index entries
    Padding(2),               # 0x16
)  # fmt: skip
HEADER_SIZE: Final = 24
MIN_BLOCK: Final = 512
MAX_BLOCK: Final = 1 << 22
MAX_BLOCKS: Final = 1 << 24  # an index of 64 MiB, a disc of 32 GiB
MAX_SHIFT: Final = 16
LZ4_VERSION: Final = 2
FLAG: Final = 1 << 31  # of an index entry: stored, or in version 2 LZ4

# the other CISO has its block size at 4, then a byte 0 or 1 for each block
GAMECUBE_MIN_BLOCK: Final = 0x8000
GAMECUBE_MAP_END: Final = 0x8000


class IndexedBlocks(GroupedDevice):
    """A disc of equal blocks whose index tells where each begins; it ends where the next one begins."""

    fmt = "cso"
    versions: Mapping[int, str] = {0: "deflate", 1: "deflate", 2: "deflate and LZ4"}

    def __init__(self, file: BlockDevice, context: Context) -> None:
        header = parse_header(_HEADER, file, 0, self.fmt, "the header")
        self._version = header.version
        self._shift = header.shift
        if header.version not in self.versions:
            raise UnsupportedError(
                f"{self.fmt}: version {header.version} is not {' or '.join(map(str, self.versions))}"
            )
        within(self.fmt, "block size", header.block_size, MIN_BLOCK, MAX_BLOCK, offset=0x10)
        within(self.fmt, "shift of index entries", header.shift, 0, MAX_SHIFT, offset=0x15)
        count = -(-header.size // header.block_size)
        within(self.fmt, "number of blocks", count, 1, MAX_BLOCKS, offset=8)
        self._file = file
        self._index = table(file.read_exactly(HEADER_SIZE, 4 * (count + 1), self.fmt), 4, "little")
        super().__init__(header.size, header.block_size, context.cache)

    def _read_units(self, first: int, count: int) -> Content:
        entries = self._index[first : first + count + 1]
        starts = [(entry & ~FLAG) << self._shift for entry in entries]
        base = starts[0]
        span = starts[-1] - base
        if span > count * (2 * self.unit + (1 << self._shift)) or starts != sorted(starts):
            raise FormatError(
                self.fmt,
                f"block {first} ends at {starts[1]:#x}, and begins at {starts[0]:#x} or is too long",
                offset=HEADER_SIZE + 4 * first,
            )
        stored = self._file.pread(base, span)  # the end of the last block may be padding that was cut
        size = min(count * self.unit, self.size - first * self.unit)
        spans = [(start - base, end - base) for start, end in pairwise(starts)]
        with suppress(FormatError):  # this takes no padding, and does not say which block is damaged
            return self._at_once(entries, spans, stored, size)
        blocks = []
        for number, (start, end) in enumerate(spans):
            length = min(self.unit, size - number * self.unit)
            try:
                blocks.append(self._block(entries[number] & FLAG, stored[start:end], length, end - start))
            except FormatError as exc:
                raise FormatError(
                    self.fmt, f"block {first + number}: {exc.reason}", offset=base + start
                ) from exc
        return b"".join(blocks)

    def _at_once(
        self, entries: Sequence[int], spans: Sequence[tuple[int, int]], stored: bytes, size: int
    ) -> Content:
        """The ``size`` bytes of blocks that lie in ``stored`` where ``spans`` say. Raises ``FormatError``."""
        out, unit = blank(size), self.unit
        deflated = []
        for entry, (start, end), at in zip(entries, spans, range(0, size, unit), strict=False):
            flag, length = entry & FLAG, min(unit, size - at)
            if self._is_deflated(flag) and not self._is_plain(flag, end - start):
                deflated.append((start, end - start, at, length))
            else:
                out[at : at + length] = self._block(flag, stored[start:end], length, end - start)
        inflate_all(stored, out, deflated)
        return out

    def _block(self, flag: int, data: bytes, size: int, span: int) -> Content:
        """One block decoded; ``flag`` is its index entry's.

        It is ``span`` bytes long, of which ``data`` may lack the end.
        """
        if self._is_plain(flag, span):
            return self._plain(data, size)
        decode = inflate if self._is_deflated(flag) else lz4.decode
        if size == self.unit:
            return decode(data, size)
        try:
            return decode(data, size)
        except FormatError:
            return decode(data, self.unit)[:size]  # some writers fill up the last block

    def _is_plain(self, flag: int, span: int) -> bool:
        return bool(flag) if self._version < LZ4_VERSION else span >= self.unit

    def _is_deflated(self, flag: int, /) -> bool:
        """What a block is that is not plain: deflate, or else LZ4."""
        return not flag

    def _plain(self, data: bytes, size: int) -> bytes:
        if len(data) < size:
            raise FormatError(self.fmt, f"{len(data)} bytes are stored, not {size}")
        return data[:size]

    def info(self) -> Mapping[str, str]:
        coding = self.versions[self._version]
        return {
            "blocks": f"{len(self._index) - 1} of {self.unit} bytes, {coding}",
            "version": str(self._version),
        }


def is_gamecube(device: BlockDevice) -> bool:
    """Whether this is the CISO of GameCube and Wii discs."""
    block = int.from_bytes(device.pread(4, 4), "little")
    return (
        block >= GAMECUBE_MIN_BLOCK
        and block & (block - 1) == 0
        and max(device.pread(8, GAMECUBE_MAP_END - 8), default=2) < 2
    )


def probe(device: BlockDevice) -> Match:
    """Not the other CISO, and a block size that can be."""
    block = int.from_bytes(device.pread(0x10, 4), "little")
    return Match.NO if is_gamecube(device) or not MIN_BLOCK <= block <= MAX_BLOCK else Match.CERTAIN


FORMAT: Final = ContainerFormat(
    name="cso",
    title="PSP disc image, compressed",
    extensions=(".cso", ".ciso"),
    open=IndexedBlocks,
    probe=probe,
)
