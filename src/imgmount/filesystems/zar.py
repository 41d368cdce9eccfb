"""ZArchive, the files of Wii U titles for Cemu (.wua, .zar): a tree on top of zstd blocks of 64 KiB.

Needs no key.

All is big endian. The last 144 bytes have the places of the parts: the blocks, their offsets (a record for
each 16: u64 base, then u16 size - 1 of each), the names, the tree. Source: ZArchive by Exzap (MIT-0),
``zarchivecommon.h``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from struct import Struct
from typing import Final

from imgmount.codecs import zstd
from imgmount.core.cache import Content
from imgmount.core.checks import Seal
from imgmount.core.device import BlockDevice, ChunkedDevice, Extent
from imgmount.core.format import Context, FilesystemFormat, Match
from imgmount.core.node import (
    DIRECTORY_MODE,
    FILE_MODE,
    Directory,
    File,
    Filesystem,
    Node,
    Stat,
    as_directory,
)
from imgmount.core.slices import Concat, MemoryDevice, Slice
from imgmount.errors import FormatError, ImageError
from imgmount.families.nintendo.wiiu_title import MAX_META, META, meta_facts

FOOTER_SIZE: Final = 0x90
_FOOTER: Final = Struct(">12Q32sQII")  # (offset, size) of six parts, SHA-256, size of all, version, magic
MAGIC: Final = 0x169F52D6
VERSION: Final = 0x61BF3A01
BLOCK: Final = 0x10000
_RECORD: Final = Struct(">Q16H")
PER_RECORD: Final = 16
_NODE: Final = Struct(">IIII")
IS_FILE: Final = 0x8000_0000
NO_NAME: Final = 0x7FFF_FFFF
LONG_NAME: Final = 0x80
MAX_TABLE: Final = 16 << 20  # 400,000 blocks are 25 GB: 1 MiB
MAX_NODES: Final = 1 << 18
MAX_TITLES: Final = 64  # looked at for ``info``


class _Blocks(ChunkedDevice):
    """The files' bytes, one after the other."""

    def __init__(
        self, device: BlockDevice, start: int, stored: int, records: bytes, context: Context
    ) -> None:
        count = len(records) // _RECORD.size * PER_RECORD
        super().__init__(count * BLOCK, BLOCK, context.cache)
        self._device = Slice(device, start, stored)
        self._records = records

    def _read_chunk(self, index: int) -> Content:
        record, inside = divmod(index, PER_RECORD)
        base, *sizes = _RECORD.unpack_from(self._records, record * _RECORD.size)
        place = base + sum(sizes[:inside]) + inside
        stored = self._device.read_exactly(place, sizes[inside] + 1, "zar")
        return stored if len(stored) == BLOCK else zstd.decode(stored, BLOCK)


class ZarVolume(Filesystem):
    """The tree of an archive."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        *parts, self._digest, size, version, magic = _FOOTER.unpack(
            device.read_exactly(device.size - FOOTER_SIZE, FOOTER_SIZE, "zar")
        )
        if (magic, version, size) != (MAGIC, VERSION, device.size):
            raise FormatError(
                "zar",
                "the footer names another version, or another size than the file has",
                offset=device.size - FOOTER_SIZE,
            )
        places = list(zip(parts[::2], parts[1::2], strict=True))
        if max(extent for _, extent in places[1:4]) > MAX_TABLE or any(
            at + extent > device.size for at, extent in places
        ):
            raise FormatError(
                "zar", "a section is said to lie past the end of the file", offset=device.size - FOOTER_SIZE
            )
        data, records, names, tree = places[:4]
        self._names = device.read_exactly(*names, "zar")
        self._tree = device.read_exactly(*tree, "zar")
        self.blocks = _Blocks(device, *data, device.read_exactly(*records, "zar"), context)
        self.count = len(self._tree) // _NODE.size
        self.single_parent: dict[int, int] = {}  # node -> the directory that was listed with it
        if not 0 < self.count <= MAX_NODES or self.node(0)[0] & IS_FILE:
            raise FormatError(
                "zar", f"the tree of {self.count} nodes is empty, too large or has no root", offset=tree[0]
            )

    def node(self, index: int) -> tuple[int, int, int, int]:
        """The four numbers of node ``index``."""
        found: tuple[int, int, int, int] = _NODE.unpack_from(self._tree, index * _NODE.size)
        return found

    def name(self, place: int) -> str:
        """The name at ``place``."""
        names = self._names
        if place >= len(names):
            raise FormatError("zar", f"a name begins at {place:#x}, past the {len(names):#x} bytes of names")
        size, start = names[place], place + 1
        if size & LONG_NAME and start < len(names):
            size, start = size & ~LONG_NAME | names[start] << 7, start + 1
        return names[start : start + size].decode("utf-8", "surrogateescape")

    @property
    def root(self) -> Directory:
        return _ZarDirectory(self, 0)

    def info(self) -> Mapping[str, str]:
        titles = {f"title {name}": title for name, title in self._titles()}
        return {**titles, "nodes": str(self.count), "blocks": f"{self.blocks.size // BLOCK} of {BLOCK} bytes"}

    def _titles(self) -> Iterator[tuple[str, str]]:
        """(id and version, name) of the titles, each in a directory of its own."""
        try:
            for name, node in islice(self.root.entries(), MAX_TITLES):
                meta = _below(node, META)
                if isinstance(meta, File) and (
                    title := meta_facts(meta.open().pread(0, MAX_META)).get("title")
                ):
                    yield name, title
        except ImageError:
            return

    def verify(self) -> Iterator[Seal]:
        """The SHA-256 of the archive, in which its own place is zero."""
        end = self.device.size - FOOTER_SIZE
        footer = bytearray(self.device.read_exactly(end, FOOTER_SIZE, "zar"))
        footer[96:128] = bytes(32)
        content = Concat([Extent(end, self.device), Extent(FOOTER_SIZE, MemoryDevice(bytes(footer)))])
        yield Seal.of("SHA-256", self._digest, content, "sha256")


def _below(node: Node, path: Sequence[bytes]) -> Node | None:
    try:
        for name in path:
            node = as_directory(node, "").lookup(name.decode())
    except OSError:
        return None
    return node


class _ZarDirectory(Directory):
    __slots__ = ("_volume",)
    case_sensitive = False

    def __init__(self, volume: ZarVolume, index: int) -> None:
        self._volume = volume
        self.id = index

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume = self._volume
        _, first, count, _ = volume.node(self.id)
        if not self.id < first or first + count > volume.count:
            if count:
                raise FormatError(
                    "zar", f"node {self.id} holds nodes {first} to {first + count} of {volume.count}"
                )
            return
        for index in range(first, first + count):
            word, *_ = volume.node(index)
            # otherwise a small tree could have endless paths
            if volume.single_parent.setdefault(index, self.id) != self.id:
                raise FormatError("zar", f"node {index} is listed in two directories")
            name = volume.name(word & NO_NAME)
            yield name, _ZarFile(volume, index) if word & IS_FILE else _ZarDirectory(volume, index)


class _ZarFile(File):
    __slots__ = ("_volume",)

    def __init__(self, volume: ZarVolume, index: int) -> None:
        self._volume = volume
        self.id = index

    def _place(self) -> tuple[int, int]:
        """(offset, size)."""
        _, offset, size, high = self._volume.node(self.id)
        return offset | (high & 0xFFFF) << 32, size | high >> 16 << 32

    def stat(self) -> Stat:
        return Stat(FILE_MODE, self._place()[1])

    def open(self) -> BlockDevice:
        return Slice(self._volume.blocks, *self._place())


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the footer states the device's own size."""
    end = device.read_exactly(device.size - FOOTER_SIZE, FOOTER_SIZE, "zar")
    return Match.CERTAIN if _FOOTER.unpack(end)[-3] == device.size else Match.NO


FORMAT: Final = FilesystemFormat(
    name="zar",
    title="ZArchive, Wii U files for Cemu",
    extensions=(".wua", ".zar"),
    checks="SHA-256 of the archive",
    probe=probe,
    open=ZarVolume,
    needs="zstd",
)
