"""GameCube and Wii discs without their unused blocks (CISO, also WBI).

PSP discs in CSO files begin with the same letters.

Layout, little endian: "CISO", the block size, a map of one byte for each block (1: stored), and from 0x8000
the stored blocks in order. The size of the disc is not stored: it is taken to end with its last stored block,
unless NKit says behind that where. Source: Wiimms ISO Tools, "CISO file format".
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

from imgmount.containers.nintendo.nkit import restored
from imgmount.core.device import BlockDevice, Extent
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.header import within
from imgmount.errors import FormatError
from imgmount.families.nintendo.nkit import NKit, SparseDisc

HEADER_SIZE: Final = 0x8000
MAP: Final = 8
MIN_BLOCK: Final = 0x8000
MAX_BLOCK: Final = 1 << 30


def _map_of(file: BlockDevice) -> tuple[int, bytes]:
    """(block size, map without the unused end). Raises ``FormatError``."""
    header = file.read_exactly(0, HEADER_SIZE, "ciso_gc")
    size = int.from_bytes(header[4:MAP], "little")
    within("ciso_gc", "block size", size, MIN_BLOCK, MAX_BLOCK, power_of_two=True, offset=4)
    stored = header[MAP:].rstrip(b"\0")
    if not stored or stored.strip(b"\0\1"):
        raise FormatError(
            "ciso_gc", "the map of blocks has other values than 0 and 1, or no block", offset=MAP
        )
    return size, stored


def probe(file: BlockDevice) -> Match:
    """CERTAIN where block size and map are sound. A PSP disc has 0x18 or 0 in place of the block size."""
    _map_of(file)
    return Match.CERTAIN


class CisoDevice(SparseDisc):
    """The disc inside a CISO file."""

    def __init__(self, file: BlockDevice) -> None:
        self.block_size, self._stored = _map_of(file)
        self._file = file
        self._before = array("I", accumulate(self._stored, initial=0))  # stored blocks before each block
        self.size = len(self._stored) * self.block_size

    def _map(self, offset: int) -> Extent:
        block, skip = divmod(offset, self.block_size)
        stored = self._stored[block]
        end = self._stored.find(1 - stored, block)
        length = (end if end >= 0 else len(self._stored)) * self.block_size - offset
        if not stored:
            return Extent(length)
        start = HEADER_SIZE + self._before[block] * self.block_size + skip
        if start >= self._file.size:
            raise FormatError(
                "ciso_gc", f"block {block} is said to lie past the end of the file", offset=MAP + block
            )
        return Extent(min(length, self._file.size - start), self._file, start)

    @property
    def end(self) -> int:
        """Where the last stored block ends in the file."""
        return HEADER_SIZE + self._before[-1] * self.block_size

    def is_stored(self, block: int) -> bool:
        return block < len(self._stored) and bool(self._stored[block])

    def info(self) -> Mapping[str, str]:
        return {"blocks": f"{len(self._stored)} of {self.block_size} bytes, {self._before[-1]} stored"}


def open_disc(file: BlockDevice, context: Context) -> BlockDevice:
    """The disc inside a CISO file."""
    disc = CisoDevice(file)
    return restored(disc, NKit.read(file, disc.end, disc.block_size, "ciso_gc"), context, "ciso_gc")


FORMAT: Final = ContainerFormat(
    name="ciso_gc",
    title="GameCube or Wii disc image without unused blocks",
    extensions=(".ciso",),
    probe=probe,
    open=open_disc,
)
