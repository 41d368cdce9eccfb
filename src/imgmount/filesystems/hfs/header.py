"""The master directory block of HFS and its copy. Inside Macintosh: Files, "Master Directory Blocks"."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.header import either, within
from imgmount.errors import FormatError
from imgmount.families.apple.extents import Run

NAME: Final = "hfs"
PLACE: Final = 1024
COPY: Final = -1024  # from the end of the volume: the last sector but one
SIZE: Final = 162
SIGNATURE: Final = b"BD"
SECTOR: Final = 512
MAX_BLOCK: Final = (1 << 32) - SECTOR
MAX_NAME: Final = 27
UNMOUNTED: Final = 1 << 8  # attributes
INCONSISTENT: Final = 1 << 11
EMBEDDED: Final = (0x482B, 0x4858)  # "H+" and "HX"
_FIELDS: Final = Struct(">2sIIHHHHHIIHIH28sIHIIIHII32s3HI12sI12s")


class MasterBlock(NamedTuple):
    """The fields of the block. Times are seconds since 1904, local; ``place`` is where this copy stands."""

    place: int
    signature: bytes
    created: int
    modified: int
    attributes: int
    root_files: int
    bitmap: int
    search: int
    blocks: int
    block_size: int
    clump: int
    first_block: int  # in sectors
    next_id: int
    free_blocks: int
    name: bytes  # with its length before it
    backed_up: int
    sequence: int
    writes: int
    extents_clump: int
    catalog_clump: int
    root_folders: int
    files: int
    folders: int
    finder_info: bytes
    embedded: int  # signature of a volume inside
    embedded_at: int  # its first block
    embedded_blocks: int
    extents_size: int
    extents_runs: bytes
    catalog_size: int
    catalog_runs: bytes


def parse_runs(raw: bytes) -> list[Run]:
    """Three extents of {u16 first block, u16 blocks}."""
    numbers = Struct(">6H").unpack(raw)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def parse_block(device: BlockDevice, place: int) -> MasterBlock:
    """The block at ``place``, checked. Raises ``FormatError``."""
    raw = device.read_exactly(place, SIZE, NAME)
    block = MasterBlock._make((place, *_FIELDS.unpack_from(raw)))
    if block.signature != SIGNATURE:
        raise FormatError(NAME, f"a master block that begins with {block.signature!r}", offset=place)
    within(NAME, "block size", block.block_size, SECTOR, MAX_BLOCK, multiple_of=SECTOR, offset=place + 0x14)
    if block.blocks == 0 or block.first_block == 0 or not 0 < block.name[0] <= MAX_NAME:
        reason = f"{block.blocks} blocks from sector {block.first_block}, a name of {block.name[0]} letters"
        raise FormatError(NAME, reason, offset=place + 0x12)
    return block


def read_block(device: BlockDevice) -> MasterBlock:
    """The block, else its copy at the end of the volume. Raises ``FormatError`` for the former."""
    return either(lambda: parse_block(device, PLACE), lambda: read_copy(device))


def read_copy(device: BlockDevice) -> MasterBlock:
    """The copy at the end of the volume. Raises ``FormatError``."""
    return parse_block(device, device.size + COPY)
