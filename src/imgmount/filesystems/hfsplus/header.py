"""The volume header of HFS+ and HFSX, its copy, and the HFS volume around it. TN1150, "Volume Header"."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.header import either, within
from imgmount.core.slices import Slice
from imgmount.errors import FormatError
from imgmount.families.apple.extents import Run
from imgmount.filesystems.hfs import header as hfs

NAME: Final = "hfsplus"
PLACE: Final = 1024
COPY: Final = -1024  # from the end of the volume
SIZE: Final = 512
VERSIONS: Final = {b"H+": 4, b"HX": 5}
UNMOUNTED: Final = 1 << 8  # attributes
INCONSISTENT: Final = 1 << 11
JOURNALED: Final = 1 << 13
MAX_BLOCK: Final = 1 << 25
MAX_BLOCKS: Final = (1 << 32) - 1
_FIELDS: Final = Struct(">2sHI4s15IQ32s")
_FORKS: Final = 0x70
_FORK: Final = Struct(">QII16I")
FORK_SIZE: Final = _FORK.size


class ForkData(NamedTuple):
    """What is known of a fork: its size in bytes, all its blocks, and up to eight extents."""

    size: int
    blocks: int
    runs: list[Run]


class VolumeHeader(NamedTuple):
    """The fields of the header. Times are seconds since 1904; ``place`` is where this copy stands."""

    place: int
    signature: bytes
    version: int
    attributes: int
    mounted_by: bytes
    journal_block: int
    created: int  # in local time, unlike the others
    modified: int
    backed_up: int
    checked: int
    files: int
    folders: int
    block_size: int
    blocks: int
    free_blocks: int
    next_block: int
    resource_clump: int
    data_clump: int
    next_id: int
    writes: int
    encodings: int
    finder_info: bytes
    forks: tuple[ForkData, ...]  # allocation, extents, catalog, attributes, startup


def parse_fork(raw: bytes, at: int = 0) -> ForkData:
    """The 80 bytes at ``at``. TN1150, HFSPlusForkData."""
    size, _, blocks, *numbers = _FORK.unpack_from(raw, at)
    return ForkData(size, blocks, list(zip(numbers[::2], numbers[1::2], strict=True)))


def parse_header(device: BlockDevice, place: int) -> VolumeHeader:
    """The header at ``place``, checked. Raises ``FormatError``."""
    raw = device.read_exactly(place, SIZE, NAME)
    fields = _FIELDS.unpack_from(raw)
    if fields[0] not in VERSIONS:
        raise FormatError(NAME, f"a volume header that begins with {fields[0]!r}", offset=place)
    forks = tuple(parse_fork(raw, _FORKS + n * FORK_SIZE) for n in range(5))
    header = VolumeHeader._make((place, *fields, forks))
    within(NAME, "block size", header.block_size, 512, MAX_BLOCK, power_of_two=True, offset=place + 0x28)
    within(NAME, "number of blocks", header.blocks, 1, MAX_BLOCKS, offset=place + 0x2C)
    return header


def read_header(device: BlockDevice) -> VolumeHeader:
    """The header, else its copy at the end of the volume. Raises ``FormatError`` for the former."""
    return either(lambda: parse_header(device, PLACE), lambda: read_copy(device))


def read_copy(device: BlockDevice) -> VolumeHeader:
    """The copy at the end of the volume. Raises ``FormatError``."""
    return parse_header(device, device.size + COPY)


def embedded(device: BlockDevice) -> BlockDevice | None:
    """The HFS+ volume inside an HFS volume, None where there is none. Raises ``FormatError``."""
    if device.pread(PLACE, len(hfs.SIGNATURE)) != hfs.SIGNATURE:
        return None
    outer = hfs.parse_block(device, PLACE)
    if outer.embedded not in hfs.EMBEDDED:
        return None
    size, count = outer.block_size, outer.embedded_blocks
    offset = outer.first_block * hfs.SECTOR + outer.embedded_at * size
    if count == 0 or offset >= device.size:
        raise FormatError(NAME, f"{count} blocks of {size} bytes inside an HFS volume", offset=PLACE + 0x7C)
    return Slice(device, offset, count * size)
