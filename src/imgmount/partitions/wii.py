"""The partitions of Wii discs, decrypted on demand. Source: WiiBrew, "Wii disc".

The title key of a partition is encrypted with a common key that the user must give, except for images that
store data decrypted (WIA, RVZ, NFS). Without a key the disc header and the table are there all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha1
from typing import Final

from imgmount.core.device import BlockDevice, ChunkedDevice, Extent, MappedDevice
from imgmount.core.format import Context, Match, Partition, PartitionsFormat
from imgmount.core.slices import Concat, Slice, Strided, Unreadable
from imgmount.errors import ImageError, UnsupportedError
from imgmount.families.nintendo import wii_clusters as wii
from imgmount.families.nintendo import wii_partitions as wii_disc
from imgmount.families.nintendo.disc_header import DEFAULT_ENCODING, HEADER_SIZE, GameDisc
from imgmount.families.nintendo.key_files import disc_names
from imgmount.families.nintendo.title_keys import Ticket, find_title_key
from imgmount.families.nintendo.wii_clusters import CLUSTER, DATA, DecryptedParts
from imgmount.families.nintendo.wii_partitions import Layout

TMD_CONTENT_HASH: Final = 0x1F4  # of the first content: the SHA-1 of the H3 table
CHUNK_CLUSTERS: Final = 4  # 128 KiB: small, so that a random read of 4 KiB does not take long to decrypt


class WiiData(MappedDevice):
    """The data of a partition without hashes and encryption, and what the disc has beside it."""

    def __init__(self, disc: BlockDevice, layout: Layout, data: BlockDevice, key: bytes | None) -> None:
        self._disc = disc
        self._layout = layout
        self._data = data
        self._key = key  # for verify: None where the disc is not encrypted
        self.size = data.size
        self.block_size = data.block_size

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._data, offset)

    def management(self) -> Mapping[str, BlockDevice]:
        layout = self._layout
        files = {
            "tmd.bin": layout.tmd,
            "cert.bin": layout.cert,
            "h3.bin": (layout.h3, wii.H3_SIZE if layout.h3 else 0),
        }
        start = layout.start
        found: dict[str, BlockDevice] = {"ticket.bin": Slice(self._disc, start, wii_disc.TICKET_SIZE)}
        return found | {
            name: Slice(self._disc, start + place, size) for name, (place, size) in files.items() if size
        }

    def verify(self) -> Iterator[str]:
        """H3 against the TMD, and H0 to H3 of each cluster that is stored with hashes."""
        layout = self._layout
        h3 = self._disc.pread(layout.start + layout.h3, wii.H3_SIZE)
        tmd = self._disc.pread(layout.start + layout.tmd[0], layout.tmd[1])
        if sha1(h3).digest() != tmd[TMD_CONTENT_HASH : TMD_CONTENT_HASH + wii.DIGEST]:
            yield "the H3 table does not match the TMD"
        if not isinstance(self._data, (Encrypted, Strided)):
            return
        end = self._data.size // DATA * CLUSTER
        for number, offset in enumerate(range(0, end, wii.GROUP)):
            try:
                problems = list(self._check(number, offset, min(wii.GROUP, end - offset), h3))
            except ImageError as exc:
                problems = [str(exc)]
            yield from (f"group {number}: {problem}" for problem in problems)

    def _check(self, number: int, offset: int, size: int, h3: bytes) -> Iterator[str]:
        # a trimmed image may end inside a cluster
        raw = self._disc.pread(self._layout.data + offset, size).ljust(size, b"\0")
        empty = [
            index
            for index in range(size // CLUSTER)
            if not any(raw[index * CLUSTER : index * CLUSTER + CLUSTER])
        ]
        clear = raw if self._key is None else wii.decrypt_whole(self._key, raw)
        return wii.check_group(clear, h3[number * wii.DIGEST : (number + 1) * wii.DIGEST], set(empty))


class Encrypted(ChunkedDevice):
    """Clusters decrypted, several at a time. The device below holds them all."""

    def __init__(self, disc: BlockDevice, offset: int, clusters: int, key: bytes, context: Context) -> None:
        super().__init__(clusters * DATA, CHUNK_CLUSTERS * DATA, context.cache)
        self._disc = disc
        self._offset = offset
        self._key = key

    def _read_chunk(self, index: int) -> bytes:
        start = index * CHUNK_CLUSTERS * CLUSTER
        size = min(CHUNK_CLUSTERS * CLUSTER, self.size // DATA * CLUSTER - start)
        return wii.decrypt(self._key, self._disc.read_exactly(self._offset + start, size, "wii"))


def _data(disc: BlockDevice, layout: Layout, flags: bytes, context: Context) -> BlockDevice:
    """The partition's data. Where it cannot be read, a device that says so."""
    start = layout.data
    stored = disc.wii_data(start) if isinstance(disc, DecryptedParts) else None
    if stored is not None:
        return WiiData(disc, layout, stored, None)
    present = max(0, min(layout.size, disc.size - start))  # trimmed images end with the last file
    hashless, clear = bytes(flags)
    if hashless and clear:
        return WiiData(disc, layout, Slice(disc, start, present), None)
    first = disc.pread(start, CLUSTER)
    clusters = -(-present // CLUSTER)
    if clear or wii_disc.is_clear(first):  # some tools decrypt and set no flag
        whole = Concat([Extent(present, disc, start), Extent(clusters * CLUSTER - present)])
        return WiiData(disc, layout, Strided(whole, CLUSTER, wii.HASHES, DATA), None)
    try:
        if hashless:
            raise UnsupportedError("wii: encrypted partitions without hashes")
        first = disc.read_exactly(start, CLUSTER, "wii")
        key = find_title_key(
            Ticket.wii(layout.ticket),
            context,
            partial(wii_disc.fits, cluster=first),
            beside=disc_names(context.path.name),
        )
    except ImageError as exc:
        return Unreadable(clusters * DATA, exc)
    return WiiData(disc, layout, Encrypted(disc, start, present // CLUSTER, key, context), key)


def read_partitions(disc: BlockDevice, context: Context) -> Sequence[Partition]:
    """All partitions of ``disc``; one that is damaged raises its error when it is read."""
    header = disc.read_exactly(0, HEADER_SIZE, "wii")
    flags = header[wii_disc.FLAGS : wii_disc.FLAGS + 2]
    parts = []
    for index, (start, kind) in enumerate(wii_disc.entries(disc), 1):
        name, facts, fault = "", {}, None
        try:
            layout = wii_disc.layout(disc, start)
            title = layout.title_id[4:]
            name = title.decode("ascii") if title.isalnum() and title.isascii() else layout.title_id.hex()
            facts = {"title id": layout.title_id.hex()}
            device = _data(disc, layout, flags, context)
        except ImageError as exc:
            device, fault = Unreadable(0, exc), exc
        parts.append(Partition(index, kind, name, device, info=facts, fault=fault))
    return parts


def about(disc: BlockDevice) -> Mapping[str, str]:
    """The game, which its header says in clear. Raises ``FormatError``."""
    return GameDisc.parse(disc.read_exactly(0, HEADER_SIZE, "wii"), "wii").facts(DEFAULT_ENCODING)


def probe(disc: BlockDevice) -> Match:
    """CERTAIN where the tables of partitions are sound."""
    return Match.CERTAIN if wii_disc.entries(disc) else Match.NO


FORMAT: Final = PartitionsFormat(
    name="wii",
    title="Wii disc",
    extensions=(".iso",),
    checks="SHA-1 trees of every cluster",
    probe=probe,
    of_disc=True,
    about=about,
    open=read_partitions,
    limits="encrypted partitions without hashes",
    needs="crypto",
)
