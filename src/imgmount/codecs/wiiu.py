"""What Wii U discs and installed titles share: the table of files (FST), its clusters and how they are encrypted.

A cluster is one of the areas that an FST divides its partition into, in an installed title a file of its own. Raw clusters are
one stream of AES-CBC. Hashed ones have blocks of 64 KiB: 1 KiB of hashes, and data whose IV is the hash of its own block.
Sources: WiiUBrew, "Wii U optical disc"; the behaviour of Cemu and JNUSLib. Everything is big endian.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from hashlib import sha1
from struct import Struct
from typing import Final, NamedTuple, Protocol, runtime_checkable

from imgmount.codecs.aes import BLOCK, decrypt_cbc, decrypt_units
from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.fields import table
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, ImageError, KeyRequiredError

UNIT: Final = 0x8000  # of places on a disc
FST_MAGIC: Final = b"FST\0"
_FST: Final = Struct(">4sII")  # magic, offset factor, clusters
_CLUSTER: Final = Struct(">II12xB11x")  # place and size in units, hash mode
CLUSTERS: Final = 0x20  # offset of the table
NODE: Final = 16
MAX_FST: Final = 64 << 20
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


@runtime_checkable
class KeyedPart(Protocol):
    """A partition whose key is known, or known to be missing."""

    def content_key(self) -> bytes | None:
        """The key of its contents, None where they are not encrypted. Raises ``KeyRequiredError``."""


class Node(NamedTuple):
    """A node of the table of files. ``end`` is behind the last descendant of a directory."""

    number: int
    name: bytes
    is_directory: bool
    cluster: int
    offset: int
    size: int
    end: int


class Fst:
    """A decrypted table of files."""

    def __init__(self, data: bytes, fmt: str) -> None:
        self.fmt = fmt
        if len(data) < CLUSTERS or data[:4] != FST_MAGIC:
            raise FormatError(fmt, "no table of files")
        _, self._factor, count = _FST.unpack_from(data)
        start = CLUSTERS + count * _CLUSTER.size
        if count > MAX_CLUSTERS or start + NODE > len(data):
            raise FormatError(fmt, f"a table of files with {count} clusters")
        self.clusters = list(_CLUSTER.iter_unpack(data[CLUSTERS:start]))
        nodes = int.from_bytes(data[start + 8 : start + 12], "big")
        if data[start] & DIRECTORY == 0 or not 0 < nodes <= (len(data) - start) // NODE:
            raise FormatError(fmt, f"a table of files with {nodes} nodes")
        self._numbers: array[int] = table(data[start : start + nodes * NODE], 4, "big")
        self._names = data[start + nodes * NODE :]
        self.nodes = nodes

    def children(self, index: int) -> Iterator[Node]:
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
                yield Node(index, name, is_directory, tail & 0xFFFF, place, size, size)
            index = size if is_directory else index + 1

    def _name(self, start: int) -> bytes:
        end = self._names.find(b"\0", start)
        return self._names[start : end if end >= 0 else len(self._names)]

    def find(self, *path: bytes) -> Node | None:
        """The node at ``path``."""
        index, found = 0, None
        for name in path:
            found = next((node for node in self.children(index) if node.name == name), None)
            if found is None:
                return None
            index = found.number
        return found


class RawCluster(ChunkedDevice):
    """A cluster that is one stream of AES-CBC."""

    def __init__(self, device: BlockDevice, key: bytes, index: int, cache: ReadCache) -> None:
        super().__init__(device.size // BLOCK * BLOCK, RAW_CHUNK, cache)
        self._device = device
        self._key = key
        self._iv = index.to_bytes(2, "big") + bytes(BLOCK - 2)

    def _read_chunk(self, index: int) -> bytes:
        start = index * RAW_CHUNK
        size = min(RAW_CHUNK, self.size - start)
        if not start:
            return decrypt_cbc(self._key, self._device.read_exactly(0, size, "wiiu"), self._iv)
        raw = self._device.read_exactly(start - BLOCK, size + BLOCK, "wiiu")
        return decrypt_cbc(self._key, raw[BLOCK:], raw[:BLOCK])


class HashedCluster(ChunkedDevice):
    """The data of a cluster in hashed blocks; ``key`` is None where it is not encrypted."""

    def __init__(self, device: BlockDevice, key: bytes | None, cache: ReadCache) -> None:
        super().__init__(device.size // HASHED_BLOCK * HASHED_DATA, HASHED_CHUNK * HASHED_DATA, cache)
        self._device = device
        self._key = key

    def _blocks(self, first: int, count: int) -> tuple[list[bytes], bytes]:
        """(hashes of each, data of all) of ``count`` blocks."""
        raw = self._device.read_exactly(first * HASHED_BLOCK, count * HASHED_BLOCK, "wiiu")
        starts = range(0, len(raw), HASHED_BLOCK)
        hashes = [raw[at : at + HASHES] for at in starts]
        coded = [raw[at + HASHES : at + HASHED_BLOCK] for at in starts]
        if self._key is None:
            return hashes, b"".join(coded)
        hashes = [decrypt_cbc(self._key, part) for part in hashes]
        ivs = [part[(first + n) % FAN * DIGEST :][:BLOCK] for n, part in enumerate(hashes)]
        return hashes, decrypt_units(self._key, list(zip(ivs, coded, strict=True)))

    def _read_chunk(self, index: int) -> bytes:
        first = index * HASHED_CHUNK
        return self._blocks(first, min(HASHED_CHUNK, self.size // HASHED_DATA - first))[1]

    def verify(self) -> Iterator[str]:
        """H0 of each block's data, and H1 and H2 of the tables below them."""
        for block in range(self.size // HASHED_DATA):
            try:
                (hashes,), data = self._blocks(block, 1)
            except ImageError as exc:
                yield str(exc)
                return
            below = [data, hashes[:TABLE], hashes[TABLE : 2 * TABLE]]
            for level, content in enumerate(below):
                at = level * TABLE + block // FAN**level % FAN * DIGEST
                if hashes[at : at + DIGEST] != sha1(content).digest():  # noqa: S324  the format's own
                    yield f"block {block} does not match its hash H{level}"


def open_cluster(device: BlockDevice, key: bytes | None, index: int, mode: int, cache: ReadCache) -> BlockDevice:
    """The decrypted data of cluster ``index``."""
    if mode == HASHED:
        return HashedCluster(device, key, cache)
    return device if key is None else RawCluster(device, key, index, cache)


def read_fst(device: BlockDevice, offset: int, size: int, key: bytes | None, fmt: str) -> Fst:
    """The table of files of ``size`` bytes at ``offset``. Raises ``FormatError``; without the magic ``KeyRequiredError``."""
    if not CLUSTERS <= size <= MAX_FST:
        raise FormatError(fmt, f"a table of files of {size} bytes", offset=offset)
    raw = device.read_exactly(offset, -(-size // BLOCK) * BLOCK, fmt)
    data = raw if key is None else decrypt_cbc(key, raw)
    if key is not None and data[:4] != FST_MAGIC:
        raise KeyRequiredError(f"{fmt}: the key of this partition is wrong: what it decrypts is no table of files")
    return Fst(data[:size], fmt)


def content(device: BlockDevice, node: Node) -> BlockDevice:
    """The file ``node`` in its cluster."""
    return Slice(device, node.offset, node.size)
