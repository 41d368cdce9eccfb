"""The partitions of Wii discs, decrypted on demand. Source: WiiBrew, "Wii disc".

At 0x40000 stand four groups of partitions, each with its own table; offsets are stored divided by four. A partition begins with
its ticket, which holds the title key, encrypted with a common key that the user must give, except for images that store data
decrypted (WIA, RVZ, NFS). All is big endian.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha1
from struct import Struct
from typing import Final, NamedTuple

from imgmount.codecs import wii
from imgmount.codecs.aes import decrypt_cbc
from imgmount.codecs.wii import CLUSTER, DATA, DecryptedParts
from imgmount.core.device import BlockDevice, ChunkedDevice, Extent, MappedDevice
from imgmount.core.format import Context, Format, Kind, Match, Partition
from imgmount.core.slices import Concat, Slice, Strided, Unreadable
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.sources.keyring import Keyring, wrong

TABLES: Final = 0x40000
_GROUP: Final = Struct(">II")  # partitions, place of their table
_ENTRY: Final = Struct(">I4s")  # place, kind
GROUPS: Final = 4
MAX_PARTITIONS: Final = 128  # in all groups
KINDS: Final = {0: "DATA", 1: "UPDATE", 2: "CHANNEL"}
FLAGS: Final = 0x60  # of the disc header: no hashes, not encrypted
TICKET_SIZE: Final = 0x2A4
HEADER_SIZE: Final = 0x2C0
_HEADER: Final = Struct(">7I")  # TMD size and place, certificates' size and place, H3 place, data place and size
TITLE_KEY: Final = 0x1BF
TITLE_ID: Final = 0x1DC
ISSUER: Final = slice(0x140, 0x180)
KEY_INDEX: Final = 0x1F1
DEBUG_ISSUER: Final = b"XS00000006"
COMMON_KEYS: Final = {0: "wii-common", 1: "wii-korean", 2: "wii-vwii"}
TMD_CONTENT_HASH: Final = 0x1F4  # of the first content: the SHA-1 of the H3 table
MAX_SIDE: Final = 16 << 20  # of TMD and certificates
CHUNK_CLUSTERS: Final = 4  # 128 KiB: small enough that a random read of 4 KiB is not all decryption
MAGIC: Final = b"\x5d\x1c\x9e\xa3"
MAGIC_AT: Final = 0x18


class Layout(NamedTuple):
    """Where the parts of a partition lie, in bytes: ``start`` and ``data`` on the disc, the others from ``start``."""

    start: int
    ticket: bytes
    tmd: tuple[int, int]
    cert: tuple[int, int]
    h3: int
    data: int
    size: int

    @property
    def title_id(self) -> bytes:
        return self.ticket[TITLE_ID : TITLE_ID + 8]

    @property
    def key_name(self) -> str:
        """What the common key is called that the title key is encrypted with."""
        if DEBUG_ISSUER in self.ticket[ISSUER]:
            return "wii-debug"
        return COMMON_KEYS.get(self.ticket[KEY_INDEX], f"wii-common{self.ticket[KEY_INDEX]}")

    def title_key(self, common: bytes) -> bytes:
        """The title key, with the common key."""
        return decrypt_cbc(common, self.ticket[TITLE_KEY : TITLE_KEY + 16], self.title_id + bytes(8))


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
        files = {"tmd.bin": layout.tmd, "cert.bin": layout.cert, "h3.bin": (layout.h3, wii.H3_SIZE if layout.h3 else 0)}
        start = layout.start
        found: dict[str, BlockDevice] = {"ticket.bin": Slice(self._disc, start, TICKET_SIZE)}
        return found | {name: Slice(self._disc, start + place, size) for name, (place, size) in files.items() if size}

    def verify(self) -> Iterator[str]:
        """H3 against the TMD, and H0 to H3 of each cluster that is stored with hashes."""
        layout = self._layout
        h3 = self._disc.pread(layout.start + layout.h3, wii.H3_SIZE)
        tmd = self._disc.pread(layout.start + layout.tmd[0], layout.tmd[1])
        if sha1(h3).digest() != tmd[TMD_CONTENT_HASH : TMD_CONTENT_HASH + wii.DIGEST]:  # noqa: S324
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
        raw = self._disc.pread(self._layout.data + offset, size).ljust(size, b"\0")  # a trimmed image ends inside a cluster
        empty = [index for index in range(size // CLUSTER) if not any(raw[index * CLUSTER : index * CLUSTER + CLUSTER])]
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


def _layout(disc: BlockDevice, start: int) -> Layout:
    raw = disc.read_exactly(start, HEADER_SIZE, "wii")
    tmd_size, tmd, cert_size, cert, h3, data, size = _HEADER.unpack_from(raw, TICKET_SIZE)
    if max(tmd_size, cert_size) > MAX_SIDE or not data or not size:
        raise FormatError("wii", "a partition without data, or with a TMD beyond reason", offset=start + TICKET_SIZE)
    return Layout(
        start, raw[:TICKET_SIZE], (tmd << 2, tmd_size), (cert << 2, cert_size), h3 << 2, start + (data << 2), size << 2
    )


def _entries(disc: BlockDevice) -> list[tuple[int, str]]:
    """(place, kind) of each partition. Raises ``FormatError``."""
    groups = list(_GROUP.iter_unpack(disc.read_exactly(TABLES, GROUPS * _GROUP.size, "wii")))
    if not 0 < sum(count for count, _ in groups) <= MAX_PARTITIONS:
        raise FormatError("wii", f"{sum(count for count, _ in groups)} partitions", offset=TABLES)
    found = []
    for count, place in groups:
        for offset, kind in _ENTRY.iter_unpack(disc.read_exactly(place << 2, count * _ENTRY.size, "wii")):
            number = int.from_bytes(kind, "big")
            name = kind.decode("ascii", "replace") if all(0x20 < byte < 0x7F for byte in kind) else f"{number:#x}"
            found.append((offset << 2, KINDS.get(number, name)))
    return found


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
    if clear or _is_clear(first):  # some tools decrypt and set no flag
        whole = Concat([Extent(present, disc, start), Extent(clusters * CLUSTER - present)])
        return WiiData(disc, layout, Strided(whole, CLUSTER, wii.HASHES, DATA), None)
    try:
        if hashless:
            raise UnsupportedError("wii: encrypted partitions without hashes")
        key = _find_key(disc, layout, context)
    except ImageError as exc:
        return Unreadable(clusters * DATA, exc)
    return WiiData(disc, layout, Encrypted(disc, start, present // CLUSTER, key, context), key)


def _find_key(disc: BlockDevice, layout: Layout, context: Context) -> bytes:
    """The title key, proved on the first cluster. Raises ``KeyRequiredError``."""
    first = disc.read_exactly(layout.data, CLUSTER, "wii")
    ring, name, title = Keyring(context), layout.key_name, layout.title_id.hex()
    tried = ""
    for key in ring.candidates(title, (f"{title}.key",)):
        if _fits(key, first):
            return key
        tried = title
    for common in ring.candidates(name, (f"{name}.key",)):
        key = layout.title_key(common)
        if _fits(key, first):
            return key
        tried = name
    raise wrong(tried) if tried else ring.required(name, (f"{name}.key",))


def _fits(key: bytes, cluster: bytes) -> bool:
    return _is_clear(wii.decrypt_whole(key, cluster))


def _is_clear(cluster: bytes) -> bool:
    """Whether the first cluster of a partition is decrypted: its first hash is right, or a disc header stands in its data."""
    data = cluster[wii.HASHES :]
    return data[MAGIC_AT:].startswith(MAGIC) or sha1(data[: wii.HASHES]).digest() == cluster[: wii.DIGEST]  # noqa: S324


def read_partitions(disc: BlockDevice, context: Context) -> Sequence[Partition]:
    """All partitions of ``disc``; one that is damaged raises its error when it is read."""
    flags = disc.read_exactly(FLAGS, 2, "wii")
    parts = []
    for index, (start, kind) in enumerate(_entries(disc), 1):
        name = ""
        try:
            layout = _layout(disc, start)
            title = layout.title_id[4:]
            name = title.decode("ascii") if title.isalnum() and title.isascii() else layout.title_id.hex()
            device = _data(disc, layout, flags, context)
        except ImageError as exc:
            device = Unreadable(0, exc)
        parts.append(Partition(index, kind, name, device))
    return parts


def probe(disc: BlockDevice) -> Match:
    """CERTAIN where the tables of partitions are sound."""
    return Match.CERTAIN if _entries(disc) else Match.NO


FORMAT: Final = Format(
    name="wii",
    title="Wii disc",
    kind=Kind.PARTITIONS,
    probe=probe,
    open=read_partitions,
    limits="encrypted partitions without hashes",
    extra="crypto",
)
