"""Where the blocks of a file are: extent trees. Kernel documentation, ext4/ifork.rst.

The indirect blocks of ext2 and ext3 are those of ``families.unix.block_pointers``. Both maps answer one
question: which run of blocks begins at a given block. Blocks of the map are read when a read needs them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError
from imgmount.families.unix.block_pointers import BlockRun, PointerMap, Pointers
from imgmount.families.unix.extent_tree import ExtentNode, ExtentTree
from imgmount.filesystems.ext.superblock import NAME, Superblock

ROOT_SIZE: Final = 60  # i_block
_HEADER: Final = Struct("<HHHH4x")  # magic, entries, room, depth
_LEAF: Final = Struct("<IHHI")  # first block, length, start (high, low)
_INDEX: Final = Struct("<IIH2x")  # first block, child (low, high)
_MAGIC: Final = 0xF30A
EXTENT_MAGIC: Final = b"\x0a\xf3"  # the same, as i_block begins with it
MAX_DEPTH: Final = 5
MAX_INITIALISED: Final = 1 << 15  # a longer extent is this much shorter, and holds no data yet
DIRECT: Final = 12


def indirect_map(device: BlockDevice, super_block: Superblock, root: bytes) -> PointerMap:
    """Twelve pointers, then trees of one, two and three levels of pointers. ``root`` is i_block."""
    first, end, block_size = super_block.first_data_block + 1, super_block.blocks, super_block.block_size
    layout = Pointers(device, NAME, width=4, order="little", block_size=block_size, first=first, end=end)
    return PointerMap(layout, layout.parse(root), DIRECT)


Check = Callable[[bytes, int], None]  # of a block of extents and where it is; raises ``ChecksumError``


def extent_tree(device: BlockDevice, super_block: Superblock, root: bytes, check: Check) -> ExtentTree:
    """An extent tree. ``root`` is i_block."""
    first, end = super_block.first_data_block + 1, super_block.blocks

    def read(place: int, depth: int) -> ExtentNode:
        if not first <= place < end:
            raise FormatError(NAME, f"a map of blocks at block {place} of {end}")
        size = super_block.block_size
        data = device.read_exactly(place * size, size, NAME)
        check(data, place * size)
        return _parse_node(data, depth)

    def checked(count: int, start: int) -> BlockRun:
        if not first <= start <= end - count:
            raise FormatError(NAME, f"{count} blocks of a file at block {start} of {end}")
        return count, start

    return ExtentTree(_parse_node(root, None), read, checked)


def _parse_node(data: bytes, depth: int | None) -> ExtentNode:
    """One block of an extent tree, at ``depth`` above the leaves (None: the root, which says so itself)."""
    magic, count, _, found = _HEADER.unpack_from(data)
    if magic != _MAGIC or count > (len(data) - _HEADER.size) // _LEAF.size:
        raise FormatError(NAME, f"an extent tree node with magic {magic:#06x} and {count} entries")
    if found > MAX_DEPTH if depth is None else found != depth:
        raise FormatError(NAME, f"an extent tree node of depth {found}")
    body = memoryview(data)[_HEADER.size : _HEADER.size + count * _LEAF.size]
    starts, lengths, places = array("Q"), array("Q"), array("Q")
    last = -1
    for fields in (_INDEX if found else _LEAF).iter_unpack(body):
        start = fields[0]
        if start <= last:
            raise FormatError(NAME, f"extents out of order: block {start} after {last}")
        last = start
        starts.append(start)
        if found:
            places.append(fields[1] | fields[2] << 32)
            continue
        length, place = fields[1], fields[3] | fields[2] << 32
        if length > MAX_INITIALISED:
            length, place = length - MAX_INITIALISED, 0
        elif place == 0:
            raise FormatError(NAME, f"extent of block {start} at block 0")
        lengths.append(length)
        places.append(place)
    return ExtentNode(found, starts, lengths, places)
