"""Dolphin's compressed GameCube and Wii discs (GCZ): zlib blocks with an Adler-32 each.

Layout, little endian: a header, a u64 place and a u32 Adler-32 (of the stored bytes) for each block, the
blocks. The last block decodes to a whole one. Source: Dolphin, ``DiscIO/CompressedBlob.h``.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final

from construct import Const, Int32ul, Int64ul, Struct

from imgmount.codecs.deflate import inflate
from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parse_header, within
from imgmount.errors import ChecksumError, FormatError

_HEADER = Struct(  # offset
    "magic" / Const(b"\x01\xc0\x0b\xb1"),  # 0x00
    "disc_type" / Int32ul,  # 0x04  0 GameCube, 1 Wii
    "stored_size" / Int64ul,  # 0x08  of the blocks
    "size" / Int64ul,  # 0x10  of the disc
    "block_size" / Int32ul,  # 0x18
    "blocks" / Int32ul,  # 0x1C
)
HEADER_SIZE: Final = 32
STORED: Final = 1 << 63  # flag of a place: the block is not compressed
MAX_BLOCK: Final = 16 << 20  # Dolphin's largest is 2 MiB
MAX_BLOCKS: Final = 1 << 21  # as many as a dual layer disc in blocks of 4 KiB has
MIN_CHUNK: Final = 1 << 16  # small blocks are decoded together
DISC_TYPES: Final = {0: "GameCube", 1: "Wii"}


class GczDevice(ChunkedDevice):
    """The disc inside a GCZ file."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        header = parse_header(_HEADER, file, 0, "gcz", "the header")
        self._block = within("gcz", "block size", header.block_size, 1, MAX_BLOCK, offset=0x18)
        count = within("gcz", "number of blocks", header.blocks, 1, MAX_BLOCKS, offset=0x1C)
        needed = -(-header.size // self._block)
        if count != needed:
            reason = f"{count} blocks do not make a disc of {header.size} bytes, which needs {needed}"
            raise FormatError("gcz", reason, offset=0x1C)
        tables = file.read_exactly(HEADER_SIZE, 12 * count, "gcz")
        self._places = table(tables[: 8 * count], 8, "little")
        self._places.append(header.stored_size)
        self._adlers = table(tables[8 * count :], 4, "little")
        self._data = HEADER_SIZE + 12 * count
        self._file = file
        self._type = header.disc_type
        self._per_chunk = max(1, MIN_CHUNK // self._block)
        super().__init__(header.size, self._block * self._per_chunk, context.cache)

    def _read_chunk(self, index: int) -> bytes:
        first = index * self._per_chunk
        blocks = range(first, min(first + self._per_chunk, len(self._adlers)))
        chunk = b"".join([self._decoded(block) for block in blocks])
        return chunk[: self.size - index * self.block_size]

    def _decoded(self, block: int) -> Content:
        stored = self._stored(block)
        if zlib.adler32(stored) != self._adlers[block]:
            raise ChecksumError(
                "gcz",
                f"block {block} is damaged: its Adler-32 differs from the stored one",
                offset=self._place(block),
            )
        if self._places[block] & STORED:
            if len(stored) != self._block:
                raise FormatError(
                    "gcz",
                    f"block {block}, which is not compressed, has {len(stored)} bytes, not the block size",
                    offset=self._place(block),
                )
            return stored
        try:
            return inflate(stored, self._block, wrapper="zlib")
        except FormatError as exc:
            raise FormatError(
                "gcz", f"block {block} cannot be decompressed", offset=self._place(block)
            ) from exc

    def _place(self, block: int) -> int:
        return self._data + (self._places[block] & ~STORED)

    def _stored(self, block: int) -> bytes:
        start = self._place(block)
        size = self._place(block + 1) - start
        if not 0 < size <= 2 * self._block + 64:
            raise FormatError(
                "gcz",
                f"block {block} is said to have {size} bytes stored, which is impossible",
                offset=HEADER_SIZE + 8 * block,
            )
        return self._file.read_exactly(start, size, "gcz")

    def info(self) -> Mapping[str, str]:
        stored = sum(1 for place in self._places if place & STORED)
        blocks = f"{len(self._adlers)} of {self._block} bytes, {stored} not compressed"
        return {"disc type": DISC_TYPES.get(self._type, str(self._type)), "blocks": blocks}


FORMAT: Final = ContainerFormat(
    name="gcz",
    title="GameCube or Wii disc image, compressed",
    extensions=(".gcz",),
    checks="Adler-32 of each block",
    open=GczDevice,
)
