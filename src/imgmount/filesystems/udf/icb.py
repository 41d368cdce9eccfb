"""File entries (ICBs) and where the content they describe lies."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from imgmount.core.device import BlockDevice, Extent
from imgmount.core.header import short
from imgmount.core.slices import Concat
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.udf.structs import (
    ALLOCATION_EXTENT,
    EXTENDED_FILE_ENTRY,
    FILE_ENTRY,
    FMT,
    INDIRECT_ENTRY,
    LENGTH_MASK,
    TAG,
    TAG_SIZE,
    TERMINAL_ENTRY,
    Place,
    check_tag,
    long_ad,
)

STRATEGY_DIRECT: Final = 4  # one entry, rewritten in place
STRATEGY_CHAIN: Final = 4096  # each entry is followed by a pointer to its successor (UDF 2.3.5.1)
MAX_CHAIN: Final = 4096  # times that a file of a write-once disc was rewritten
MAX_EXTENTS: Final = 1 << 20  # allocation descriptors of a file
MAX_FILE: Final = (1 << 63) - 1  # what off_t holds
BATCH_GAP: Final = 4  # blocks between two file entries that are still read in one go
BATCH_BLOCKS: Final = 128  # read in one go

# Allocation descriptors (ICB flags bits 0-2, 4/14.6.8)
SHORT, LONG, EXTENDED, EMBEDDED = range(4)
_LAYOUT: Final = 7
# Extent types (bits 30-31 of an extent length, 4/14.14.1.1); the two between are unrecorded: they read as
# zeros
RECORDED, CONTINUED = 0, 3
TYPE_SHIFT: Final = 30

# strategy, file type, flags, uid, gid, permissions, links, size
_COMMON: Final = struct.Struct("<20xH5xB6xHIIIH6xQ")
_TIMES: Final = struct.Struct("<Q12s12s12s")  # recorded blocks, accessed, modified, attributes changed
_EXTENDED_TIMES: Final = struct.Struct("<8xQ12s12s12x12s")
_TIMES_AT: Final = 64
_LENGTHS: Final = struct.Struct("<II")  # of the extended attributes and of the allocation descriptors
_LENGTHS_AT: Final = {FILE_ENTRY: 168, EXTENDED_FILE_ENTRY: 208}
_STREAMS_AT: Final = 152  # in an extended file entry
_UNIQUE: Final = struct.Struct("<Q")
_UNIQUE_AT: Final = (160, 200)  # in a file entry, in an extended one
_INDIRECT_AT: Final = 36  # the address in an indirect entry
_SHORT_AD: Final = struct.Struct("<II")
_LONG_AD: Final = struct.Struct("<IIH6x")
_EXTENDED_AD: Final = struct.Struct("<IIIIH2x")  # extent, recorded and information length; block, partition
_EXTENT_HEADER: Final = struct.Struct("<I")  # length of the descriptors in an allocation extent
_EXTENT_AT: Final = 20


class Entry:
    """A file entry: its header as stored, and the place and device it was read from."""

    __slots__ = (
        "_attributes",
        "_descriptors",
        "_end",
        "device",
        "extended",
        "file_type",
        "flags",
        "offset",
        "partition",
        "raw",
        "size",
        "strategy",
    )

    def __init__(self, raw: bytes, partition: int, device: BlockDevice, offset: int) -> None:
        self.partition = partition
        self.device = device
        self.offset = offset
        self.strategy, self.file_type, self.flags, _, _, _, _, self.size = _COMMON.unpack_from(raw)
        ident = TAG.unpack_from(raw)[0]
        self.extended: bool = ident == EXTENDED_FILE_ENTRY
        lengths = _LENGTHS.unpack_from(raw, _LENGTHS_AT[ident])
        self._attributes = _LENGTHS_AT[ident] + _LENGTHS.size
        self._descriptors: int = self._attributes + lengths[0]
        self._end: int = self._descriptors + lengths[1]
        if self._end > len(raw):
            raise FormatError(FMT, "a file entry is longer than its block", offset=offset)
        if self.size > MAX_FILE:
            raise FormatError(
                FMT, f"a file of {self.size} bytes is larger than {short(MAX_FILE)}", offset=offset
            )
        self.raw = raw[: self._descriptors if self.embedded else self._end]  # content stays on the disc

    @property
    def embedded(self) -> bool:
        """Whether the content lies in the entry itself."""
        return bool(self.flags & _LAYOUT == EMBEDDED)

    @property
    def attributes(self) -> bytes:
        """The extended attribute space."""
        return self.raw[self._attributes : self._descriptors]

    @property
    def descriptors(self) -> tuple[int, int]:
        """(where in the entry the allocation descriptors or the embedded content begin, their length)."""
        return self._descriptors, self._end - self._descriptors

    @property
    def owner(self) -> tuple[int, int, int, int]:
        """User, group, permissions, links."""
        _, _, _, uid, gid, permissions, links, _ = _COMMON.unpack_from(self.raw)
        return uid, gid, permissions, links

    @property
    def times(self) -> tuple[int, bytes, bytes, bytes]:
        """Recorded blocks; the times of access, modification and change, as stored."""
        layout = _EXTENDED_TIMES if self.extended else _TIMES
        blocks, accessed, modified, changed = layout.unpack_from(self.raw, _TIMES_AT)
        return blocks, accessed, modified, changed

    @property
    def unique(self) -> int:
        """The file's number."""
        return _UNIQUE.unpack_from(self.raw, _UNIQUE_AT[self.extended])[0]  # type: ignore[no-any-return]

    @property
    def streams(self) -> Place | None:
        """The stream directory (UDF 3.3.5), if there is one."""
        place = long_ad(self.raw, _STREAMS_AT) if self.extended else None
        return place if place and place.length else None


class VolumeSpace:
    """The partitions of a logical volume by reference number, and the mirrors of those that have one."""

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.partitions: list[BlockDevice] = []
        self.mirrors: dict[int, BlockDevice] = {}
        self.aliases: dict[int, Sequence[int]] = {}  # virtual block -> block, which some writers put in tags

    def device(self, partition: int) -> BlockDevice:
        """The partition. Raises ``FormatError``."""
        if partition >= len(self.partitions):
            raise FormatError(
                FMT, f"an address is in partition {partition}, the volume has {len(self.partitions)}"
            )
        return self.partitions[partition]

    def descriptor(self, partition: int, block: int, *idents: int) -> tuple[bytes, BlockDevice]:
        """(the descriptor at ``block``, one block long, the device that it was read from).

        Where it is damaged, that is the mirror.
        """
        device = self.device(partition)
        try:
            return self._checked(self._block(device, block), partition, block, idents), device
        except ImageError:
            if (mirror := self.mirrors.get(partition)) is None:
                raise
        return self._checked(self._block(mirror, block), partition, block, idents), mirror

    def _block(self, device: BlockDevice, block: int) -> bytes:
        return device.read_exactly(block * self.block_size, self.block_size, FMT)

    def _checked(self, raw: bytes, partition: int, block: int, idents: tuple[int, ...]) -> bytes:
        alias = self.aliases.get(partition, ())
        locations = (block, alias[block]) if block < len(alias) else (block,)
        check_tag(raw, idents, locations, block * self.block_size)
        return raw

    def entry(self, place: Place) -> Entry:
        """The current file entry of the ICB at ``place``. Raises ``ImageError``."""
        raw, device = self.descriptor(place.partition, place.block, FILE_ENTRY, EXTENDED_FILE_ENTRY)
        return self._current(Entry(raw, place.partition, device, place.block * self.block_size), place)

    def entries(self, places: Sequence[Place]) -> list[Entry | ImageError]:
        """As ``entry``, for many at once: neighbours are read together, and a failure costs only its own."""
        found: dict[tuple[int, int], bytes] = {}
        for group in _neighbours(places):
            found.update(self._read_group(group))
        return [self._entry_or_error(place, found.get((place.partition, place.block))) for place in places]

    def _read_group(self, group: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], bytes]]:
        (partition, first), (_, last) = group[0], group[-1]
        size = self.block_size
        try:
            raw = self.device(partition).read_exactly(first * size, (last - first + 1) * size, FMT)
        except ImageError:
            return  # each is tried by itself
        for key in group:
            start = (key[1] - first) * size
            yield key, raw[start : start + size]

    def _entry_or_error(self, place: Place, raw: bytes | None) -> Entry | ImageError:
        partition, block, _ = place
        try:
            if raw is None:
                return self.entry(place)
            try:
                self._checked(raw, partition, block, (FILE_ENTRY, EXTENDED_FILE_ENTRY))
            except FormatError:
                return self.entry(place)  # perhaps there is a mirror
            return self._current(
                Entry(raw, partition, self.device(partition), block * self.block_size), place
            )
        except ImageError as exc:
            return exc

    def _current(self, entry: Entry, place: Place) -> Entry:
        """The last entry of the chain that begins with ``entry`` (strategy 4096), or ``entry`` itself."""
        if entry.strategy == STRATEGY_DIRECT:
            return entry
        if entry.strategy != STRATEGY_CHAIN:
            raise UnsupportedError(f"{FMT}: ICB strategy {entry.strategy} is not 4 or 4096")
        seen: set[tuple[int, int]] = set()
        while place.length >= 2 * self.block_size:
            if (key := (place.partition, place.block)) in seen or len(seen) == MAX_CHAIN:
                raise FormatError(
                    FMT,
                    "the chain of file entries loops or is too long",
                    offset=place.block * self.block_size,
                )
            seen.add(key)
            follower = place.block + 1
            if not any(self._block(self.device(place.partition), follower)[:TAG_SIZE]):
                break  # not recorded yet
            raw, _ = self.descriptor(place.partition, follower, INDIRECT_ENTRY, TERMINAL_ENTRY)
            if TAG.unpack_from(raw)[0] == TERMINAL_ENTRY:
                break
            place = long_ad(raw, _INDIRECT_AT)
            raw, device = self.descriptor(place.partition, place.block, FILE_ENTRY, EXTENDED_FILE_ENTRY)
            entry = Entry(raw, place.partition, device, place.block * self.block_size)
        return entry

    def content(self, entry: Entry, *, mirrored: bool = False) -> BlockDevice:
        """What ``entry`` describes, ``entry.size`` bytes; ``mirrored`` reads the other copy.

        Raises ``ImageError``.
        """
        return Concat(list(self._runs(entry, mirrored=mirrored)))

    def _runs(self, entry: Entry, *, mirrored: bool) -> Iterator[Extent]:
        start, length = entry.descriptors
        left = entry.size
        if entry.embedded:
            if left > length:
                raise FormatError(
                    FMT, f"a file of {left} bytes is said to be embedded in {length}", offset=entry.offset
                )
            yield Extent(left, entry.device, entry.offset + start)
            return
        for kind, length, partition, block in self.allocation(entry):
            size = min(length, left)
            yield self._extent(kind, size, partition, block, mirrored=mirrored)
            left -= size
            if not left:
                return
        if left:
            raise FormatError(
                FMT,
                f"the extents of a file of {entry.size} bytes leave out {left} of them",
                offset=entry.offset,
            )

    def _extent(self, kind: int, size: int, partition: int, block: int, *, mirrored: bool) -> Extent:
        if kind != RECORDED:
            return Extent(size)
        device = self.device(partition)
        offset = block * self.block_size
        if offset + size > device.size:
            raise FormatError(
                FMT, f"extent of {size} bytes at block {block} leaves its partition of {device.size}"
            )
        return Extent(size, self.mirrors.get(partition, device) if mirrored else device, offset)

    def allocation(self, entry: Entry) -> Iterator[tuple[int, int, int, int]]:
        """(type, bytes, partition, block) of each extent, those that go on in further blocks included."""
        start, length = entry.descriptors
        raw = entry.raw[start : start + length]
        count = 0
        seen: set[tuple[int, int]] = set()
        while True:
            for kind, size, reference, block in _parse(raw, entry.flags & _LAYOUT, entry.partition):
                if not size:
                    return
                count += 1
                if count > MAX_EXTENTS:
                    raise FormatError(FMT, f"a file has more than {MAX_EXTENTS} extents", offset=entry.offset)
                if kind == CONTINUED:
                    break
                yield kind, size, reference, block
            else:
                return
            if (reference, block) in seen:
                raise FormatError(FMT, "the list of extents loops", offset=entry.offset)
            seen.add((reference, block))
            raw = self._more(reference, block)

    def _more(self, partition: int, block: int) -> bytes:
        """The allocation descriptors in the allocation extent at ``block`` (4/14.5)."""
        raw, _ = self.descriptor(partition, block, ALLOCATION_EXTENT)
        (length,) = _EXTENT_HEADER.unpack_from(raw, _EXTENT_AT)
        start = _EXTENT_AT + _EXTENT_HEADER.size
        if start + length > len(raw):
            raise FormatError(
                FMT,
                f"{length} bytes of allocation descriptors are more than a block holds",
                offset=block * self.block_size,
            )
        return raw[start : start + length]


def _parse(raw: bytes, layout: int, partition: int) -> Iterator[tuple[int, int, int, int]]:
    """(type, bytes, partition, block) of each allocation descriptor.

    A short one means the partition of its file entry.
    """
    if layout == SHORT:
        for length, block in _SHORT_AD.iter_unpack(_whole(raw, _SHORT_AD)):
            yield length >> TYPE_SHIFT, length & LENGTH_MASK, partition, block
    elif layout == LONG:
        for length, block, reference in _LONG_AD.iter_unpack(_whole(raw, _LONG_AD)):
            yield length >> TYPE_SHIFT, length & LENGTH_MASK, reference, block
    elif layout == EXTENDED:
        for length, recorded, size, block, reference in _EXTENDED_AD.iter_unpack(_whole(raw, _EXTENDED_AD)):
            kind = length >> TYPE_SHIFT
            if kind == RECORDED and recorded & LENGTH_MASK != size:
                raise UnsupportedError(f"{FMT}: compressed extents are not supported")
            yield kind, size if kind == RECORDED else length & LENGTH_MASK, reference, block
    else:
        raise UnsupportedError(
            f"{FMT}: allocation descriptors of type {layout} are not short, long, extended or embedded"
        )


def _whole(raw: bytes, layout: struct.Struct) -> bytes:
    return raw[: len(raw) // layout.size * layout.size]


def _neighbours(places: Iterable[Place]) -> Iterator[list[tuple[int, int]]]:
    """The blocks of ``places``, sorted and grouped so that a group is worth one read."""
    group: list[tuple[int, int]] = []
    for key in sorted({(place.partition, place.block) for place in places}):
        partition, block = key
        if group and (
            partition != group[0][0]
            or block > group[-1][1] + BATCH_GAP
            or block >= group[0][1] + BATCH_BLOCKS
        ):
            yield group
            group = []
        group.append(key)
    if group:
        yield group
