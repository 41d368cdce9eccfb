"""The groups of WIA and RVZ: what is stored for one chunk, and devices made of groups."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final, Protocol

from imgmount.containers.nintendo.wia import codec
from imgmount.containers.nintendo.wia.header import HASH_GROUP, MAX_DISC, SECTOR, Header, Range
from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice, ChunkedDevice, GroupedDevice
from imgmount.core.fields import table
from imgmount.errors import FormatError
from imgmount.families.nintendo import wii_clusters as wii
from imgmount.families.nintendo.wii_clusters import HashException

MAX_WHOLE: Final = {"wia": 16 << 20, "rvz": 32 << 20}  # a chunk up to here is decoded at once
COMPRESSED: Final = 0x8000_0000  # flag of an RVZ group's size
PLACE_UNIT: Final = 4
COUNT: Final = Struct(">H")
EXCEPTION: Final = Struct(">H20s")
MAX_EXCEPTIONS: Final = 52 * wii.GROUP_CLUSTERS  # 31 + 8 + 8 hashes in each cluster, and its padding
MAX_LIST: Final = COUNT.size + MAX_EXCEPTIONS * EXCEPTION.size
LIST_ALIGN: Final = 4

Lists = list[list[tuple[int, bytes]]]  # of (offset, digest) for each group of hashes


class Clusters(Protocol):
    """Data of a Wii partition, without hashes: ``clusters`` clusters from ``cluster`` on."""

    cluster: int
    clusters: int

    def clusters_at(self, first: int, end: int) -> Iterator[tuple[int, bytes, list[HashException]]]:
        """(cluster, data from there, exceptions) of each piece with clusters ``first`` to ``end``."""


class GroupTable:
    """All groups of a file."""

    def __init__(self, file: BlockDevice, header: Header, entries: bytes) -> None:
        self.fmt = header.fmt
        self.chunk_size = header.chunk_size
        self.compression = header.compression
        self.extra = header.extra
        self.file = file
        self._entries: array[int] = table(entries, 4, "big")
        self._width = 3 if header.fmt == "rvz" else 2
        self._purge = header.compression == "purge"
        self._plain = header.compression == "none"
        self._decode = codec.decoder(self.fmt, "none" if self._purge else header.compression, header.extra)

    def __len__(self) -> int:
        return len(self._entries) // self._width

    @property
    def is_large(self) -> bool:
        """Whether groups are decoded forwards, not whole. RVZ has none that large."""
        return self.chunk_size > MAX_WHOLE[self.fmt]

    def entry(self, index: int) -> array[int]:
        """The record of group ``index``: place / 4, stored size, in RVZ the size of the pack stream.

        Raises ``FormatError``.
        """
        if index >= len(self):
            raise FormatError(self.fmt, f"group {index} of {len(self)}")
        return self._entries[index * self._width : (index + 1) * self._width]

    def _read(self, index: int, most: int) -> tuple[bytes, bool, int]:
        """(stored bytes, whether they are compressed, size of the pack stream or 0) of group ``index``."""
        entry = self.entry(index)
        size, packed = entry[1], 0
        compressed = not self._plain and not self._purge
        if self._width == 3:
            packed = entry[2]
            compressed = bool(size & COMPRESSED) and compressed
            size &= ~COMPRESSED
        if size > 2 * most + SECTOR:
            raise FormatError(
                self.fmt,
                f"group {index} is said to have {size} bytes stored, more than it can have",
                offset=entry[0] * PLACE_UNIT,
            )
        return self.file.read_exactly(entry[0] * PLACE_UNIT, size, self.fmt), compressed, packed

    def load(self, index: int, size: int, place: int, lists: int = 0) -> tuple[bytes, Lists]:
        """``size`` bytes of data and ``lists`` lists of exceptions of group ``index``; see ``unpack``."""
        most = size + lists * MAX_LIST
        stored, compressed, packed = self._read(index, most)
        if not stored:
            return bytes(size), [[] for _ in range(lists)]
        if packed > most:
            raise FormatError(self.fmt, f"group {index} is packed in {packed} bytes")
        most = (packed or size) + lists * MAX_LIST
        data = memoryview(self._decode(stored, most) if compressed else stored)
        found, at = exceptions(self.fmt, data, lists)
        if not compressed:
            at = -(-at // LIST_ALIGN) * LIST_ALIGN
        if self._purge:
            return codec.purge(self.fmt, stored[:at], stored[at:], size), found
        if packed:
            return codec.unpack(self.fmt, data[at : at + packed], place, size), found
        if len(data) - at != size and (compressed or len(data) - at < size):
            raise FormatError(self.fmt, f"group {index} decodes to {len(data) - at} bytes, {size} expected")
        return bytes(data[at : at + size]), found


def exceptions(fmt: str, data: bytes | memoryview, lists: int) -> tuple[Lists, int]:
    """``lists`` lists of (offset, digest) at the start of ``data``, and where they end."""
    found = []
    at = 0
    for _ in range(lists):
        count = COUNT.unpack_from(data, at)[0] if at + COUNT.size <= len(data) else MAX_EXCEPTIONS + 1
        at += COUNT.size
        end = at + count * EXCEPTION.size
        if count > MAX_EXCEPTIONS or end > len(data):
            raise FormatError(fmt, "a list of hash exceptions runs past its group")
        found.append(list(EXCEPTION.iter_unpack(data[at:end])))
        at = end
    return found, at


class RawRange(GroupedDevice):
    """Bytes of the disc outside of partitions: an entry of ``header.read_raws``."""

    def __init__(self, groups: GroupTable, entry: tuple[int, int, int, int], cache: ReadCache) -> None:
        self._offset, size, self._first, count = entry
        super().__init__(size, groups.chunk_size, cache)
        check_count(groups, size, groups.chunk_size, count)
        self._groups = groups

    def _read_units(self, first: int, count: int) -> bytes:
        return b"".join([self._load(index) for index in range(first, first + count)])

    def _load(self, index: int) -> bytes:
        return self._groups.load(
            self._first + index, self.unit_size(index), self._offset + index * self.unit
        )[0]


def check_count(groups: GroupTable, size: int, chunk: int, count: int) -> None:
    """Raises ``FormatError`` where ``count`` groups of ``chunk`` bytes are too few for ``size``."""
    if size > min(count * chunk, MAX_DISC):
        raise FormatError(groups.fmt, f"{size} bytes in {count} groups of {chunk}")


class PartRange(GroupedDevice):
    """Data of a Wii partition, without hashes. ``cluster`` is its first one in the partition."""

    def __init__(self, groups: GroupTable, place: Range, cluster: int, cache: ReadCache) -> None:
        chunk = groups.chunk_size // SECTOR * wii.DATA
        super().__init__(place.sectors * wii.DATA, chunk, cache)
        check_count(groups, self.size, chunk, place.groups)
        self._groups = groups
        self._place = place
        self.cluster = cluster
        self.clusters = place.sectors
        self._lists = max(1, groups.chunk_size // HASH_GROUP)

    def _load(self, index: int) -> tuple[bytes, Lists]:
        place = self.cluster * wii.DATA + index * self.unit
        return self._groups.load(self._place.group + index, self.unit_size(index), place, self._lists)

    def _read_units(self, first: int, count: int) -> bytes:
        return b"".join([self._load(index)[0] for index in range(first, first + count)])

    def clusters_at(self, first: int, end: int) -> Iterator[tuple[int, bytes, list[HashException]]]:
        """(cluster, data from there, exceptions) of each chunk with clusters ``first`` to ``end``."""
        per_chunk = self.unit // wii.DATA
        first, end = max(first, self.cluster), min(end, self.cluster + self.clusters)
        if first >= end:
            return
        for index in range((first - self.cluster) // per_chunk, (end - 1 - self.cluster) // per_chunk + 1):
            data, lists = self._load(index)
            start = self.cluster + index * per_chunk
            yield start, data, list(hash_exceptions(self._groups.fmt, start, lists))


def hash_exceptions(fmt: str, start: int, lists: Lists) -> Iterator[HashException]:
    """The exceptions of a chunk that begins with cluster ``start`` of its partition.

    Raises ``FormatError``.
    """
    for number, entries in enumerate(lists):
        for offset, digest in entries:
            cluster, inside = divmod(offset, wii.HASHES)
            if cluster >= wii.GROUP_CLUSTERS or inside + wii.DIGEST > wii.HASHES:
                raise FormatError(fmt, f"a hash exception at {offset:#x}")
            yield HashException(start + number * wii.GROUP_CLUSTERS + cluster, inside, digest)


class EncryptedPart(ChunkedDevice):
    """The data of a Wii partition as it is on the disc: hashed and encrypted."""

    def __init__(self, ranges: Sequence[Clusters], key: bytes, chunk: int, cache: ReadCache) -> None:
        super().__init__(sum(one.clusters for one in ranges) * SECTOR, max(chunk, HASH_GROUP), cache)
        self._ranges = ranges
        self._key = key

    def _read_chunk(self, index: int) -> bytes:
        first = index * self.block_size // SECTOR
        end = min(first + self.block_size // SECTOR, self.size // SECTOR)
        data = bytearray((end - first) * wii.DATA)
        exceptions: list[HashException] = []
        for one in self._ranges:
            for start, piece, found in one.clusters_at(first, end):
                skip = max(0, first - start)
                at = (start + skip - first) * wii.DATA
                part = piece[skip * wii.DATA : (end - start) * wii.DATA]
                data[at : at + len(part)] = part
                exceptions += found
        return b"".join(
            self._encrypted(data, exceptions, first, group) for group in range(first, end, wii.GROUP_CLUSTERS)
        )

    def _encrypted(self, data: bytearray, exceptions: list[HashException], first: int, group: int) -> bytes:
        own = [
            one._replace(cluster=one.cluster - group)
            for one in exceptions
            if 0 <= one.cluster - group < wii.GROUP_CLUSTERS
        ]
        at = (group - first) * wii.DATA
        return wii.encrypt(self._key, memoryview(data)[at : at + wii.GROUP_DATA], own)
