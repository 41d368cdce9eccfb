"""Compressed loop images (cloop, version 2), as live CDs used them.

Equal blocks, each a zlib stream, behind a table of offsets.

Versions 0.x, 3 and 4 are refused. Source: cloop 2.x, ``README``; QEMU, ``block/cloop.c`` as the reference for
behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from construct import Bytes, Int32ub, Struct

from imgmount.codecs import deflate
from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import within
from imgmount.errors import FormatError

MAGIC: Final = b"#!/bin/sh\n#V2.0 Format\n"
_HEADER = Struct("script" / Bytes(128), "block_size" / Int32ub, "blocks" / Int32ub)
HEADER_SIZE: Final = 136
SECTOR: Final = 512
MAX_BLOCK: Final = 64 << 20
MAX_BLOCKS: Final = 1 << 22  # a table of 32 MiB: 256 GiB of 64 KiB blocks
MAX_GROWTH: Final = 2  # a block that does not compress is a little longer than it was


class CloopDevice(ChunkedDevice):
    """What a cloop file unpacks to."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        header = _HEADER.parse(file.read_exactly(0, HEADER_SIZE, "cloop"))
        within("cloop", "block size", header.block_size, SECTOR, MAX_BLOCK, multiple_of=SECTOR, offset=0x80)
        within("cloop", "number of blocks", header.blocks, 0, MAX_BLOCKS, offset=0x84)
        super().__init__(header.blocks * header.block_size, header.block_size, context.cache)
        self._file = file
        self._offsets = table(file.read_exactly(HEADER_SIZE, 8 * (header.blocks + 1), "cloop"), 8, "big")

    def _read_chunk(self, index: int) -> Content:
        start, end = self._offsets[index], self._offsets[index + 1]
        if not start < end <= start + MAX_GROWTH * self.block_size + SECTOR:
            raise FormatError(
                "cloop",
                f"block {index} is stored from {start:#x} to {end:#x}: too long, or its end before its start",
            )
        try:
            return deflate.inflate(
                self._file.read_exactly(start, end - start, "cloop"), self.block_size, wrapper="zlib"
            )
        except FormatError as exc:
            raise FormatError("cloop", f"block {index}: {exc.reason}", offset=start) from exc

    def info(self) -> Mapping[str, str]:
        return {"blocks": f"{len(self._offsets) - 1} of {self.block_size} bytes, zlib"}


FORMAT: Final = ContainerFormat(
    name="cloop",
    title="Compressed loop image (cloop 2)",
    extensions=(".cloop",),
    open=CloopDevice,
    guest=True,
)
