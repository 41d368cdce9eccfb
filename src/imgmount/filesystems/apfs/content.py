"""Where the bytes of a file are: extents of the container, or of encrypted blocks with a tweak each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from imgmount.codecs.xts import UNIT, decrypt_units
from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice, Extent, GroupedDevice, MappedDevice
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import FormatError
from imgmount.filesystems.apfs.objects import NAME, Blocks
from imgmount.filesystems.apfs.records import Stretch

Find = Callable[[int], Stretch]  # the stretch, stored or a hole, that holds a byte of a file


class Source(NamedTuple):
    """What files are made of: the container's blocks, the cache, and the key of a volume that has one."""

    blocks: Blocks
    cache: ReadCache
    key: bytes


def content(source: Source, size: int, find: Find) -> BlockDevice:
    """The ``size`` bytes of a stream. Raises ``ImageError``."""
    if size == 0:
        return MemoryDevice(b"")
    first = find(0)
    if source.key:
        return EncryptedFile(source, size, find)
    if first.block and first.start == 0 and first.length >= size:
        offset = checked(source.blocks, first).block * source.blocks.size
        if offset + size <= source.blocks.device.size:
            return Slice(source.blocks.device, offset, size)
    return PlainFile(source.blocks, size, find)


def checked(blocks: Blocks, stretch: Stretch) -> Stretch:
    """``stretch``, which is whole blocks of the container. Raises ``FormatError``."""
    if (stretch.start | stretch.length) % blocks.size or not stretch.length or stretch.block >> 48:
        where = f"{stretch.start:#x} of a file, in block {stretch.block:#x}"
        text = f"an extent of {stretch.length} bytes at {where}"
        raise FormatError(NAME, f"{text}: whole blocks of {blocks.size} are right")
    return stretch


class PlainFile(MappedDevice):
    """A file in several extents."""

    def __init__(self, blocks: Blocks, size: int, find: Find) -> None:
        self.size = size
        self.block_size = blocks.size
        self._blocks = blocks
        self._find = find

    def _map(self, offset: int) -> Extent:
        stretch = self._find(offset)
        skip = offset - stretch.start
        if not stretch.block:
            return Extent(stretch.length - skip)
        start = checked(self._blocks, stretch).block * self._blocks.size
        return Extent(stretch.length - skip, self._blocks.device, start + skip)


class EncryptedFile(GroupedDevice):
    """A file in encrypted extents, decrypted in groups of blocks. Holes are holes."""

    def __init__(self, source: Source, size: int, find: Find) -> None:
        super().__init__(size, source.blocks.size, source.cache)
        self._source = source
        self._find = find

    def extents(self, offset: int, size: int) -> Iterator[Extent]:
        end = min(offset + size, self.size)
        while offset < end:
            stretch = self._find(offset)
            length = min(stretch.start + stretch.length, end) - offset
            if length <= 0:
                raise FormatError(NAME, f"no extent at {offset:#x} of a file")
            yield Extent(length, self, offset) if stretch.block else Extent(length)
            offset += length

    def _read_units(self, first: int, count: int) -> bytes:
        """Blocks of the file, each decrypted with the tweaks of its extent."""
        unit, blocks = self.unit, self._source.blocks
        at, end = first * unit, min((first + count) * unit, self.size)
        parts = []
        while at < end:
            stretch = self._find(at)
            upto = min(stretch.start + stretch.length, end)
            if not stretch.block:
                parts.append(bytes(upto - at))
            else:
                skip = (at - checked(blocks, stretch).start) // unit
                number = -(-(upto - at) // unit)
                data = blocks.raw(stretch.block + skip, number)
                parts.append(decrypt(self._source.key, data, stretch.crypto + skip, unit)[: upto - at])
            at = upto
        return b"".join(parts)


def decrypt(key: bytes, data: bytes, block: int, size: int) -> bytes:
    """Blocks of ``size`` bytes, of which the first was encrypted as number ``block``.

    Raises ``ImageError``.
    """
    first = block * (size // UNIT)
    last = first + len(data) // UNIT
    if last >> 64:
        raise FormatError(NAME, f"an extent with the crypto id {block:#x}")
    return decrypt_units(key, data, range(first, last))
