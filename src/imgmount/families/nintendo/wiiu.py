"""What Wii U discs and titles share: the table of files (FST), its clusters and their encryption.

A cluster is one of the areas that an FST divides its partition into, in an installed title a file of its own.
Raw clusters are one stream of AES-CBC, or in partitions with the disc key one each 64 KiB. Hashed ones have
blocks of 64 KiB: 1 KiB of hashes, and data whose IV is the hash of its own block. Sources: WiiUBrew, "Wii U
optical disc"; NKit (MIT); what Cemu and JNUSLib do. Everything is big endian.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from hashlib import sha1
from struct import Struct
from typing import Final, NamedTuple, Protocol, Self, runtime_checkable

from imgmount.codecs.aes import BLOCK, decrypt_cbc, decrypt_parts
from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.fields import table
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, ImageError, KeyRequiredError
from imgmount.families.nintendo.wiiu_title import Tmd

UNIT: Final = 0x8000  # of places on a disc
FST_MAGIC: Final = b"FST\0"
_FST: Final = Struct(">4sIIB")  # magic, offset factor, clusters, whether hashed clusters have no hashes
_CLUSTER: Final = Struct(">II12xB11x")  # place and size in units, hash mode
CLUSTERS: Final = 0x20  # offset of the table
NODE: Final = 16
MAX_FST: Final = 16 << 20
MAX_NODES: Final = 1 << 18
MAX_NAME: Final = 1 << 10  # bytes: a name without its end would be all that follows
PART_MAGIC: Final = b"\xcc\x93\xa4\xf5"
_H3: Final = Struct(">II")  # size of the H3 area, entries of its table
H3_SIZE: Final = 0x0C
_PART: Final = Struct(">II")  # size of the FST, place in units
FST_SIZE: Final = 0x14
ENCRYPTION: Final = 0x25
H3_TABLE: Final = 0x40
MAX_CLUSTERS: Final = 1 << 12
HASHED: Final = 2  # of hash modes; 0 and 1 are raw
DIRECTORY: Final = 0x01
DELETED: Final = 0x80
PLAIN_OFFSET: Final = 4  # flag of a node: its offset is bytes
NAME_MASK: Final = 0x00FF_FFFF

HASHED_BLOCK: Final = 0x10000
HASHES: Final = 0x400
HASHED_DATA: Final = HASHED_BLOCK - HASHES
DIGEST: Final = 20
FAN: Final = 16  # hashes in a table of each level
TABLE: Final = FAN * DIGEST
RAW_CHUNK: Final = 1 << 16
HASHED_CHUNK: Final = 2  # blocks decrypted together


class ContentKey(NamedTuple):
    """How the clusters of a partition are encrypted.

    ``restarts``: raw ones begin anew each 64 KiB, their IV its number.
    """

    key: bytes
    restarts: bool = False


@runtime_checkable
class KeyedPart(Protocol):
    """A partition whose key is known, or known to be missing."""

    tmd: Tmd | None  # that of its title, if it is one

    def content_key(self) -> ContentKey | None:
        """The key of its contents, None where they are not encrypted. Raises ``KeyRequiredError``."""


class FstEntry(NamedTuple):
    """A node of the table of files. ``end`` is behind the last descendant of a directory."""

    number: int
    name: bytes
    is_directory: bool
    cluster: int
    offset: int
    size: int
    end: int


class Cluster(NamedTuple):
    """Place in the partition and size, in bytes, and whether it has hashes."""

    offset: int
    size: int
    hashed: bool


class Fst:
    """A decrypted table of files."""

    def __init__(self, data: bytes, fmt: str) -> None:
        self.fmt = fmt
        if len(data) < CLUSTERS or data[:4] != FST_MAGIC:
            raise FormatError(fmt, "no table of files")
        _, self._factor, count, hashless = _FST.unpack_from(data)
        start = CLUSTERS + count * _CLUSTER.size
        if count > MAX_CLUSTERS or start + NODE > len(data):
            raise FormatError(fmt, f"a table of files with {count} clusters")
        records = _CLUSTER.iter_unpack(data[CLUSTERS:start])
        self.clusters = [
            Cluster(place * UNIT, size * UNIT, mode == HASHED and not hashless)
            for place, size, mode in records
        ]
        nodes = int.from_bytes(data[start + 8 : start + 12], "big")
        if data[start] & DIRECTORY == 0 or not 0 < nodes <= min((len(data) - start) // NODE, MAX_NODES):
            raise FormatError(fmt, f"a table of files with {nodes} nodes")
        self._numbers: array[int] = table(data[start : start + nodes * NODE], 4, "big")
        self._names = data[start + nodes * NODE :]
        self.nodes = nodes

    def children(self, index: int) -> Iterator[FstEntry]:
        """What directory ``index`` holds. Each directory ends inside the one above it, so every walk ends."""
        end = self._numbers[4 * index + 2]
        if not index < end <= self.nodes:
            raise FormatError(self.fmt, f"node {index} ends at {end} of {self.nodes}")
        index += 1
        while index < end:
            word, offset, size, tail = self._numbers[4 * index : 4 * index + 4]
            kind, start = word >> 24, word & NAME_MASK
            is_directory = bool(kind & DIRECTORY)
            if start >= len(self._names) or (is_directory and not index < size <= end):
                raise FormatError(self.fmt, f"node {index} has its name or its end outside of the table")
            if not kind & DELETED:
                name = self._name(start)
                place = offset if tail >> 16 & PLAIN_OFFSET else offset * self._factor
                yield FstEntry(index, name, is_directory, tail & 0xFFFF, place, size, size)
            index = size if is_directory else index + 1

    def _name(self, start: int) -> bytes:
        end = self._names.find(b"\0", start, start + MAX_NAME)
        return self._names[start : end if end >= 0 else start + MAX_NAME]

    def find(self, *path: bytes) -> FstEntry | None:
        """The node at ``path``."""
        index, found = 0, None
        for name in path:
            found = next((node for node in self.children(index) if node.name == name), None)
            if found is None:
                return None
            index = found.number
        return found


class RawCluster(ChunkedDevice):
    """A cluster without hashes."""

    def __init__(self, device: BlockDevice, key: ContentKey, index: int, cache: ReadCache) -> None:
        super().__init__(device.size // BLOCK * BLOCK, RAW_CHUNK, cache)
        self._device = device
        self._key = key
        self._iv = index.to_bytes(2, "big") + bytes(BLOCK - 2)

    def _read_chunk(self, index: int) -> bytes:
        start = index * RAW_CHUNK
        size = min(RAW_CHUNK, self.size - start)
        if self._key.restarts or not index:
            iv = index.to_bytes(BLOCK, "big") if self._key.restarts else self._iv
            return decrypt_cbc(self._key.key, self._device.read_exactly(start, size, "wiiu"), iv)
        raw = self._device.read_exactly(start - BLOCK, size + BLOCK, "wiiu")
        return decrypt_cbc(self._key.key, raw[BLOCK:], raw[:BLOCK])


class HashedCluster(ChunkedDevice):
    """The data of a cluster in hashed blocks; ``key`` is None where it is not encrypted."""

    def __init__(self, device: BlockDevice, key: ContentKey | None, cache: ReadCache) -> None:
        super().__init__(device.size // HASHED_BLOCK * HASHED_DATA, HASHED_CHUNK * HASHED_DATA, cache)
        self._device = device
        self._key = key

    def _blocks(self, first: int, count: int) -> tuple[list[bytes], bytes]:
        """(hashes of each, data of all) of ``count`` blocks."""
        raw = self._device.read_exactly(first * HASHED_BLOCK, count * HASHED_BLOCK, "wiiu")
        starts = range(0, len(raw), HASHED_BLOCK)
        hashes = [raw[at : at + HASHES] for at in starts]
        if self._key is None:
            return hashes, b"".join([raw[at + HASHES : at + HASHED_BLOCK] for at in starts])
        hashes = [decrypt_cbc(self._key.key, part) for part in hashes]
        ivs = [part[(first + n) % FAN * DIGEST :][:BLOCK] for n, part in enumerate(hashes)]
        parts = [(at + HASHES, at + HASHED_BLOCK, iv) for at, iv in zip(starts, ivs, strict=True)]
        return hashes, decrypt_parts(self._key.key, raw, parts)

    def _read_chunk(self, index: int) -> bytes:
        first = index * HASHED_CHUNK
        return self._blocks(first, min(HASHED_CHUNK, self.size // HASHED_DATA - first))[1]

    def verify(self, blocks: int, h3: bytes | None) -> Iterator[str]:
        """Check H0 to H2 of the first ``blocks``, and H3 where that table is given."""
        for block in range(min(blocks, self.size // HASHED_DATA)):
            try:
                (hashes,), data = self._blocks(block, 1)
            except ImageError as exc:
                yield f"block {block}: {exc}"
                return
            tables = [hashes[level * TABLE : (level + 1) * TABLE] for level in range(3)]
            above = [*tables, h3] if h3 is not None else tables
            for level, (below, digests) in enumerate(zip([data, *tables], above, strict=False)):
                number = block // FAN**level
                at = (number if level == 3 else number % FAN) * DIGEST
                if digests[at : at + DIGEST] != sha1(below).digest():
                    yield f"block {block} does not match its hash H{level}"


def open_cluster(
    device: BlockDevice, key: ContentKey | None, index: int, cache: ReadCache, *, hashed: bool
) -> BlockDevice:
    """The decrypted data of cluster ``index``."""
    if hashed:
        return HashedCluster(device, key, cache)
    return device if key is None else RawCluster(device, key, index, cache)


def decrypts_fst(device: BlockDevice, offset: int, key: bytes) -> bool:
    """Whether ``key`` decrypts the table of files at ``offset``."""
    raw = device.pread(offset, BLOCK)
    return len(raw) == BLOCK and decrypt_cbc(key, raw).startswith(FST_MAGIC)


def read_fst(device: BlockDevice, offset: int, size: int, key: ContentKey | None, fmt: str) -> Fst:
    """The table of files of ``size`` bytes at ``offset``.

    Raises ``FormatError``; without the magic ``KeyRequiredError``.
    """
    if not CLUSTERS <= size <= MAX_FST:
        raise FormatError(fmt, f"a table of files of {size} bytes", offset=offset)
    raw = device.read_exactly(offset, -(-size // BLOCK) * BLOCK, fmt)
    data = raw if key is None else decrypt_cbc(key.key, raw)
    if key is not None and data[:4] != FST_MAGIC:
        raise KeyRequiredError(
            f"{fmt}: the key of this partition is wrong: what it decrypts is no table of files"
        )
    return Fst(data[:size], fmt)


def content(device: BlockDevice, node: FstEntry) -> BlockDevice:
    """The file ``node`` in its cluster."""
    return Slice(device, node.offset, node.size)


class PartHeader(NamedTuple):
    """The header of a partition of a disc, in clear; places are bytes from its start."""

    fst: int
    fst_size: int
    encryption: int
    raw: bytes

    @classmethod
    def read(cls, part: BlockDevice, fmt: str) -> Self:
        """Raises ``FormatError``."""
        raw = part.read_exactly(0, UNIT, fmt)
        if not raw.startswith(PART_MAGIC):
            raise FormatError(fmt, "no partition header", offset=0)
        size, unit = _PART.unpack_from(raw, FST_SIZE)
        return cls(unit * UNIT, size, raw[ENCRYPTION], raw)

    def h3(self, index: int) -> bytes:
        """The H3 hashes of content ``index``; a table of u32 at 0x40 has their starts and the last end."""
        size, count = _H3.unpack_from(self.raw, H3_SIZE)
        if not index + 1 < count <= MAX_CLUSTERS or H3_TABLE + size > len(self.raw) or 4 * count > size:
            return b""
        offsets = [*table(self.raw[H3_TABLE : H3_TABLE + 4 * count], 4, "big"), size]
        return self.raw[H3_TABLE + offsets[index + 1] : H3_TABLE + min(offsets[index + 2], size)]
