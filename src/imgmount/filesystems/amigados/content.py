"""The content of files: their blocks, as runs; FFS blocks are data, OFS blocks begin with a header."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from operator import sub
from struct import Struct
from typing import TYPE_CHECKING, Final

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.errors import ChecksumError, FormatError, ImageError
from imgmount.filesystems.amigados.blocks import FFS, HEAD, T_DATA, T_HEADER, T_LIST, checksums, long_at

if TYPE_CHECKING:
    from imgmount.filesystems.amigados.volume import AmigaVolume

COUNT: Final = 2  # longs of a table of blocks
LAST_SLOT: Final = -51  # where the table begins: it is written backwards
PARENT: Final = -3
EXTENSION: Final = -2
BATCH: Final = 256  # OFS blocks looked at together


class BlockTable:
    """Which block is where: a file's blocks as runs, as far as the chain of its tables can be followed.

    ``damage`` says why there are fewer than needed, ``doubts`` which back pointers are wrong, which AmigaDOS
    does not follow. ``lost`` marks blocks that a deleted file no longer has; its back pointers must be right.
    """

    def __init__(self, volume: AmigaVolume, key: int, size: int, lost: bytearray | None = None) -> None:
        self._volume = volume
        self._key = key
        self._lost = lost
        self._limit = min(volume.root_place.blocks, volume.device.size // volume.root_place.block_size)
        payload = volume.root_place.block_size - (0 if volume.dos_type & FFS else HEAD)
        needed = -(-size // payload)
        self.count = 0  # blocks that are known
        self.tables: list[int] = []  # blocks that hold the table, the header first
        self.doubts: list[str] = []
        self.damage: ImageError | None = None
        self._firsts, self._starts = array("I"), array("I")  # of runs: in the file, in the volume
        self._next = -1  # would make the last run longer
        try:
            for found in self._tables():
                self._append(found)
        except ImageError as exc:
            self.damage = exc
        if self.damage is None and self.count < needed:
            self.damage = FormatError(
                "amigados", f"a file of {needed} blocks names only {self.count} of them", offset=self._at(key)
            )

    def _tables(self) -> Iterator[tuple[int, ...]]:
        """The blocks that each table names."""
        volume, slots = self._volume, self._volume.root_place.hash_size
        key, kind = self._key, T_HEADER
        seen: set[int] = set()
        while key:
            if key in seen:
                raise FormatError("amigados", "the chain of a file's tables loops", offset=self._at(key))
            seen.add(key)
            longs = volume.longs(key)
            if longs[0] != kind or (self._lost is not None and longs[1] != key):
                raise FormatError(
                    "amigados",
                    f"block {key}, which should hold a table of a file, does not",
                    offset=self._at(key),
                )
            if kind == T_LIST and longs[PARENT] != self._key:
                if self._lost is not None or self._belongs(key, longs[PARENT]):
                    raise FormatError(
                        "amigados", f"block {key} is another file's table", offset=self._at(key)
                    )
                self.doubts.append(f"its table in block {key} names block {longs[PARENT]} as its file")
            if longs[1] != key:
                self.doubts.append(f"its table in block {key} says that it is block {longs[1]}")
            self.tables.append(key)
            yield longs[LAST_SLOT : LAST_SLOT - min(longs[COUNT], slots) : -1]
            key, kind = longs[EXTENSION], T_LIST

    def _belongs(self, key: int, file: int) -> bool:
        """Whether the file with the header ``file`` leads to the table in block ``key``."""
        seen: set[int] = set()
        try:
            longs = self._volume.longs(file)
            while longs[0] in (T_HEADER, T_LIST) and longs[EXTENSION] not in (0, *seen):
                seen.add(longs[EXTENSION])
                if longs[EXTENSION] == key:
                    return True
                longs = self._volume.longs(longs[EXTENSION])
        except ImageError:
            pass
        return False

    def _append(self, keys: tuple[int, ...]) -> None:
        if keys and keys == tuple(range(keys[0], keys[0] + len(keys))):  # as in nearly every table
            runs = [(keys[0], len(keys))]
        else:
            runs = [(key, 1) for key in keys]
        for key, count in runs:
            if key != self._next:
                self._firsts.append(self.count)
                self._starts.append(key)
            self.count += count
            self._next = key + count

    def _at(self, key: int) -> int:
        return key * self._volume.root_place.block_size

    def runs(self) -> Iterator[tuple[int, int]]:
        """(block, how many follow each other) of all that are known, whether they can be or not."""
        ends = (*self._firsts[1:], self.count)
        return zip(self._starts, map(sub, ends, self._firsts), strict=True)

    def run(self, index: int) -> tuple[int, int]:
        """(block, how many follow each other) from block ``index`` of the file on. Raises ``ImageError``."""
        if index >= self.count:
            if self.damage is not None:
                raise self.damage.again()
            raise FormatError("amigados", f"a file has no block {index}", offset=self._at(self._key))
        place = bisect_right(self._firsts, index)
        end = self._firsts[place] if place < len(self._firsts) else self.count
        key = self._starts[place - 1] + index - self._firsts[place - 1]
        if not self._volume.root_place.reserved <= key < self._limit:
            raise FormatError(
                "amigados",
                f"a file names block {key}, the volume has {self._limit}",
                offset=self._at(self._key),
            )
        count = min(end - index, self._limit - key)
        if self._lost is None or (taken := self._lost.find(1, key, key + count)) < 0:
            return key, count
        if taken == key:
            raise FormatError(
                "amigados", f"block {key} of a deleted file has been used again", offset=self._at(key)
            )
        return key, taken - key


class FfsFile(MappedDevice):
    """A file whose blocks are data."""

    def __init__(self, volume: AmigaVolume, blocks: BlockTable, size: int) -> None:
        self.size = size
        self.block_size = volume.root_place.block_size
        self._device = volume.device
        self._blocks = blocks

    def _map(self, offset: int) -> Extent:
        index, skip = divmod(offset, self.block_size)
        key, count = self._blocks.run(index)
        return Extent(count * self.block_size - skip, self._device, key * self.block_size + skip)


class OfsFile(BlockDevice):
    """A file whose blocks have headers with a checksum, which is compared.

    The headers also name the file, the number of the block in it and its size. AmigaDOS reads by the file's
    table, which says the same, so a difference only adds to ``doubts``. In a deleted file (``strict``), and
    where a block is of another kind, a difference ends the read. Reads copy the data: runs of half a kilobyte
    are not worth a splice each.
    """

    def __init__(self, volume: AmigaVolume, blocks: BlockTable, key: int, size: int, *, strict: bool) -> None:
        self.size = size
        self._stride = volume.root_place.block_size
        self.block_size = self._stride - HEAD
        self._device = volume.device
        self._blocks = blocks
        self._key = key
        self._strict = strict

    def _pread(self, offset: int, size: int) -> bytes:
        index, lead = divmod(offset, self.block_size)
        last = -(-(offset + size) // self.block_size)
        parts = [self._batch(first, min(BATCH, last - first)) for first in range(index, last, BATCH)]
        data = b"".join(parts)
        return data if len(data) == size else data[lead : lead + size]

    def _batch(self, index: int, count: int) -> bytes:
        """The data of ``count`` blocks from number ``index`` on."""
        raw, keys = self._stored(index, count)
        if bad := next((place for place, total in enumerate(checksums(raw, self._stride)) if total), -1) + 1:
            key = keys[bad - 1]
            raise ChecksumError(
                "amigados", f"block {key} is damaged: its checksum differs", offset=key * self._stride
            )
        for place, doubt in self._differences(raw, index, keys):
            if self._strict or long_at(raw, place * self._stride) != T_DATA:
                raise FormatError("amigados", doubt, offset=keys[place] * self._stride)
        data = b"".join(_payloads(self._stride, count).unpack(raw))
        return data[: self.size - index * self.block_size]

    def _stored(self, index: int, count: int) -> tuple[bytes, list[int]]:
        """``count`` blocks from number ``index`` on, and which blocks of the volume they are."""
        keys: list[int] = []
        raws: list[bytes] = []
        while len(keys) < count:
            key, length = self._blocks.run(index + len(keys))
            length = min(length, count - len(keys))
            keys += range(key, key + length)
            raws.append(self._device.read_exactly(key * self._stride, length * self._stride, "amigados"))
        return b"".join(raws), keys

    def _differences(self, raw: bytes, index: int, keys: list[int]) -> Iterator[tuple[int, str]]:
        """(place among ``keys``, what is wrong) of headers that are not those of blocks ``index`` and on."""
        count = len(keys)
        fields = _headers(self._stride, count).unpack(raw)
        last = min(self.block_size, self.size - (index + count - 1) * self.block_size)
        wanted = (
            (T_DATA,) * count,
            (self._key,) * count,
            tuple(range(index + 1, index + count + 1)),
            (self.block_size,) * (count - 1) + (last,),
        )
        width = len(wanted)
        if all(fields[place::width] == column for place, column in enumerate(wanted)):
            return
        for place, key in enumerate(keys):
            if fields[width * place : width * (place + 1)] != tuple(column[place] for column in wanted):
                yield place, f"block {key} says that it is not block {index + place + 1} of its file"

    def doubts(self) -> Iterator[str]:
        """One line for each header that disagrees with the file's table. Raises ``ImageError``."""
        total = -(-self.size // self.block_size)
        for index in range(0, total, BATCH):
            raw, keys = self._stored(index, min(BATCH, total - index))
            yield from (problem for _, problem in self._differences(raw, index, keys))


@lru_cache(BATCH)
def _headers(stride: int, count: int) -> Struct:
    """Type, file, number and size of ``count`` blocks."""
    return Struct(">" + f"4I{stride - 16}x" * count)


@lru_cache(BATCH)
def _payloads(stride: int, count: int) -> Struct:
    """What is behind the headers of ``count`` blocks."""
    return Struct(f"{HEAD}x{stride - HEAD}s" * count)
