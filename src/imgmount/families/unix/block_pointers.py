"""Blocks found through pointers: some in the inode, then trees of one, two and more levels.

ext2, UFS and minix differ in the width of a pointer, how many are direct, and how far apart the pointers of
neighbours are.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final, Literal

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.kept import keep
from imgmount.core.runs import RUN_BYTES, equal_run, rising_run
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import FormatError

MAX_KEPT: Final = 64  # blocks of a map
END: Final = 1 << 48  # past any block of a file

BlockRun = tuple[int, int]  # (blocks, the unit of the volume that the first of them begins at: 0 is a hole)


class Pointers:
    """How pointers are stored: they count units of ``unit`` bytes, and a block of a file has ``units``."""

    def __init__(
        self, device: BlockDevice, fmt: str, *, width: Literal[2, 4, 8], order: Literal["little", "big"],
        block_size: int, first: int, end: int, unit: int = 0,
    ) -> None:  # fmt: skip
        """Blocks lie between the units ``first`` and ``end``."""
        self.device = device
        self.fmt = fmt
        self.width: Literal[2, 4, 8] = width
        self.order: Literal["little", "big"] = order
        self.block_size = block_size
        self.unit = unit or block_size
        self.units = block_size // self.unit
        self.per_block = block_size // width
        self._first = first
        self._end = end

    def parse(self, data: bytes) -> array[int]:
        """Pointers in a row."""
        return table(data, self.width, self.order)

    def read(self, start: int) -> array[int]:
        """The block of pointers at ``start``. Raises ``FormatError``."""
        self.checked(1, start)
        return self.parse(self.device.read_exactly(start * self.unit, self.block_size, self.fmt))

    def checked(self, count: int, start: int) -> BlockRun:
        """The run of ``count`` blocks at ``start``, the last of which need not be whole.

        Raises ``FormatError``.
        """
        if not self._first <= start < self._end - (count - 1) * self.units:
            raise FormatError(self.fmt, f"{count} blocks of a file at {start} of {self._end}")
        return count, start


class PointerMap:
    """The blocks of one file: ``direct`` pointers, then the roots of trees of one level, two, and so on."""

    def __init__(self, layout: Pointers, pointers: array[int], direct: int) -> None:
        self._layout = layout
        self._root = pointers
        self._direct = direct
        self._limit = max(1, RUN_BYTES // layout.block_size)  # pointers looked at for one run
        self._kept: dict[int, array[int]] = {}

    def find(self, block: int) -> BlockRun:
        """The run that begins at ``block`` of the file. Raises ``ImageError``."""
        if block < self._direct:
            return self._run(self._root, block, self._direct)
        rest = block - self._direct
        for level, place in enumerate(self._root[self._direct :]):
            span = self._layout.per_block ** (level + 1)
            if rest < span:
                return self._descend(place, level, rest)
            rest -= span
        raise FormatError(self._layout.fmt, f"block {block} of a file is past the last that pointers reach")

    def _descend(self, place: int, level: int, rest: int) -> BlockRun:
        """The run at ``rest`` in the tree of ``level + 1`` levels of pointers under ``place``."""
        per_block = self._layout.per_block
        while place:
            pointers = self._kept.get(place)
            if pointers is None:
                pointers = self._layout.read(place)
                keep(self._kept, place, pointers, MAX_KEPT)
            index, rest = divmod(rest, per_block**level)
            if level == 0:
                return self._run(pointers, index, per_block)
            place = pointers[index]
            level -= 1
        return per_block ** (level + 1) - rest, 0

    def _run(self, pointers: array[int], index: int, end: int) -> BlockRun:
        first, most = pointers[index], min(self._limit, end - index)
        if first == 0:
            return equal_run(pointers, index, most), 0
        return self._layout.checked(rising_run(pointers, index, self._layout.units, most), first)


Find = Callable[[int], BlockRun]  # the run that begins at a block of a file


def mapped_file(device: BlockDevice, block_size: int, size: int, find: Find, unit: int = 0) -> BlockDevice:
    """The ``size`` bytes of a file whose blocks ``find`` knows, in units of ``unit`` bytes or else blocks."""
    if size == 0:
        return MemoryDevice(b"")
    count, start = find(0)
    if start and count * block_size >= size:
        return Slice(device, start * (unit or block_size), size)
    return MappedFile(device, block_size, size, find, unit)


class MappedFile(MappedDevice):
    """A file in several runs: see ``mapped_file``."""

    def __init__(self, device: BlockDevice, block_size: int, size: int, find: Find, unit: int = 0) -> None:
        self.size = size
        self.block_size = block_size
        self._unit = unit or block_size
        self._device = device
        self._find = find

    def _map(self, offset: int) -> Extent:
        block, skip = divmod(offset, self.block_size)
        count, start = self._find(block)
        length = count * self.block_size - skip
        return Extent(length, self._device, start * self._unit + skip) if start else Extent(length)
