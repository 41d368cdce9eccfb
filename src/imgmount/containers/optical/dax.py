"""PSP discs in blocks of 8 KiB (DAX), as the drivers of PSP firmwares read them.

There is no specification.

Blocks are zlib streams, or deflate without a header in files of some writers.

Little endian: a header of 32 bytes, a u32 offset a block, a u16 length a block, and from version 1 on the
(first, count) runs of blocks that are stored as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from construct import Const, Int32ul, Padding, Struct

from imgmount.codecs.deflate import inflate
from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice, GroupedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parse_header, within
from imgmount.errors import FormatError, UnsupportedError

_HEADER = Struct(              # offset
    "magic" / Const(b"DAX\0"),  # 0x00
    "size" / Int32ul,          # 0x04  of the disc
    "version" / Int32ul,       # 0x08
    "areas" / Int32ul,         # 0x0C  that are not compressed
    Padding(16),               # 0x10
)  # fmt: skip
HEADER_SIZE: Final = 32
BLOCK: Final = 0x2000
MAX_AREAS: Final = 192
MAX_VERSION: Final = 1


class DaxDevice(GroupedDevice):
    """The disc in a DAX file."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        header = parse_header(_HEADER, file, 0, "dax", "the header")
        if header.version > MAX_VERSION:
            raise UnsupportedError(f"dax: version {header.version} is not 0 or {MAX_VERSION}")
        areas = header.areas if header.version else 0
        within("dax", "number of stored areas", areas, 0, MAX_AREAS, offset=0x0C)
        within("dax", "size of the disc", header.size, 1, 0xFFFF_FFFF, offset=4)
        count = -(-header.size // BLOCK)
        self._file = file
        self._offsets = table(file.read_exactly(HEADER_SIZE, 4 * count, "dax"), 4, "little")
        self._lengths = table(file.read_exactly(HEADER_SIZE + 4 * count, 2 * count, "dax"), 2, "little")
        runs = table(file.read_exactly(HEADER_SIZE + 6 * count, 8 * areas, "dax"), 4, "little")
        self._stored = bytearray(count)
        # the wrapper of deflate is the same in all blocks of a file: the first that is decoded shows which
        self._wrappers: tuple[Literal["zlib", "raw"], ...] = ("zlib", "raw")
        for first, length in zip(runs[::2], runs[1::2], strict=True):
            end = min(first + length, count)
            self._stored[first:end] = b"\1" * max(0, end - first)
        super().__init__(header.size, BLOCK, context.cache)

    def _read_units(self, first: int, count: int) -> bytes:
        return b"".join([self._block(number) for number in range(first, first + count)])

    def _block(self, number: int) -> Content:
        size = min(BLOCK, self.size - number * BLOCK)
        offset = self._offsets[number]
        if self._stored[number]:
            return self._file.read_exactly(offset, size, "dax")
        data = self._file.read_exactly(offset, self._lengths[number], "dax")
        problem: FormatError | None = None
        for wrapper in self._wrappers:
            for length in dict.fromkeys((size, BLOCK)):  # the last block may have been filled up
                try:
                    decoded = inflate(data, length, wrapper=wrapper)[:size]
                except FormatError as exc:
                    problem = problem or exc
                else:
                    self._wrappers = (wrapper,)
                    return decoded
        assert problem is not None
        raise FormatError("dax", f"block {number}: {problem.reason}", offset=offset)

    def info(self) -> Mapping[str, str]:
        return {"blocks": f"{len(self._offsets)} of {BLOCK} bytes, {sum(self._stored)} not compressed"}


FORMAT: Final = ContainerFormat(name="dax", title="PSP disc image, DAX", extensions=(".dax",), open=DaxDevice)
