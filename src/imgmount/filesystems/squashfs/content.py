"""The content of a file: coded and stored blocks, holes, and a tail in a block shared with other files."""

from __future__ import annotations

from array import array
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from imgmount.codecs.pieces import DecodeAll, blank
from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice, Extent, GroupedDevice, MappedDevice
from imgmount.core.fields import table
from imgmount.core.slices import Concat, MemoryDevice, Slice
from imgmount.errors import FormatError
from imgmount.filesystems.squashfs.inode import NOTHING, Inode
from imgmount.filesystems.squashfs.superblock import NAME

if TYPE_CHECKING:
    from imgmount.filesystems.squashfs.volume import SquashVolume

STORED: Final = 1 << 24  # in the size of a block: not compressed
SIZE_MASK: Final = STORED - 1
_STORED_1: Final = 1 << 15
_SIZE_1: Final = _STORED_1 - 1
MAX_BLOCKS: Final = 1 << 24  # of a file: 2 TiB in blocks of 128 KiB
MAX_RUN: Final = 64  # blocks looked at for one extent


class BlockList:
    """The places and sizes of the blocks of one file."""

    def __init__(self, volume: SquashVolume, inode: Inode) -> None:
        self.volume = volume
        self.device = volume.device
        self.block_size = volume.super.block_size
        whole, rest = divmod(inode.size, self.block_size)
        self.count = whole + (rest > 0 and inode.fragment == NOTHING)
        self.size = inode.size if inode.fragment == NOTHING else whole * self.block_size
        if self.count > MAX_BLOCKS:
            raise FormatError(NAME, f"a file of {inode.size} bytes")
        self.sizes = _sizes(volume, inode, self.count)
        self.starts = array("Q", accumulate((size & SIZE_MASK for size in self.sizes), initial=inode.start))
        if any(size & SIZE_MASK > self.block_size for size in self.sizes):
            raise FormatError(NAME, "a block that is longer coded than decoded", offset=inode.start)

    def length(self, index: int) -> int:
        """How many bytes of the file block ``index`` is."""
        return min(self.block_size, self.size - index * self.block_size)

    def is_coded(self, index: int) -> bool:
        """Whether block ``index`` must be decoded."""
        return 0 < self.sizes[index] < STORED

    def read(self, index: int) -> Content:
        """Block ``index`` decoded. Raises ``FormatError``."""
        size, length = self.sizes[index], self.length(index)
        if size & SIZE_MASK == 0:
            return bytes(length)
        data = self.device.read_exactly(self.starts[index], size & SIZE_MASK, NAME)
        if size & STORED:
            if len(data) != length:
                raise FormatError(
                    NAME, f"a stored block of {len(data)} bytes, {length} expected", offset=self.starts[index]
                )
            return data
        try:
            return self.volume.codec.exactly(data, length)
        except FormatError as exc:
            raise FormatError(NAME, f"a block: {exc}", offset=self.starts[index]) from exc

    def read_run(self, first: int, count: int) -> Content:
        """``count`` blocks from ``first`` on. Raises ``FormatError``."""
        run = self.volume.codec.run
        if count > 1 and run is not None and all(map(self.is_coded, range(first, first + count))):
            # what it refuses may be coded in another way; else the error will say which block is damaged
            with suppress(FormatError):
                return self._decode_run(run, first, count)
        return b"".join([self.read(index) for index in range(first, first + count)])

    def _decode_run(self, run: DecodeAll, first: int, count: int) -> Content:
        """Blocks that are all coded, and so lie one behind the other. Raises ``FormatError``."""
        base = self.starts[first]
        pieces = [
            (self.starts[index] - base, self.sizes[index], at * self.block_size, self.length(index))
            for at, index in enumerate(range(first, first + count))
        ]
        out = blank(min(count * self.block_size, self.size - first * self.block_size))
        run(self.device.read_exactly(base, self.starts[first + count] - base, NAME), out, pieces)
        return out


def _sizes(volume: SquashVolume, inode: Inode, count: int) -> array[int]:
    """The size of each block, with the flag STORED. Version 1 has 16 bits for it, and 0 there is 32 KiB."""
    spb = volume.super
    if spb.version[0] > 1:
        return table(volume.metadata.read(*inode.place, 4 * count), 4, spb.order)
    narrow = table(volume.metadata.read(*inode.place, 2 * count), 2, spb.order)
    return array(
        "I", [(size & _SIZE_1 or _STORED_1) | (STORED if size & _STORED_1 else 0) for size in narrow]
    )


class CodedBlocks(GroupedDevice):
    """The blocks of a file, decoded; small ones several at a time."""

    def __init__(self, blocks: BlockList) -> None:
        self._blocks = blocks
        super().__init__(blocks.size, blocks.block_size, blocks.volume.cache)

    def _read_units(self, first: int, count: int) -> Content:
        return self._blocks.read(first) if count == 1 else self._blocks.read_run(first, count)


class MixedBlocks(MappedDevice):
    """The blocks of a file of which some are stored as they are, or not at all."""

    def __init__(self, blocks: BlockList) -> None:
        self._blocks = blocks
        self._coded = CodedBlocks(blocks)
        self.size = blocks.size
        self.block_size = blocks.block_size

    def _map(self, offset: int) -> Extent:
        blocks = self._blocks
        index, skip = divmod(offset, self.block_size)
        last = min(index + MAX_RUN, blocks.count)
        size = blocks.sizes[index]
        end = index + 1
        if blocks.is_coded(index):
            while end < last and blocks.is_coded(end):
                end += 1
            return Extent(end * self.block_size - offset, self._coded, offset)
        length = blocks.length(index)
        if size & SIZE_MASK == 0:
            while end < last and blocks.sizes[end] & SIZE_MASK == 0:
                end += 1
            return Extent(end * self.block_size - offset)
        if size & SIZE_MASK != length:
            raise FormatError(
                NAME,
                f"a stored block of {size & SIZE_MASK} bytes, {length} expected",
                offset=blocks.starts[index],
            )
        whole = STORED | self.block_size
        while size == whole and end < last and blocks.sizes[end] == whole:
            end += 1
        return Extent(
            min(end * self.block_size, self.size) - offset, self._blocks.device, blocks.starts[index] + skip
        )


class Tail(BlockDevice):
    """The end of a file, in a coded fragment block."""

    def __init__(self, volume: SquashVolume, fragment: int, offset: int, size: int) -> None:
        self._volume = volume
        self._fragment = fragment
        self._offset = offset
        self.size = size

    def _pread(self, offset: int, size: int) -> bytes:
        start = self._offset + offset
        data = bytes(memoryview(self._volume.fragment(self._fragment))[start : start + size])
        if len(data) != size:
            raise FormatError(NAME, f"fragment {self._fragment} ends before the tail of a file")
        return data


def content(volume: SquashVolume, inode: Inode) -> BlockDevice:
    """What the file holds. Raises ``ImageError``."""
    if inode.size == 0:
        return MemoryDevice(b"")
    whole, rest = divmod(inode.size, volume.super.block_size)
    if inode.fragment != NOTHING and not whole:  # what most files are
        return _tail(volume, inode, rest)
    blocks = BlockList(volume, inode)
    all_coded = all(0 < size < STORED for size in blocks.sizes)
    device = CodedBlocks(blocks) if all_coded else MixedBlocks(blocks)
    if blocks.size == inode.size:
        return device
    return Concat.of([device, _tail(volume, inode, rest)])


def _tail(volume: SquashVolume, inode: Inode, size: int) -> BlockDevice:
    start, coded = volume.fragment_place(inode.fragment)
    if not coded & STORED:
        return Tail(volume, inode.fragment, inode.offset, size)
    if inode.offset + size > coded & SIZE_MASK:
        raise FormatError(NAME, f"fragment {inode.fragment} ends before the tail of a file", offset=start)
    return Slice(volume.device, start + inode.offset, size)
