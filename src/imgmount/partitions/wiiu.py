"""The partitions of Wii U discs. Source: WiiUBrew, "Wii U optical disc"; the behaviour of Cemu and JNUSLib.

The table of partitions at 0x18000 is encrypted with the disc's own key. The partition SI holds the tickets of the titles in the
GM partitions; their title keys are encrypted with a common key. All is big endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from imgmount.codecs.aes import decrypt_cbc
from imgmount.codecs.wiiu import UNIT, Node, content, open_cluster, read_fst
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import text
from imgmount.core.format import Context, Format, Kind, Partition
from imgmount.core.slices import Slice, Unreadable
from imgmount.errors import FormatError, ImageError
from imgmount.sources.keyring import Keyring, wrong
from imgmount.sources.wiiu_keys import MIN_TICKET, TICKET_TITLE, title_key

TOC: Final = 0x18000
TOC_MAGIC: Final = b"\xcc\xa6\xe6\x7b"
COUNT: Final = 0x1C
ENTRIES: Final = 0x800
_ENTRY: Final = Struct(">31sxI92x")  # name, place in units
MAX_PARTITIONS: Final = (UNIT - ENTRIES) // 0x80
PART_MAGIC: Final = b"\xcc\x93\xa4\xf5"
FST_SIZE: Final = 0x14
FST_PLACE: Final = 0x18
ENCRYPTION: Final = 0x25
PLAIN: Final = 0  # values of that byte; 1 is the disc key
TITLE_KEY: Final = 2
PART_HEADER: Final = 0x40
DISC: Final = "wiiu-disc"
MAX_TICKET: Final = 1 << 16


class WiiuPart(MappedDevice):
    """A partition as it is on the disc. Its filesystem decrypts it."""

    def __init__(self, disc: BlockDevice, offset: int, size: int, key: bytes | ImageError | None) -> None:
        self._part = Slice(disc, offset, size)
        self._key = key
        self.size = size
        self.block_size = UNIT

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._part, offset)

    def content_key(self) -> bytes | None:
        """The key of its contents, None where they are not encrypted. Raises ``KeyRequiredError``."""
        if isinstance(self._key, ImageError):
            raise self._key
        return self._key


def _toc(disc: BlockDevice, context: Context) -> tuple[bytes, bytes | None]:
    """(the table of partitions decrypted, the disc key). Raises ``KeyRequiredError``."""
    raw = disc.read_exactly(TOC, UNIT, "wiiu")
    if raw.startswith(TOC_MAGIC):  # development discs
        return raw, None
    stem = context.path.name.split(".", 1)[0]
    beside = ("game.key", f"{stem}.key", "disc.key")
    home = (f"discKeys/{stem}.key",)
    ring = Keyring(context)
    tried = False
    for key in ring.candidates(DISC, beside, home):
        tried = True
        clear = decrypt_cbc(key, raw)
        if clear.startswith(TOC_MAGIC):
            return clear, key
    raise wrong(DISC) if tried else ring.required(DISC, beside, home)


def _entries(toc: bytes) -> list[tuple[str, int]]:
    count = int.from_bytes(toc[COUNT : COUNT + 4], "big")
    if not 0 < count <= MAX_PARTITIONS:
        raise FormatError("wiiu", f"{count} partitions", offset=TOC + COUNT)
    entries = _ENTRY.iter_unpack(toc[ENTRIES : ENTRIES + count * _ENTRY.size])
    return [(text(name), place * UNIT) for name, place in entries]


class _Tickets:
    """The tickets in the partition SI, by the index of the partition that they open, and by title."""

    def __init__(self, disc: BlockDevice, start: int, key: bytes | None, context: Context) -> None:
        self._part = Slice(disc, start, max(0, disc.size - start))
        self._key = key
        self._context = context
        header = self._part.read_exactly(0, PART_HEADER, "wiiu")
        place, size = _fst_place(header)
        self._fst = read_fst(self._part, place, size, key, "wiiu")
        self._by_index: dict[int, bytes] = {}
        for folder in self._fst.children(0):
            self._add(folder)

    def _add(self, folder: Node) -> None:
        if not folder.is_directory:
            return
        try:
            index = int(folder.name, 16)
        except ValueError:
            return
        node = self._fst.find(folder.name, b"title.tik")
        if node is None or node.cluster >= len(self._fst.clusters) or not MIN_TICKET <= node.size <= MAX_TICKET:
            return
        place, size, mode = self._fst.clusters[node.cluster]
        stored = Slice(self._part, place * UNIT, max(0, min(size * UNIT, self._part.size - place * UNIT)))
        cluster = open_cluster(stored, self._key, node.cluster, mode, self._context.cache)
        self._by_index[index] = content(cluster, node).pread(0, node.size)

    def of(self, index: int, name: str) -> bytes | None:
        """The ticket of partition ``index``, or of the title that ``name`` ends with."""
        own = self._by_index.get(index)
        if own is not None:
            return own
        titles = {ticket[TICKET_TITLE : TICKET_TITLE + 8].hex(): ticket for ticket in self._by_index.values()}
        return titles.get(name[2:18].lower())


def _fst_place(header: bytes) -> tuple[int, int]:
    """(offset, size) of the table of files."""
    if not header.startswith(PART_MAGIC):
        raise FormatError("wiiu", "no partition header")
    size, unit = (int.from_bytes(header[at : at + 4], "big") for at in (FST_SIZE, FST_PLACE))
    return unit * UNIT, size


def read_partitions(disc: BlockDevice, context: Context) -> Sequence[Partition]:
    """All partitions. Without the disc key there is one, which says so when it is read."""
    try:
        toc, disc_key = _toc(disc, context)
    except ImageError as exc:
        return [Partition(1, "encrypted", "", Unreadable(max(1, disc.size - TOC), exc))]
    entries = _entries(toc)
    ends = sorted({start for _, start in entries} | {disc.size})
    tickets = _find_tickets(disc, entries, disc_key, context)
    parts = []
    for index, (name, start) in enumerate(entries):
        if start >= disc.size:
            error = FormatError("wiiu", f"partition {name} lies past the end", offset=start)
            parts.append(Partition(index + 1, name[:2], name, Unreadable(1, error)))
            continue
        key = _key_of(disc, (index, name, start), disc_key, tickets, context)
        size = next(end for end in ends if end > start) - start
        parts.append(Partition(index + 1, name[:2], name, WiiuPart(disc, start, size, key)))
    return parts


def _find_tickets(
    disc: BlockDevice, entries: Sequence[tuple[str, int]], key: bytes | None, context: Context
) -> _Tickets | ImageError:
    for name, start in entries:
        if name.startswith("SI"):
            try:
                return _Tickets(disc, start, key, context)
            except ImageError as exc:
                return exc
    return FormatError("wiiu", "no partition SI, which has the tickets", offset=TOC)


def _key_of(
    disc: BlockDevice, part: tuple[int, str, int], disc_key: bytes | None, tickets: _Tickets | ImageError, context: Context
) -> bytes | ImageError | None:
    """The key of a partition's contents, or why there is none."""
    index, name, start = part
    kind = disc.pread(start + ENCRYPTION, 1)
    if kind == bytes([PLAIN]) or disc_key is None:
        return None
    if kind != bytes([TITLE_KEY]):
        return disc_key
    if isinstance(tickets, ImageError):
        return tickets
    ticket = tickets.of(index, name)
    if ticket is None:
        return FormatError("wiiu", f"no ticket for partition {name}", offset=start)
    try:
        return title_key(ticket, context)
    except ImageError as exc:
        return exc


FORMAT: Final = Format(name="wiiu", title="Wii U disc", kind=Kind.PARTITIONS, open=read_partitions, extra="crypto")
