"""AccessData logical images (AD1, versions 3 and 4).

Files and folders that FTK Imager copied, in one or more segments.

Source: the descriptions of the format by pcbje/pyad1 and al3ks1s/AD1-tools. Encrypted images (ADCRYPT) are
refused elsewhere.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from imgmount.codecs.deflate import inflate
from imgmount.core.cache import Content, ReadCache
from imgmount.core.checks import Finding, Seal, from_hex
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.fields import NS, table
from imgmount.core.format import Context, FilesystemFormat
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Directory, File, Filesystem, Node, Stat
from imgmount.core.slices import Concat, MemoryDevice, Slice
from imgmount.errors import FormatError, ImageError, UnsupportedError

MAGIC: Final = b"ADSEGMENTEDFILE\0"
LOGICAL_MAGIC: Final = b"ADLOGICALIMAGE\0"
SEGMENT_HEADER: Final = 512
_SEGMENT = struct.Struct("<16s8xII")  # signature, number of the segment from 1, of segments
_IMAGE = struct.Struct("<16sII I8xQ")  # signature, version, unknown, chunk size, (metadata), first item
# next item, first child, first metadata, chunk table, size, type, length of the name
_ITEM = struct.Struct("<QQQQQII")
_META = struct.Struct("<QIII")  # next, category, key, length of the value
VERSIONS: Final = (3, 4)
FOLDER: Final = 5
ACCESSED: Final = 7  # keys of metadata
MODIFIED: Final = 9
CHANGED: Final = 0xA002  # of the MFT record
MD5: Final = 0x5001
SHA1: Final = 0x5002
MAX_SEGMENTS: Final = 9999
MAX_CHUNK: Final = 16 << 20
MAX_CHUNKS: Final = 1 << 24
MAX_ITEMS: Final = 1 << 20  # in one folder
MAX_NAME: Final = 1 << 16
MAX_META: Final = 256  # about one item
MAX_VALUE: Final = 4096


class _Item:
    """What is read of an item when its folder is listed; ``above`` leads to the root."""

    __slots__ = ("above", "address", "child", "chunks", "image", "meta", "size")

    def __init__(self, image: Ad1, address: int, fields: tuple[int, ...], above: _Item | None) -> None:
        self.image = image
        self.address = address
        _, self.child, self.meta, self.chunks, self.size, *_ = fields
        self.above = above

    def facts(self) -> dict[int, str]:
        """The metadata by key. Raises ``FormatError``."""
        found: dict[int, str] = {}
        address = self.meta
        for _ in range(MAX_META):
            if not address:
                return found
            raw = self.image.data.read_exactly(address, _META.size, "ad1")
            following, _, key, length = _META.unpack(raw)
            if length <= MAX_VALUE:
                value = self.image.data.read_exactly(address + _META.size, length, "ad1")
                found.setdefault(key, value.decode("utf-8", "replace").strip("\0"))
            address = following
        raise FormatError("ad1", f"more than {MAX_META} facts about an item, or a loop", offset=self.address)

    def stat(self, mode: int, size: int) -> Stat:
        """Its facts, with times in UTC."""
        facts = self.facts()
        accessed, changed, modified = (_time(facts.get(key, "")) for key in (ACCESSED, CHANGED, MODIFIED))
        return Stat(mode, size, modified, accessed or None, changed or None)


def _time(value: str) -> int:
    """``20240102T030405.123456`` in nanoseconds; 0 if it is no time."""
    try:
        moment = datetime.strptime(value[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return 0
    fraction = value[16:25].ljust(9, "0")
    return int(moment.timestamp()) * NS + (
        int(fraction) if fraction.isascii() and fraction.isdecimal() else 0
    )


class Ad1Directory(Directory):
    """A folder: a chain of items."""

    __slots__ = ("_item",)

    def __init__(self, item: _Item) -> None:
        self._item = item
        self.id = item.address

    def stat(self) -> Stat:
        return self._item.stat(DIRECTORY_MODE, 0)

    def _scan(self) -> Iterable[tuple[str, Node]]:
        for name, item, folder in _chain(self._item):
            yield name, Ad1Directory(item) if folder else Ad1File(item)
            if not folder and item.child:  # alternate data streams
                for stream, below, _ in _chain(item):
                    yield f"{name}:{stream}", Ad1File(below)


def _chain(parent: _Item) -> Iterator[tuple[str, _Item, bool]]:
    """(name, item, whether it is a folder) of the items below ``parent``.

    Raises ``FormatError`` where they loop.
    """
    image, address = parent.image, parent.child
    seen = _ancestors(parent)
    while address:
        if address in seen or len(seen) > MAX_ITEMS:
            raise FormatError("ad1", "a chain of items loops", offset=address)
        seen.add(address)
        fields = _ITEM.unpack(image.data.read_exactly(address, _ITEM.size, "ad1"))
        following, kind, length = fields[0], fields[5], fields[6]
        if length > MAX_NAME:
            raise FormatError("ad1", f"a name of {length} bytes", offset=address)
        name = image.data.read_exactly(address + _ITEM.size, length, "ad1").decode("utf-8", "surrogateescape")
        yield name, _Item(image, address, fields, parent), kind == FOLDER
        address = following


def _ancestors(item: _Item) -> set[int]:
    seen = set()
    above: _Item | None = item
    while above is not None:
        seen.add(above.address)
        above = above.above
    return seen


class Ad1File(File):
    """A file, in chunks compressed by zlib."""

    __slots__ = ("_item",)

    def __init__(self, item: _Item) -> None:
        self._item = item
        self.id = item.address

    def stat(self) -> Stat:
        return self._item.stat(FILE_MODE, self._item.size)

    def open(self) -> BlockDevice:
        image, size = self._item.image, self._item.size
        if not size:
            return MemoryDevice(b"")
        count = int.from_bytes(image.data.read_exactly(self._item.chunks, 8, "ad1"), "little")
        if not self._item.chunks or count != -(-size // image.chunk) or count > MAX_CHUNKS:
            raise FormatError("ad1", f"{count} chunks for {size} bytes", offset=self._item.chunks)
        starts = table(image.data.read_exactly(self._item.chunks + 8, 8 * count, "ad1"), 8, "little")
        return _Content(image, size, starts)

    def facts(self) -> Mapping[int, str]:
        """The metadata by key."""
        return self._item.facts()

    def xattrs(self) -> Mapping[str, bytes]:
        facts = self.facts()
        return {
            f"user.{name}": facts[key].encode()
            for key, name in ((MD5, "md5"), (SHA1, "sha1"))
            if key in facts
        }


class _Content(ChunkedDevice):
    def __init__(self, image: Ad1, size: int, starts: array[int]) -> None:
        super().__init__(size, image.chunk, image.cache)
        self._data = image.data
        self._starts = starts

    def _read_chunk(self, index: int) -> Content:
        start = self._starts[index]
        if not 0 < start < self._data.size:
            raise FormatError("ad1", f"chunk {index} at {start:#x}")
        span = min(self.block_size, self.size - index * self.block_size)
        # the most that zlib makes of it: a stream says itself where it ends
        raw = self._data.pread(start, span + (span >> 8) + 64)
        try:
            return inflate(raw, span, wrapper="zlib")
        except FormatError as exc:
            raise FormatError("ad1", f"a chunk does not decompress: {exc.reason}", offset=start) from exc


class Ad1(Filesystem):
    """The tree of a logical image.

    Addresses count from behind the first segment's header, and skip the others'.
    """

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.cache: ReadCache = context.cache
        files = _segments(device, context)
        self.data = Concat.of(
            [Slice(file, SEGMENT_HEADER, max(0, file.size - SEGMENT_HEADER)) for file in files]
        )
        header = self.data.read_exactly(0, _IMAGE.size, "ad1")
        magic, self._version, _, self.chunk, first = _IMAGE.unpack(header)
        if not magic.startswith(LOGICAL_MAGIC):
            raise FormatError("ad1", "no logical image behind the segment's header", offset=SEGMENT_HEADER)
        if self._version not in VERSIONS:
            raise UnsupportedError(f"ad1: version {self._version}")
        if not 0 < self.chunk <= MAX_CHUNK:
            raise FormatError("ad1", f"chunks of {self.chunk} bytes", offset=SEGMENT_HEADER + 24)
        self._segments = len(files)
        self._root = _Item(self, 0, (0, first, 0, 0, 0, FOLDER, 0), None)

    @property
    def root(self) -> Ad1Directory:
        return Ad1Directory(self._root)

    def info(self) -> Mapping[str, str]:
        return {"version": str(self._version), "segments": str(self._segments), "chunk size": str(self.chunk)}

    def verify(self) -> Iterator[Finding]:
        """The MD5 of each file that has one."""
        todo: list[tuple[str, Node]] = [("", self.root)]
        while todo:
            path, node = todo.pop()
            try:
                if isinstance(node, Directory):
                    todo.extend((f"{path}/{name}", child) for name, child in node.entries())
                elif isinstance(node, Ad1File) and (stored := node.facts().get(MD5)):
                    yield Seal.of(f"MD5 of {path}", from_hex(stored), node.open(), "md5")
            except ImageError as exc:
                yield f"{path or '/'}: {exc}"


def _segments(device: BlockDevice, context: Context) -> list[BlockDevice]:
    """The segments in order: ``name.ad1``, ``name.ad2``, ... Raises ``MissingPartError``."""
    number, count = _place(device)
    if not 1 <= number <= count <= MAX_SEGMENTS:
        raise FormatError("ad1", f"segment {number} of {count}", offset=_SEGMENT.size - 8)
    stem, _, extension = context.path.name.rpartition(".")
    files = []
    for index in range(1, count + 1):
        file = device if index == number else context.siblings.open(f"{stem}.{extension[:2]}{index}")
        if _place(file) != (index, count):
            raise FormatError(
                "ad1",
                f"{stem}.{extension[:2]}{index} is segment {_place(file)[0]} of {_place(file)[1]}",
                offset=0,
            )
        files.append(file)
    return files


def _place(file: BlockDevice) -> tuple[int, int]:
    """(number, count) of a segment."""
    magic, number, count = _SEGMENT.unpack(file.read_exactly(0, _SEGMENT.size, "ad1"))
    if magic != MAGIC:
        raise FormatError("ad1", "not a segment", offset=0)
    return number, count


FORMAT: Final = FilesystemFormat(
    name="ad1",
    title="AccessData logical image (AD1)",
    extensions=(".ad1",),
    checks="MD5 of each file",
    open=Ad1,
    limits="no encryption",
)
