"""The partitions of Wii U discs.

Source: WiiUBrew, "Wii U optical disc"; NKit (MIT); the behaviour of Cemu and JNUSLib.

The table of partitions at 0x18000 is encrypted with the disc's own key. The partition SI holds the tickets of
the titles in the GM partitions; their title keys are encrypted with a common key. All is big endian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from struct import Struct
from typing import Final, NamedTuple

from imgmount.codecs.aes import decrypt_cbc
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import text
from imgmount.core.format import Context, Partition, PartitionsFormat
from imgmount.core.header import within
from imgmount.core.slices import Slice, Unreadable
from imgmount.errors import FormatError, ImageError
from imgmount.families.nintendo.key_files import WIIU_FOLDER, disc_names, own_names
from imgmount.families.nintendo.title_keys import MAX_TICKET, Ticket, find_title_key
from imgmount.families.nintendo.wiiu import (
    UNIT,
    ContentKey,
    Fst,
    FstEntry,
    PartHeader,
    content,
    decrypts_fst,
    open_cluster,
    read_fst,
)
from imgmount.families.nintendo.wiiu_title import MAX_TMD, Tmd
from imgmount.sources.keyring import KeySearch

PRODUCT: Final = 22  # characters at the start of the disc: "WUP-P-..."
TOC: Final = 0x18000
TOC_MAGIC: Final = b"\xcc\xa6\xe6\x7b"
COUNT: Final = 0x1C
ENTRIES: Final = 0x800
_ENTRY: Final = Struct(">31sB24I")  # name, places that count, places in units
ENTRY_SIZE: Final = 0x80
MAX_ENTRIES: Final = (UNIT - ENTRIES) // ENTRY_SIZE
PLAIN: Final = 0  # how a partition is encrypted; 1 is with the disc key
TITLE_KEY: Final = 2
DISC: Final = "wiiu-disc"


class WiiuPart(MappedDevice):
    """A partition as it is on the disc. Its filesystem decrypts it."""

    def __init__(
        self, disc: BlockDevice, offset: int, size: int, key: ContentKey | ImageError | None, tmd: Tmd | None
    ) -> None:
        self._part = Slice(disc, offset, size)
        self._key = key
        self.tmd = tmd
        self.size = size
        self.block_size = UNIT

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._part, offset)

    def content_key(self) -> ContentKey | None:
        if isinstance(self._key, ImageError):
            raise self._key.again()
        return self._key


def _toc(disc: BlockDevice, context: Context) -> tuple[bytes, bytes | None]:
    """(the table of partitions decrypted, the disc key). Raises ``KeyRequiredError``."""
    raw = disc.read_exactly(TOC, UNIT, "wiiu")
    if raw.startswith(TOC_MAGIC):  # development discs
        return raw, None
    name = context.path.name
    own = own_names(name)
    search = KeySearch(
        context,
        DISC,
        beside=disc_names(name),
        folder=own,
        home=[f"{WIIU_FOLDER}/discKeys/{file}" for file in own],
    )
    for key in search:
        clear = decrypt_cbc(key, raw)
        if clear.startswith(TOC_MAGIC):
            return clear, key
    raise search.failure()


def _entries(toc: bytes) -> list[tuple[str, int]]:
    """(name, place) of each partition; one entry of the table may have several places."""
    count = int.from_bytes(toc[COUNT : COUNT + 4], "big")
    within("wiiu", "number of partitions", count, 1, MAX_ENTRIES, offset=TOC + COUNT)
    found = []
    for at in range(ENTRIES, ENTRIES + count * ENTRY_SIZE, ENTRY_SIZE):
        name, places, *units = _ENTRY.unpack_from(toc, at)
        found += [(text(name), unit * UNIT) for unit in units[: max(1, places)]]
    return found


class _Title(NamedTuple):
    ticket: Ticket
    tmd: Tmd | None


class _Titles:
    """The titles that the partition SI describes, by the index of their partition, and by their ids."""

    def __init__(self, disc: BlockDevice, start: int, key: ContentKey | None, context: Context) -> None:
        self._part = Slice(disc, start, max(0, disc.size - start))
        self._key = key
        self._context = context
        header = PartHeader.read(self._part, "wiiu")
        self._fst: Fst = read_fst(self._part, header.fst, header.fst_size, key, "wiiu")
        self._by_index: dict[int, _Title] = {}
        for folder in self._fst.children(0):
            self._add(folder)

    def _add(self, folder: FstEntry) -> None:
        """What ``folder`` has, if its name is the number of a partition in hexadecimal."""
        try:
            index = int(folder.name, 16)
        except ValueError:
            return
        raw = self._read(folder.name, b"title.tik", MAX_TICKET)
        if not raw:
            return
        tmd = self._read(folder.name, b"title.tmd", MAX_TMD)
        try:
            self._by_index[index] = _Title(Ticket.wiiu(raw), Tmd.parse(tmd, "wiiu") if tmd else None)
        except FormatError:
            return

    def _read(self, folder: bytes, name: bytes, limit: int) -> bytes:
        """A file in SI, empty where it is absent or too large to be what it should be."""
        node = self._fst.find(folder, name)
        if node is None or node.is_directory or node.cluster >= len(self._fst.clusters) or node.size > limit:
            return b""
        offset, _, hashed = self._fst.clusters[node.cluster]
        stored = Slice(self._part, offset, max(0, self._part.size - offset))
        cluster = open_cluster(stored, self._key, node.cluster, self._context.cache, hashed=hashed)
        return content(cluster, node).pread(0, node.size)

    def of(self, index: int, name: str) -> _Title | None:
        """The title in partition ``index``, or the one that ``name`` ends with."""
        own = self._by_index.get(index)
        if own is not None:
            return own
        return {title.ticket.title_id.hex(): title for title in self._by_index.values()}.get(
            name[2:18].lower()
        )


def read_partitions(disc: BlockDevice, context: Context) -> Sequence[Partition]:
    """All partitions. Without the disc key there is one, which says so when it is read."""
    try:
        toc, disc_key = _toc(disc, context)
    except ImageError as exc:
        return [Partition(1, "encrypted", "", Unreadable(max(1, disc.size - TOC), exc))]
    entries = _entries(toc)
    key = None if disc_key is None else ContentKey(disc_key, restarts=True)
    titles = _find_titles(disc, entries, key, context)
    ends = sorted({start for _, start in entries} | {disc.size})
    parts = []
    for index, (name, start) in enumerate(entries):
        if start >= disc.size:
            error = FormatError(
                "wiiu", f"partition {name} is said to lie past the end of the disc", offset=start
            )
            parts.append(Partition(index + 1, name[:2], name, Unreadable(1, error)))
            continue
        size = next(end for end in ends if end > start) - start
        title = titles.of(index, name) if isinstance(titles, _Titles) else titles
        found = _key_of(Slice(disc, start, size), title, key, name, context)
        part = WiiuPart(disc, start, size, found, title.tmd if isinstance(title, _Title) else None)
        parts.append(Partition(index + 1, name[:2], name, part, info=_facts(title)))
    return parts


def about(disc: BlockDevice) -> Mapping[str, str]:
    """What the disc says in clear. Raises ``FormatError``."""
    return {"product code": text(disc.read_exactly(0, PRODUCT, "wiiu")), "console": "Wii U"}


def _facts(title: _Title | ImageError | None) -> Mapping[str, str]:
    if not isinstance(title, _Title):
        return {}
    version = {"title version": str(title.tmd.version)} if title.tmd else {}
    return {"title id": title.ticket.title_id.hex(), **version}


def _find_titles(
    disc: BlockDevice, entries: Sequence[tuple[str, int]], key: ContentKey | None, context: Context
) -> _Titles | ImageError:
    for name, start in entries:
        if name.startswith("SI"):
            try:
                return _Titles(disc, start, key, context)
            except ImageError as exc:
                return exc
    return FormatError("wiiu", "the partition SI, which has the tickets, is missing", offset=TOC)


def _key_of(
    part: BlockDevice,
    title: _Title | ImageError | None,
    disc_key: ContentKey | None,
    name: str,
    context: Context,
) -> ContentKey | ImageError | None:
    """The key of a partition's contents, or why there is none."""
    try:
        header = PartHeader.read(part, "wiiu")
        if header.encryption == PLAIN or disc_key is None:
            return None
        if header.encryption != TITLE_KEY:
            return disc_key
        if isinstance(title, ImageError):
            return title
        if title is None:
            return FormatError("wiiu", f"partition SI has no ticket for partition {name}")
        return ContentKey(find_title_key(title.ticket, context, partial(decrypts_fst, part, header.fst)))
    except ImageError as exc:
        return exc


FORMAT: Final = PartitionsFormat(
    name="wiiu",
    title="Wii U disc",
    extensions=(".wud",),
    checks="SHA-1 trees of every cluster",
    open=read_partitions,
    of_disc=True,
    about=about,
    needs="crypto",
)
