"""Directories, files and links. A node is a header; its id is the header's block."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from struct import Struct
from typing import TYPE_CHECKING, Final

from imgmount.core.device import BlockDevice
from imgmount.core.names import safe_name
from imgmount.core.node import (
    DIRECTORY_MODE,
    FILE_MODE,
    SYMLINK_MODE,
    Directory,
    File,
    Node,
    Special,
    Stat,
    Symlink,
)
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, ImageError
from imgmount.filesystems.amigados import blocks
from imgmount.filesystems.amigados.blocks import FFS, HEAD, TAIL, Header, T
from imgmount.filesystems.amigados.content import BlockTable, FfsFile, OfsFile
from imgmount.filesystems.amigados.times import amiga_time_ns

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
    __slots__ = ("_header", "_volume")

    def __init__(self, volume: AmigaVolume, header: Header) -> None:
        self._volume = volume
        self._header = header
        self.id = header.key

    def _mtime_ns(self) -> int:
        long = self._header is not self._volume.root_header and self._volume.long_names
        return amiga_time_ns(*_DATE.unpack_from(self._header.tail, T.long_date if long else T.date))

    def _intact(self) -> None:
        """Raise ``ChecksumError`` where the header is damaged: what it leads to may be another file's."""
        if not self._header.sound:
            offset = self.id * self._volume.root_place.block_size
            raise ChecksumError(
                "amigados", f"header {self.id} is damaged: its checksum differs", offset=offset
            )

    def xattrs(self) -> Mapping[str, bytes]:
        bits = self._header.long(T.protection) ^ DENIED
        shown = "".join(letter if bits >> (7 - place) & 1 else "-" for place, letter in enumerate(PROTECTION))
        found = {"user.amiga.protection": shown.encode("ascii")}
        comment = self._volume.text(self._volume.comment(self._header))
        if comment:
            found["user.amiga.comment"] = comment.encode("utf-8", "surrogateescape")
        return found


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
        return {} if self._header is self._volume.root_header else super().xattrs()

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume = self._volume
        damage: ImageError | None = None
        for _, found in volume.children(self.id):
            if isinstance(found, ImageError):
                damage = damage or found  # of one chain; the others may be whole
            else:
                yield volume.text(volume.name(found)), volume.node(found)
        self._intact()
        if damage is not None:
            raise damage


class AmigaFile(_AmigaNode, File):
    """A file. Hard links lead to the same one. ``lost`` marks blocks that a deleted one no longer has.

    Files that deny reading can be read: the user has the whole disk anyway.
    """

    __slots__ = ("_lost",)

    def __init__(self, volume: AmigaVolume, header: Header, lost: bytearray | None = None) -> None:
        super().__init__(volume, header)
        self._lost = lost

    def stat(self) -> Stat:
        header = self._header
        mode = FILE_MODE if header.long(T.protection) & NO_EXECUTE else FILE_MODE | EXECUTABLE
        links = self._links() if header.long(T.next_link) else 1
        return Stat(mode, header.long(T.size), self._mtime_ns(), nlink=links)

    def _links(self) -> int:
        """The file's names: itself, and the chain of its links as far as it can be read.

        Each name asks, one counts.
        """
        counts = self._volume.link_counts
        if self.id not in counts:
            counts[self.id] = self._count_links()
        return counts[self.id]

    def _count_links(self) -> int:
        seen = {self.id}
        key = self._header.long(T.next_link)
        while key and key not in seen and len(seen) < MAX_LINKS:
            seen.add(key)
            try:
                key = self._volume.header(key).long(T.next_link)
            except ImageError:
                break
        return len(seen)

    def open(self) -> BlockDevice:
        self._intact()
        volume, size = self._volume, self._header.long(T.size)
        if size == 0:
            return MemoryDevice(b"")
        table = BlockTable(volume, self.id, size, self._lost)
        if volume.dos_type & FFS:
            return FfsFile(volume, table, size)
        return OfsFile(volume, table, self.id, size, strict=self._lost is not None)


class AmigaSoftLink(_AmigaNode, Symlink):
    """A soft link; its target is an AmigaDOS path, as stored."""

    __slots__ = ()

    def stat(self) -> Stat:
        return Stat(SYMLINK_MODE, 0, self._mtime_ns())

    def readlink(self) -> str:
        self._intact()
        block = self._volume.checked(self.id)
        target = block[HEAD:-TAIL].partition(b"\0")[0]
        if not target:
            raise FormatError("amigados", "a soft link has no target", offset=self.id * len(block))
        return self._volume.text(target)


class AmigaDirectoryLink(_AmigaNode, Symlink):
    """A hard link to a directory.

    POSIX has none, so that walks of a tree end: it is shown as a symlink to where that is.
    """

    __slots__ = ()

    def stat(self) -> Stat:
        return Stat(SYMLINK_MODE, 0, self._mtime_ns())

    def readlink(self) -> str:
        self._intact()
        here, there = (self._path(field) for field in (T.parent, T.real_entry))
        return posixpath.relpath(there, here)

    def _path(self, field: int) -> str:
        volume = self._volume
        return "/" + "/".join(
            safe_name(volume.text(name), set()) for name in volume.path(self._header.long(field))
        )


class Broken(_AmigaNode, Special):
    """A link whose file is lost: its name is shown, and nothing else can be said."""

    __slots__ = ("_problem",)

    def __init__(self, volume: AmigaVolume, header: Header, problem: ImageError) -> None:
        super().__init__(volume, header)
        self._problem = problem

    def stat(self) -> Stat:
        raise self._problem.again()


KINDS: Final[dict[int, Callable[[AmigaVolume, Header], Node]]] = {
    blocks.ST_ROOT: AmigaDirectory,
    blocks.ST_USERDIR: AmigaDirectory,
    blocks.ST_FILE: AmigaFile,
    blocks.ST_SOFTLINK: AmigaSoftLink,
    blocks.ST_LINKDIR: AmigaDirectoryLink,
}
