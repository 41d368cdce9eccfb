"""romfs, the smallest filesystem that Linux boots from.

Source: the kernel's Documentation/filesystems/romfs.rst. Everything is big endian, aligned to 16 bytes; there
are no times, no owners and no permissions but "executable".
"""

from __future__ import annotations

import os
import stat as s
from collections.abc import Iterator, Mapping
from typing import Final

from construct import Const, ConstructError, Int32ub, Struct

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.core.format import Context, FilesystemFormat
from imgmount.core.node import (
    DIRECTORY_MODE,
    FILE_MODE,
    SYMLINK_MODE,
    Directory,
    File,
    Filesystem,
    Node,
    Special,
    Stat,
    Symlink,
)
from imgmount.core.single_parent import SingleParent
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, ImageError

NAME: Final = "romfs"
_SUPERBLOCK: Final = Struct("magic" / Const(b"-rom1fs-"), "size" / Int32ub, "checksum" / Int32ub)
SUPERBLOCK_SIZE: Final = 16
ALIGNMENT: Final = 16
HEADER_SIZE: Final = 16  # of a file: next header, the kind's own word, size, checksum
CHECKED: Final = 512  # bytes that the volume's checksum is over
MAX_NAME: Final = 4096
MAX_LINK: Final = 1 << 16
MAX_LINKS: Final = 16  # hard links to hard links
_LINK, _DIRECTORY, _FILE, _SYMLINK, _BLOCK, _CHARACTER, _SOCKET, _FIFO = range(8)
_EXECUTABLE: Final = 8
_SPECIAL: Final = {_BLOCK: s.S_IFBLK, _CHARACTER: s.S_IFCHR, _SOCKET: s.S_IFSOCK, _FIFO: s.S_IFIFO}


class Romfs(Filesystem):
    """A romfs volume."""

    def __init__(self, device: BlockDevice, _: Context) -> None:
        try:
            self._super = _SUPERBLOCK.parse(device.read_exactly(0, SUPERBLOCK_SIZE, NAME))
        except ConstructError as exc:
            raise FormatError(NAME, "the superblock is damaged", offset=0) from exc
        self.device = device
        self.size: int = min(self._super.size, device.size)
        self.places = SingleParent(NAME)
        raw, first = self.string(SUPERBLOCK_SIZE)
        self.label = raw.decode("utf-8", "surrogateescape")
        self._first = first

    @property
    def root(self) -> RomDirectory:
        """The first header is the entry ``.`` of the root, whose list it begins."""
        return RomDirectory(self, self._first, 0, _DIRECTORY, self._first)

    def string(self, offset: int) -> tuple[bytes, int]:
        """The NUL-terminated name at ``offset``, and the aligned position after it.

        Raises ``FormatError``.
        """
        raw = self.device.pread(offset, min(MAX_NAME, max(0, self.size - offset)))
        end = raw.find(b"\0")
        if end < 0:
            raise FormatError(NAME, "a name does not end within its room", offset=offset)
        return raw[:end], offset + (end + ALIGNMENT) // ALIGNMENT * ALIGNMENT

    def header(self, offset: int) -> tuple[int, int, int, int]:
        """The header at ``offset``: (offset of the next one, kind and flags, the kind's own word, size)."""
        following, own, size, _ = table(self.device.read_exactly(offset, HEADER_SIZE, NAME), 4, "big")
        return following & ~(ALIGNMENT - 1), following & (ALIGNMENT - 1), own, size

    def info(self) -> Mapping[str, str]:
        return {"label": self.label, "size": f"{self._super.size} bytes"}

    def verify(self) -> Iterator[str]:
        words = table(self.device.pread(0, min(CHECKED, self.size)), 4, "big")
        if sum(words) & 0xFFFF_FFFF:
            yield "the checksum of the volume is wrong"
        if self._super.size > self.device.size:
            yield f"the volume has {self._super.size} bytes, the image {self.device.size}"


class _RomNode(Node):
    """A node is its header; ``id`` is where that is."""

    __slots__ = ("_data", "_kind", "_own", "_size", "_volume")

    def __init__(self, volume: Romfs, offset: int, data: int, kind: int, own: int, *, size: int = 0) -> None:
        self._volume = volume
        self.id = offset
        self._data = data
        self._kind = kind
        self._own = own
        self._size = size

    def _permit(self, mode: int) -> int:
        return mode | 0o111 if self._kind & _EXECUTABLE else mode


class RomFile(_RomNode, File):
    """A regular file."""

    __slots__ = ()

    def stat(self) -> Stat:
        return Stat(self._permit(FILE_MODE), self._size)

    def open(self) -> BlockDevice:
        return Slice(self._volume.device, self._data, self._size)


class RomSymlink(_RomNode, Symlink):
    """A symbolic link; its target is its content."""

    __slots__ = ()

    def stat(self) -> Stat:
        return Stat(SYMLINK_MODE, self._size)

    def readlink(self) -> str:
        if self._size > MAX_LINK:
            raise FormatError(NAME, f"a symbolic link of {self._size} bytes", offset=self.id)
        return self._volume.device.read_exactly(self._data, self._size, NAME).decode(
            "utf-8", "surrogateescape"
        )


class RomSpecial(_RomNode, Special):
    """A device node, FIFO or socket."""

    __slots__ = ()

    def stat(self) -> Stat:
        mode = _SPECIAL[self._kind & ~_EXECUTABLE]
        rdev = os.makedev(self._own >> 16, self._own & 0xFFFF) if mode in (s.S_IFBLK, s.S_IFCHR) else 0
        return Stat(mode | 0o644, rdev=rdev)


class RomDirectory(_RomNode, Directory):
    """A directory: a list of headers, of which ``_own`` says where the first one is."""

    __slots__ = ()

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume, at = self._volume, self._own
        volume.places.claim(at, self.id)
        seen: set[int] = set()
        while at:
            if at in seen:
                raise FormatError(NAME, "the list of a directory loops", offset=at)
            seen.add(at)
            following, kind, own, size = volume.header(at)
            name, data = volume.string(at + HEADER_SIZE)
            if name not in (b".", b".."):
                yield name.decode("utf-8", "surrogateescape"), self._node(at, data, kind, own, size)
            at = following

    def _node(self, place: int, data: int, kind: int, own: int, size: int) -> Node:
        """The node of the header at ``place``.

        A hard link is read through, and has a number of its own: none counts links.
        """
        volume = self._volume
        try:
            for _ in range(MAX_LINKS):
                if kind & ~_EXECUTABLE != _LINK:
                    break
                at = own
                _, kind, own, size = volume.header(at)
                data = volume.string(at + HEADER_SIZE)[1]
        except ImageError:
            kind = _LINK
        bare = kind & ~_EXECUTABLE
        if bare == _DIRECTORY:
            return RomDirectory(volume, place, data, kind, own)
        if bare == _SYMLINK:
            return RomSymlink(volume, place, data, kind, own, size=size)
        if bare in _SPECIAL:
            return RomSpecial(volume, place, data, kind, own)
        if bare == _LINK:  # to nothing: reading it will say so
            return RomFile(volume, place, volume.device.size, kind, own, size=1)
        return RomFile(volume, place, data, kind, own, size=size)


FORMAT: Final = FilesystemFormat(
    name=NAME, title="romfs", extensions=(".romfs",), checks="sum of the first 512 bytes", open=Romfs
)
