"""Where the blocks of a file are: extent trees, and the indirect blocks of ext2 and ext3.

Kernel documentation, ext4/ifork.rst. Both maps answer one question: which run of blocks begins at a given one. Blocks of the map
are read when a read leads there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple, TypeVar

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.errors import FormatError
from imgmount.filesystems.ext.superblock import NAME, Superblock

ROOT_SIZE: Final = 60  # i_block
_HEADER: Final = Struct("<HHHH4x")  # magic, entries, room, depth
_LEAF: Final = Struct("<IHHI")  # first block, length, start (high, low)
_INDEX: Final = Struct("<IIH2x")  # first block, child (low, high)
_MAGIC: Final = 0xF30A
MAX_DEPTH: Final = 5
MAX_INITIALISED: Final = 1 << 15  # a longer extent is this much shorter, and holds no data yet
DIRECT: Final = 12
LEVELS: Final = 3
MAX_RUN: Final = 1 << 13  # pointers looked at for one extent
MAX_KEPT: Final = 64  # blocks of the map
END: Final = 1 << 48  # past any block of a file

_K = TypeVar("_K")
_V = TypeVar("_V")

Run = tuple[int, int]  # (blocks, the first of them on the volume: 0 is a hole)


class BlockMap(ABC):
    """The blocks of one file."""

    def __init__(self, device: BlockDevice, super_block: Superblock) -> None:
        self._device = device
        self._super = super_block

    @abstractmethod
    def find(self, block: int) -> Run:
        """The run that begins at ``block`` of the file. Raises ``ImageError``."""

    def _read(self, block: int) -> bytes:
        if not self._super.first_data_block < block < self._super.blocks:
            raise FormatError(NAME, f"a map of blocks at block {block} of {self._super.blocks}")
        return self._device.read_exactly(block * self._super.block_size, self._super.block_size, NAME)

    def _checked(self, count: int, start: int) -> Run:
        if not self._super.first_data_block < start <= self._super.blocks - count:
            raise FormatError(NAME, f"{count} blocks of a file at block {start} of {self._super.blocks}")
        return count, start


class _Node(NamedTuple):
    depth: int
    starts: array[int]  # of the entries, in blocks of the file
    lengths: array[int]  # leaves only
    places: array[int]  # children, or data: 0 where there is none yet


class ExtentMap(BlockMap):
    """An extent tree. ``root`` is i_block."""

    def __init__(self, device: BlockDevice, super_block: Superblock, root: bytes) -> None:
        super().__init__(device, super_block)
        self._root = _parse_node(root, None)
        self._kept: dict[tuple[int, int], _Node] = {}

    def find(self, block: int) -> Run:
        node, end = self._root, END
        while True:
            index = bisect_right(node.starts, block) - 1
            if index + 1 < len(node.starts):
                end = min(end, node.starts[index + 1])
            if index < 0:
                return end - block, 0
            if node.depth == 0:
                break
            node = self._child(node.places[index], node.depth - 1)
        skip = block - node.starts[index]
        left = min(node.lengths[index] - skip, end - block)
        if left <= 0:
            return end - block, 0
        return self._checked(left, node.places[index] + skip) if node.places[index] else (left, 0)

    def _child(self, place: int, depth: int) -> _Node:
        node = self._kept.get((place, depth))
        if node is None:
            node = _parse_node(self._read(place), depth)
            _keep(self._kept, (place, depth), node)
        return node


def _parse_node(data: bytes, depth: int | None) -> _Node:
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
    return _Node(found, starts, lengths, places)


class IndirectMap(BlockMap):
    """Twelve pointers, then trees of one, two and three levels of pointers. ``root`` is i_block."""

    def __init__(self, device: BlockDevice, super_block: Superblock, root: bytes) -> None:
        super().__init__(device, super_block)
        self._root = table(root, 4, "little")
        self._width = super_block.block_size // 4
        self._kept: dict[int, array[int]] = {}

    def find(self, block: int) -> Run:
        if block < DIRECT:
            return self._run(self._root, block, DIRECT)
        rest = block - DIRECT
        for level in range(LEVELS):
            span = self._width ** (level + 1)
            if rest < span:
                return self._descend(self._root[DIRECT + level], level, rest)
            rest -= span
        return END, 0

    def _descend(self, place: int, level: int, rest: int) -> Run:
        """The run at ``rest`` in the tree of ``level + 1`` levels of pointers under ``place``."""
        while place:
            pointers = self._pointers(place)
            span = self._width**level
            index, rest = divmod(rest, span)
            if level == 0:
                return self._run(pointers, index, self._width)
            place = pointers[index]
            level -= 1
        return self._width ** (level + 1) - rest, 0

    def _pointers(self, place: int) -> array[int]:
        pointers = self._kept.get(place)
        if pointers is None:
            pointers = table(self._read(place), 4, "little")
            _keep(self._kept, place, pointers)
        return pointers

    def _run(self, pointers: array[int], index: int, end: int) -> Run:
        first = pointers[index]
        step = 1 if first else 0
        count = 1
        for pointer in memoryview(pointers)[index + 1 : min(end, index + MAX_RUN)]:
            if pointer != first + count * step:
                break
            count += 1
        return self._checked(count, first) if first else (count, 0)


def _keep(kept: dict[_K, _V], key: _K, value: _V) -> None:
    """Add to a cache that many threads may use: entries are written once and dropped whole."""
    while len(kept) >= MAX_KEPT:
        for old in list(kept)[:1]:
            kept.pop(old, None)
    kept[key] = value


class MappedFile(MappedDevice):
    """The content of a file whose blocks ``find`` knows."""

    def __init__(self, device: BlockDevice, block_size: int, size: int, find: Callable[[int], Run]) -> None:
        self.size = size
        self.block_size = block_size
        self._device = device
        self._find = find

    def _map(self, offset: int) -> Extent:
        block, skip = divmod(offset, self.block_size)
        count, start = self._find(block)
        length = count * self.block_size - skip
        return Extent(length, self._device, start * self.block_size + skip) if start else Extent(length)
