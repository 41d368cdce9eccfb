"""The content of files: their blocks, as runs; FFS blocks are data, OFS blocks begin with a header."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Final

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.errors import ChecksumError, FormatError, ImageError
from imgmount.filesystems.amigados.blocks import FFS, HEAD, T_DATA, T_HEADER, T_LIST, TAIL, T, checksums, long_at

if TYPE_CHECKING:
    from imgmount.filesystems.amigados.volume import AmigaVolume

BATCH: Final = 256  # OFS blocks looked at together


class BlockTable:
    """Which block is where: the numbers of a file's blocks, in order, as far as the chain of its tables can be followed."""

    def __init__(self, volume: AmigaVolume, key: int, size: int) -> None:
        self._volume = volume
        self._key = key
        payload = volume.root_place.block_size - (0 if volume.dos_type & FFS else HEAD)
        self._needed = -(-size // payload)
        self.damage: ImageError | None = None
        self.tables: list[int] = []  # blocks that hold the table, the header first

    @cached_property
    def keys(self) -> array[int]:
        """The blocks. ``damage`` says why there are fewer than needed."""
        keys, tables, damage = array("I"), [], None
        try:
            for place, found in self._tables():
                tables.append(place)
                keys.extend(found[: self._needed - len(keys)])
        except ImageError as exc:
            damage = exc
        if damage is None and len(keys) < self._needed:
            damage = FormatError("amigados", f"a file of {self._needed} blocks names {len(keys)}", offset=self._at(self._key))
        self.tables, self.damage = tables, damage  # whole, so that a second thread may do the same
        return keys

    def _tables(self) -> Iterator[tuple[int, array[int]]]:
        volume, slots = self._volume, self._volume.root_place.hash_size
        key, kind, left = self._key, T_HEADER, self._needed
        seen: set[int] = set()
        while key:
            if key in seen:
                raise FormatError("amigados", "the tables of a file loop", offset=self._at(key))
            seen.add(key)
            block = volume.checked(key)
            if long_at(block, 0) != kind or long_at(block, 4) != key:
                raise FormatError("amigados", f"block {key} is no table of a file", offset=self._at(key))
            if kind == T_LIST and long_at(block, len(block) - TAIL + T.parent) != self._key:
                raise FormatError("amigados", f"block {key} is another file's table", offset=self._at(key))
            count = min(long_at(block, 8), slots, left)
            found = table(block[HEAD : HEAD + 4 * slots], 4, "big")
            found.reverse()
            yield key, found[:count]
            left -= count
            key, kind = long_at(block, len(block) - TAIL + T.extension), T_LIST

    def _at(self, key: int) -> int:
        return key * self._volume.root_place.block_size

    @cached_property
    def runs(self) -> tuple[array[int], array[int], array[int]]:
        """(number of the first, block, count) of the runs of blocks that follow each other. A run may be of impossible blocks."""
        firsts, starts, counts = array("I"), array("I"), array("I")
        expected = -1
        for index, key in enumerate(self.keys):
            if key != expected:
                firsts.append(index)
                starts.append(key)
            expected = key + 1
        edges = [*firsts, len(self.keys)]
        counts.extend(edges[place + 1] - edge for place, edge in enumerate(firsts))
        return firsts, starts, counts

    def run(self, index: int, most: int) -> tuple[int, int]:
        """(block, how many follow each other) from block ``index`` of the file, ``most`` or fewer. Raises ``ImageError``."""
        if index >= len(self.keys):
            raise self.damage or FormatError("amigados", f"no block {index} in a file", offset=self._at(self._key))
        firsts, starts, counts = self.runs
        place = bisect_right(firsts, index) - 1
        skip = index - firsts[place]
        key, count = starts[place] + skip, min(counts[place] - skip, most)
        root = self._volume.root_place
        if not root.reserved <= key < root.blocks:
            raise FormatError("amigados", f"block {key} of {root.blocks} in a file", offset=self._at(self._key))
        return key, min(count, root.blocks - key)


Check = Callable[[int, int], None]  # of (block, count), before they are believed; raises ImageError


class FfsFile(MappedDevice):
    """A file whose blocks are data."""

    def __init__(self, volume: AmigaVolume, blocks: BlockTable, size: int, check: Check | None) -> None:
        self.size = size
        self.block_size = volume.root_place.block_size
        self._device = volume.device
        self._blocks = blocks
        self._check = check

    def _map(self, offset: int) -> Extent:
        index, skip = divmod(offset, self.block_size)
        key, count = self._blocks.run(index, len(self._blocks.keys))
        if self._check:
            count = 1
            self._check(key, count)
        start = key * self.block_size
        length = min(count * self.block_size, self._device.size - start)
        if length <= skip:
            raise FormatError("amigados", f"block {key} is past the end of the image", offset=start)
        return Extent(length - skip, self._device, start + skip)


class OfsFile(BlockDevice):
    """A file whose blocks say whose they are, which one they are, and that they are intact: all of it is checked.

    It gathers in memory: runs of half a kilobyte are not worth a splice each.
    """

    def __init__(self, volume: AmigaVolume, blocks: BlockTable, key: int, size: int, check: Check | None) -> None:
        self.size = size
        self._stride = volume.root_place.block_size
        self.block_size = self._stride - HEAD
        self._device = volume.device
        self._blocks = blocks
        self._key = key
        self._check = check

    def _pread(self, offset: int, size: int) -> bytes:
        index, lead = divmod(offset, self.block_size)
        last = -(-(offset + size) // self.block_size)
        pieces = [self._batch(first, min(BATCH, last - first)) for first in range(index, last, BATCH)]
        data = b"".join(pieces)
        return data if len(data) == size else data[lead : lead + size]

    def _batch(self, index: int, count: int) -> bytes:
        """The data of ``count`` blocks from number ``index`` on."""
        runs: list[tuple[int, int]] = []
        raws: list[bytes] = []
        at, end = index, index + count
        while at < end:
            key, length = self._blocks.run(at, end - at)
            if self._check:
                self._check(key, length)
            runs.append((key, length))
            raws.append(self._device.read_exactly(key * self._stride, length * self._stride, "amigados"))
            at += length
        raw = b"".join(raws)
        self._prove(raw, index, runs)
        data = b"".join(_payloads(self._stride, count).unpack(raw))
        return data[: self.size - index * self.block_size]

    def _prove(self, raw: bytes, index: int, runs: list[tuple[int, int]]) -> None:
        """Compare the headers of consecutive blocks with what they must be, all at once. Raises ``FormatError``."""
        count = len(raw) // self._stride
        fields = _headers(self._stride, count).unpack(raw)
        last = min(self.block_size, self.size - (index + count - 1) * self.block_size)
        wanted = (
            (T_DATA,) * count,
            (self._key,) * count,
            tuple(range(index + 1, index + count + 1)),
            (self.block_size,) * (count - 1) + (last,),
        )
        totals = checksums(raw, self._stride)
        if all(fields[place :: len(wanted)] == column for place, column in enumerate(wanted)) and not any(totals):
            return
        keys = [block for key, length in runs for block in range(key, key + length)]
        for place, key in enumerate(keys):
            offset = key * self._stride
            if any(fields[len(wanted) * place + number] != column[place] for number, column in enumerate(wanted)):
                raise FormatError("amigados", f"block {key} is not block {index + place + 1} of its file", offset=offset)
            if totals[place]:
                raise ChecksumError("amigados", f"bad checksum of block {key}", offset=offset)


@lru_cache(BATCH)
def _headers(stride: int, count: int) -> Struct:
    """Type, file, number and size of ``count`` blocks."""
    return Struct(">" + f"4I{stride - 16}x" * count)


@lru_cache(BATCH)
def _payloads(stride: int, count: int) -> Struct:
    """What is behind the headers of ``count`` blocks."""
    return Struct(f"{HEAD}x{stride - HEAD}s" * count)
