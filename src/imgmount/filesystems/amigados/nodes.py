"""Directories, files and links. A node is the last 200 bytes of its header; its id is the header's block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import TYPE_CHECKING, Final

from imgmount.core.device import BlockDevice
from imgmount.core.fields import amiga_time_ns
from imgmount.core.names import safe_name
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, SYMLINK_MODE, Directory, File, Node, Special, Stat, Symlink
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, ImageError
from imgmount.filesystems.amigados import blocks
from imgmount.filesystems.amigados.blocks import FFS, HEAD, TAIL, T, long_at
from imgmount.filesystems.amigados.content import BlockTable, FfsFile, OfsFile

if TYPE_CHECKING:
    from imgmount.filesystems.amigados.volume import AmigaVolume

_DATE: Final = Struct(">3I")
PROTECTION: Final = "hsparwed"  # from bit 7; the last four deny what they name
DENIED: Final = 0x0F
NO_EXECUTE: Final = 0x02
EXECUTABLE: Final = 0o111
MAX_LINKS: Final = 1000  # counted
MAX_HOPS: Final = 8  # from a link to a file: AmigaDOS makes no links to links
MAX_DEPTH: Final = 128  # of a directory


class _AmigaNode(Node):
    __slots__ = ("_damaged", "_tail", "_volume")

    def __init__(self, volume: AmigaVolume, key: int, tail: bytes, *, damaged: bool = False) -> None:
        self._volume = volume
        self.id = key
        self._tail = tail
        self._damaged = damaged  # its checksum is wrong

    def _mtime_ns(self) -> int:
        volume, tail = self._volume, self._tail
        long = self.id != volume.root_place.key and volume.long_names
        return amiga_time_ns(*_DATE.unpack_from(tail, T.long_date if long else T.date))

    def _intact(self) -> None:
        """Raise ``ChecksumError`` where the header is damaged: what it leads to may be another file's."""
        if self._damaged:
            offset = self.id * self._volume.root_place.block_size
            raise ChecksumError("amigados", f"bad checksum of header {self.id}", offset=offset)

    def xattrs(self) -> Mapping[str, bytes]:
        bits = long_at(self._tail, T.protection) ^ DENIED
        shown = "".join(letter if bits >> (7 - place) & 1 else "-" for place, letter in enumerate(PROTECTION))
        found = {"user.amiga.protection": shown.encode("ascii")}
        comment = self._volume.text(self._comment())
        if comment:
            found["user.amiga.comment"] = comment.encode("utf-8", "surrogateescape")
        return found

    def _comment(self) -> bytes:
        volume, tail = self._volume, self._tail
        _, comment = blocks.names(tail, long=volume.long_names)
        place = long_at(tail, T.long_comment)
        if comment or not place or not volume.long_names:
            return comment
        try:
            return volume.long_comment(place)
        except ImageError:
            return b""


class AmigaDirectory(_AmigaNode, Directory):
    """A directory, or the root."""

    __slots__ = ()
    case_sensitive = False

    def fold(self, name: str) -> str:
        volume = self._volume
        try:
            raw = name.encode(volume.encoding, "surrogateescape")
        except UnicodeEncodeError:
            return name  # no name on this disk
        return volume.text(blocks.upper(raw, intl=volume.intl))

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE, 0, self._mtime_ns())

    def xattrs(self) -> Mapping[str, bytes]:
        return {} if self.id == self._volume.root_place.key else super().xattrs()

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume = self._volume
        damage: ImageError | None = None
        for _, found in volume.children(self.id):
            if isinstance(found, ImageError):
                damage = damage or found  # of one chain; the others may be whole
                continue
            key, tail, sound = found
            name, _ = blocks.names(tail, long=volume.long_names)
            yield volume.text(name), volume.node(key, tail, damaged=not sound)
        self._intact()
        if damage is not None:
            raise damage


class AmigaFile(_AmigaNode, File):
    """A file. Hard links lead to the same one. ``lost`` marks blocks that a deleted one no longer has."""

    __slots__ = ("_lost",)

    def __init__(
        self, volume: AmigaVolume, key: int, tail: bytes, *, damaged: bool = False, lost: bytearray | None = None
    ) -> None:
        super().__init__(volume, key, tail, damaged=damaged)
        self._lost = lost

    def stat(self) -> Stat:
        tail = self._tail
        mode = FILE_MODE if tail[T.protection + 3] & NO_EXECUTE else FILE_MODE | EXECUTABLE
        links = self._links() if long_at(tail, T.next_link) else 1
        return Stat(mode, long_at(tail, T.size), self._mtime_ns(), nlink=links)

    def _links(self) -> int:
        """The file's names: itself, and the chain of its links as far as it can be read. Each name asks, one counts."""
        counts = self._volume.link_counts
        if self.id not in counts:
            counts[self.id] = self._count_links()
        return counts[self.id]

    def _count_links(self) -> int:
        seen = {self.id}
        key = long_at(self._tail, T.next_link)
        while key and key not in seen and len(seen) < MAX_LINKS:
            seen.add(key)
            try:
                key = long_at(self._volume.checked(key)[-TAIL:], T.next_link)
            except ImageError:
                break
        return len(seen)

    def open(self) -> BlockDevice:
        self._intact()
        volume, size = self._volume, long_at(self._tail, T.size)
        if size == 0:
            return MemoryDevice(b"")
        table = BlockTable(volume, self.id, size, self._lost)
        return FfsFile(volume, table, size) if volume.dos_type & FFS else OfsFile(volume, table, self.id, size)


class AmigaSoftLink(_AmigaNode, Symlink):
    """A soft link; its target is an AmigaDOS path, as stored."""

    __slots__ = ()

    def stat(self) -> Stat:
        return Stat(SYMLINK_MODE, 0, self._mtime_ns())

    def readlink(self) -> str:
        self._intact()
        volume = self._volume
        block = volume.checked(self.id)
        target = block[HEAD:-TAIL].partition(b"\0")[0]
        if not target:
            raise FormatError("amigados", "a soft link to nowhere", offset=self.id * len(block))
        return volume.text(target)


class AmigaDirectoryLink(_AmigaNode, Symlink):
    """A hard link to a directory. POSIX has none, so that walks of a tree end: it is shown as a symlink to where that is."""

    __slots__ = ()

    def stat(self) -> Stat:
        return Stat(SYMLINK_MODE, 0, self._mtime_ns())

    def readlink(self) -> str:
        self._intact()
        here = self._volume.path(long_at(self._tail, T.parent))
        there = self._volume.path(long_at(self._tail, T.real_entry))
        shared = 0
        while shared < min(len(here), len(there)) and here[shared] == there[shared]:
            shared += 1
        names = [safe_name(self._volume.text(name), set()) for name in there[shared:]]
        return "/".join([".."] * (len(here) - shared) + names) or "."


class Broken(_AmigaNode, Special):
    """A link whose file is lost: its name is shown, and nothing else can be said."""

    __slots__ = ("_problem",)

    def __init__(self, volume: AmigaVolume, key: int, tail: bytes, problem: ImageError) -> None:
        super().__init__(volume, key, tail)
        self._problem = problem

    def stat(self) -> Stat:
        raise self._problem
