"""Discs in CISO and WBFS files of NKit 2: missing blocks are made again, see ``families.nintendo.nkit``.

On the Wii, blocks of a partition are encrypted, and the hashes beside them with them: that needs the
partition's key. Its H3 table, which is always stored, proves what was made. On the GameCube only the SHA-1 of
the disc does: ``verify``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from hashlib import sha1
from itertools import product
from typing import Final

from imgmount.core.checks import Finding, Seal
from imgmount.core.device import BlockDevice, ChunkedDevice, Extent, MappedDevice
from imgmount.core.format import Context
from imgmount.errors import FormatError
from imgmount.families.nintendo import junk
from imgmount.families.nintendo import wii_clusters as wii
from imgmount.families.nintendo import wii_partitions as wii_disc
from imgmount.families.nintendo.disc_header import HEADER_SIZE, GameDisc
from imgmount.families.nintendo.key_files import disc_names
from imgmount.families.nintendo.nkit import NKit, SparseDisc
from imgmount.families.nintendo.title_keys import Ticket, find_title_key
from imgmount.families.nintendo.wii_clusters import CLUSTER, DATA, GROUP_CLUSTERS
from imgmount.families.nintendo.wii_partitions import FLAGS, Layout

ID_SIZE: Final = 4  # of the game id, that is: the seed of the junk


class _Junk(ChunkedDevice):
    """The padding of a disc."""

    def __init__(self, header: bytes, size: int, context: Context) -> None:
        super().__init__(size, junk.SECTOR * 4, context.cache)
        self._id, self._number = header[:ID_SIZE], header[6]

    def _read_chunk(self, index: int) -> bytes:
        start = index * self.block_size
        return junk.stream(self._id, self._number, start, min(self.block_size, self.size - start))


class RestoredDisc(MappedDevice):
    """The disc that was compacted."""

    def __init__(self, stored: SparseDisc, nkit: NKit, context: Context, fmt: str) -> None:
        self.stored = stored
        self.nkit = nkit
        self.context = context
        self.fmt = fmt
        self.size = nkit.size
        self.block_size = stored.block_size

    def _map(self, offset: int) -> Extent:
        if (part := self._part_at(offset)) is not None:
            return Extent(part.start + part.size - offset, part, offset - part.start)
        return self._outside(offset)

    def _outside(self, offset: int) -> Extent:
        """What lies at ``offset`` where no partition has its hashes."""
        block, skip = divmod(offset, self.block_size)
        ends = [part.start for part in self._parts if part.start > offset]
        length = min(self.block_size - skip, *(end - offset for end in (*ends, self.size)))
        if self.stored.is_stored(block):
            return Extent(length, self.stored, offset)
        return Extent(length, self._junk, offset) if self.nkit.is_junk(block) else Extent(length)

    def _part_at(self, offset: int) -> _RestoredPart | None:
        return next((part for part in self._parts if part.start <= offset < part.start + part.size), None)

    @cached_property
    def header(self) -> bytes:
        return self.stored.read_exactly(0, HEADER_SIZE, self.fmt)

    @cached_property
    def _junk(self) -> BlockDevice:
        return _Junk(self.header, self.size, self.context)

    @cached_property
    def _parts(self) -> list[_RestoredPart]:
        """The partitions whose data is hashed; the tables that say where they are are always stored."""
        if not GameDisc.parse(self.header, self.fmt).is_wii or self.header[FLAGS]:
            return []
        layouts = [wii_disc.layout(self.stored, start) for start, _ in wii_disc.entries(self.stored)]
        return [_RestoredPart(self, layout) for layout in layouts if layout.data % CLUSTER == 0]

    def info(self) -> Mapping[str, str]:
        return {**self.stored.info(), "nkit": f"version 2, a disc of {self.size} bytes"}

    def verify(self) -> Iterator[Finding]:
        """The SHA-1 of the disc."""
        if self.nkit.sha1:
            yield Seal.of("SHA-1", self.nkit.sha1, self, "sha1")


def restored(stored: SparseDisc, nkit: NKit | None, context: Context, fmt: str) -> BlockDevice:
    """The disc that NKit has compacted, or what is stored of it if that was not NKit."""
    return stored if nkit is None else RestoredDisc(stored, nkit, context, fmt)


class _RestoredPart(ChunkedDevice):
    """The data of a Wii partition as on the disc, from ``start`` on; a chunk is a group of hashes."""

    def __init__(self, disc: RestoredDisc, layout: Layout) -> None:
        self.start = layout.data
        self._disc = disc
        self._layout = layout
        size = max(0, min(layout.size, disc.size - layout.data)) // CLUSTER * CLUSTER
        super().__init__(size, wii.GROUP, disc.context.cache)

    def extents(self, offset: int, size: int) -> Iterator[Extent]:
        """Clusters that are stored need no chunk, and no key."""
        end = min(offset + size, self.size)
        while offset < end:
            block = (self.start + offset) // self._disc.block_size
            length = min((block + 1) * self._disc.block_size - self.start, end) - offset
            if self._disc.stored.is_stored(block):
                yield from self._disc.stored.extents(self.start + offset, length)
            else:
                yield from super().extents(offset, length)
            offset += length

    @cached_property
    def _key(self) -> bytes | None:
        """The title key, None where the disc is not encrypted. Raises ``KeyRequiredError``."""
        if self._disc.header[FLAGS + 1]:
            return None
        first = self._disc.stored.read_exactly(self.start, CLUSTER, self._disc.fmt)
        context = self._disc.context
        fits = partial(wii_disc.fits, cluster=first)
        return find_title_key(
            Ticket.wii(self._layout.ticket), context, fits, beside=disc_names(context.path.name)
        )

    @cached_property
    def _seeds(self) -> list[tuple[bytes, int]]:
        """Game ids and disc numbers that the junk may be made of: the partition's own, the disc's."""
        first = self._disc.stored.read_exactly(self.start, CLUSTER, self._disc.fmt)
        data = (first if self._key is None else wii.decrypt_whole(self._key, first))[wii.HASHES :]
        return list(dict.fromkeys((head[:ID_SIZE], head[6]) for head in (data, self._disc.header)))

    def _read_chunk(self, index: int) -> bytes:
        first = index * GROUP_CLUSTERS
        count = min(GROUP_CLUSTERS, self.size // CLUSTER - first)
        stored = {number: raw for number in range(count) if (raw := self._stored(first + number)) is not None}
        for seed, full in product(self._seeds, (False, True)):
            data = b"".join(
                self._data(first + number, stored.get(number), seed, full=full) for number in range(count)
            )
            hashes = wii.hash_blocks(data)
            if self._is_proved(index, hashes[0]):
                made = wii.assemble(self._key, data, hashes)
                return b"".join(
                    stored.get(number) or made[number * CLUSTER :][:CLUSTER] for number in range(count)
                )
        raise FormatError(
            self._disc.fmt,
            f"group {index} of the partition at {self._layout.start:#x} cannot be rebuilt: its hashes differ",
        )

    def _stored(self, cluster: int) -> bytes | None:
        offset = self.start + cluster * CLUSTER
        if not self._disc.stored.is_stored(offset // self._disc.block_size):
            return None
        return self._disc.stored.read_exactly(offset, CLUSTER, self._disc.fmt)

    def _data(self, cluster: int, raw: bytes | None, seed: tuple[bytes, int], *, full: bool) -> bytes:
        """The data of ``cluster``.

        Junk ends with the last whole sector of the data, unless it is ``full``.
        """
        if raw is not None:
            return wii.decrypt(self._key, raw) if self._key is not None else raw[wii.HASHES :]
        if not self._disc.nkit.is_junk((self.start + cluster * CLUSTER) // self._disc.block_size):
            return bytes(DATA)
        end = self.size // CLUSTER * DATA
        end = end if full else end // junk.SECTOR * junk.SECTOR
        size = max(0, min(DATA, end - cluster * DATA))
        return junk.stream(*seed, cluster * DATA, size).ljust(DATA, b"\0")

    def _is_proved(self, group: int, hashes: bytearray) -> bool:
        """Whether the hashes of a cluster lead to the partition's H3 table, if it has one."""
        if not self._layout.h3:
            return True
        place = self._layout.start + self._layout.h3 + group * wii.DIGEST
        h2 = hashes[wii.H2 : wii.H2 + wii.TABLE_SIZE]
        return sha1(h2).digest() == self._disc.stored.read_exactly(place, wii.DIGEST, self._disc.fmt)
