"""Android sparse images: runs of data, of a repeated word, and of nothing. "Don't care" reads as zeros, as simg2img writes it.

Source: AOSP, ``system/core/libsparse/sparse_format.h``.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final

from construct import Const, ConstructError, Int16ul, Int32ul, Struct

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.read_through import read_through
from imgmount.errors import FormatError, UnsupportedError

_HEADER = Struct(  # offset
    "magic" / Const(0xED26FF3A, Int32ul),  # 0x00
    "major" / Int16ul,  # 0x04
    "minor" / Int16ul,  # 0x06
    "header_size" / Int16ul,  # 0x08
    "chunk_header_size" / Int16ul,  # 0x0A
    "block_size" / Int32ul,  # 0x0C
    "blocks" / Int32ul,  # 0x10
    "chunks" / Int32ul,  # 0x14
    "checksum" / Int32ul,  # 0x18  of the unpacked image, 0 for none
)
_CHUNK = struct.Struct("<HHII")  # type, reserved, blocks, bytes with this header
HEADER_SIZE: Final = 28
RAW, FILL, DONT_CARE, CRC32 = range(0xCAC1, 0xCAC5)
FILL_SIZE: Final = 4
MAX_CHUNKS: Final = 1 << 17
MAX_BLOCK: Final = 1 << 28
HOLE: Final = (1 << 64) - 1


class SimgDevice(MappedDevice):
    """The image that a sparse one stands for."""

    def __init__(self, file: BlockDevice, _: Context) -> None:
        try:
            header = _HEADER.parse(file.read_exactly(0, HEADER_SIZE, "simg"))
        except ConstructError as exc:
            raise FormatError("simg", f"bad header: {exc}", offset=0) from exc
        if header.major != 1:
            raise UnsupportedError(f"simg: version {header.major}.{header.minor}")
        self.block_size = header.block_size
        if not 0 < self.block_size <= MAX_BLOCK or self.block_size % FILL_SIZE:
            raise FormatError("simg", f"blocks of {self.block_size} bytes", offset=0x0C)
        if (
            header.header_size < HEADER_SIZE
            or header.chunk_header_size < _CHUNK.size
            or header.chunks > MAX_CHUNKS
        ):
            raise FormatError(
                "simg", f"{header.chunks} chunks with headers of {header.chunk_header_size} bytes", offset=8
            )
        self.size = header.blocks * self.block_size
        self._file = file
        self._header = header
        self._starts = array("Q")  # of each run in the image
        self._places = array("Q")  # of its data in the file, HOLE for none
        self._fills: set[int] = set()  # runs whose data is one word
        self._checksums: list[tuple[int, int]] = []  # (end of what is covered, CRC-32)
        end = self._read_chunks()
        if end != self.size:
            raise FormatError("simg", f"chunks of {end} bytes in an image of {self.size}", offset=0x10)
        if header.checksum:
            self._checksums.append((self.size, header.checksum))

    def _read_chunks(self) -> int:
        offset, start = self._header.header_size, 0
        for index in range(self._header.chunks):
            kind, _, blocks, total = _CHUNK.unpack(self._file.read_exactly(offset, _CHUNK.size, "simg"))
            place, length = offset + self._header.chunk_header_size, blocks * self.block_size
            wanted = {RAW: length, FILL: FILL_SIZE, DONT_CARE: 0, CRC32: FILL_SIZE}.get(kind)
            if wanted is None:
                raise FormatError("simg", f"chunk {index} is of type {kind:#x}", offset=offset)
            if total != self._header.chunk_header_size + wanted or start + length > self.size:
                raise FormatError(
                    "simg", f"chunk {index} has {total} bytes for {blocks} blocks", offset=offset
                )
            if kind == CRC32:
                self._checksums.append(
                    (start, int.from_bytes(self._file.read_exactly(place, FILL_SIZE, "simg"), "little"))
                )
            elif length:
                hole = kind == DONT_CARE or (
                    kind == FILL and not any(self._file.read_exactly(place, FILL_SIZE, "simg"))
                )
                if kind == FILL and not hole:
                    self._fills.add(len(self._starts))
                self._starts.append(start)
                self._places.append(HOLE if hole else place)
            start += length if kind != CRC32 else 0
            offset += total
        return start

    def _map(self, offset: int) -> Extent:
        index = bisect_right(self._starts, offset) - 1
        start, place = self._starts[index], self._places[index]
        end = self._starts[index + 1] if index + 1 < len(self._starts) else self.size
        if place == HOLE:
            return Extent(end - offset)
        if index in self._fills:
            return Extent(
                end - offset,
                _Fill(end - start, self._file.read_exactly(place, FILL_SIZE, "simg")),
                offset - start,
            )
        return Extent(end - offset, self._file, place + offset - start)

    def info(self) -> Mapping[str, str]:
        holes = self._places.count(HOLE)
        runs = f"{len(self._starts)}, {holes} of them empty"
        return {"blocks": f"{self._header.blocks} of {self.block_size} bytes", "runs": runs}

    def verify(self) -> Iterator[str]:
        """Compare the checksums of the unpacked image; each yield is one problem."""
        crc = start = 0
        for end, expected in self._checksums:
            for data in read_through(self, start, end):
                crc = zlib.crc32(data, crc)
            start = end
            if crc != expected:
                yield f"the checksum of the first {end} bytes is {crc:#010x}, {expected:#010x} is stored"


class _Fill(BlockDevice):
    """``word`` again and again."""

    def __init__(self, size: int, word: bytes) -> None:
        self.size = size
        self._word = word

    def _pread(self, offset: int, size: int) -> bytes:
        skip = offset % FILL_SIZE
        return (self._word * (size // FILL_SIZE + 2))[skip : skip + size]


FORMAT: Final = ContainerFormat(name="simg", title="Android sparse image", open=SimgDevice, guest=True)
