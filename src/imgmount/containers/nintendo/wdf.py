"""Wii disc files (WDF), versions 1 and 2: discs without their zeros, of any size.

Layout, big endian: a header, the data, and where the header says, the magic again with a table of the pieces:
v1 {u32 ignored, u64 place in the disc, u64 place in the file, u64 size}, v2 without the first field. Source:
Wiimms ISO Tools, "WDF file format".
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from struct import Struct as Record
from typing import Final

from construct import Const, Int32ub, Int64ub, Padding, Struct

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parse_header, within
from imgmount.errors import FormatError, UnsupportedError

MAGIC: Final = b"WII\1DISC"
_HEADER = Struct(  # offset
    "magic" / Const(MAGIC),  # 0x00
    "version" / Int32ub,  # 0x08
    "head_size" / Int32ub,  # 0x0C
    Padding(8),  # 0x10  alignment, compatible version; in version 1 file size and split data
    "size" / Int64ub,  # 0x18
    "data_size" / Int64ub,  # 0x20
    Padding(4),  # 0x28
    "chunks" / Int32ub,  # 0x2C
    "chunks_at" / Int64ub,  # 0x30
)
HEADER_SIZE: Final = 0x38
_CHUNKS: Final = {1: Record(">4xQQQ"), 2: Record(">QQQ")}
MAX_CHUNKS: Final = 1 << 18
MAX_DISC: Final = 1 << 40


class WdfDevice(MappedDevice):
    """The disc inside a WDF file."""

    def __init__(self, file: BlockDevice, _: Context) -> None:
        header = parse_header(_HEADER, file, 0, "wdf", "the header")
        if header.version not in _CHUNKS:
            raise UnsupportedError(f"wdf: version {header.version} (1 and 2 are read)")
        within("wdf", "disc size", header.size, 0, MAX_DISC, offset=0x18)
        within("wdf", "number of pieces", header.chunks, 0, MAX_CHUNKS, offset=0x2C)
        record = _CHUNKS[header.version]
        raw = file.read_exactly(header.chunks_at, len(MAGIC) + header.chunks * record.size, "wdf")
        if not raw.startswith(MAGIC):
            raise FormatError(
                "wdf", "the table of pieces does not begin with its magic", offset=header.chunks_at
            )
        self._file = file
        self._version = header.version
        self.size = header.size
        self._starts = array("Q")
        self._pieces: list[tuple[int, int]] = []  # place in the file, size
        end = 0
        for start, place, size in record.iter_unpack(raw[len(MAGIC) :]):
            if start < end or start + size > self.size:
                reason = f"a piece of {size} bytes at {start:#x} of the disc overlaps another or ends past it"
                raise FormatError("wdf", reason, offset=header.chunks_at)
            end = start + size
            self._starts.append(start)
            self._pieces.append((place, size))

    def _map(self, offset: int) -> Extent:
        index = bisect_right(self._starts, offset) - 1
        if index >= 0:
            place, size = self._pieces[index]
            skip = offset - self._starts[index]
            if skip < size:
                return Extent(size - skip, self._file, place + skip)
        following = self._starts[index + 1] if index + 1 < len(self._starts) else self.size
        return Extent(following - offset)

    def info(self) -> Mapping[str, str]:
        return {"version": str(self._version), "pieces": str(len(self._pieces))}


FORMAT: Final = ContainerFormat(name="wdf", title="Wii disc file", extensions=(".wdf",), open=WdfDevice)
