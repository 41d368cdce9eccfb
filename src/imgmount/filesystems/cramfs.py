"""cramfs, the compressed ROM filesystem, in either byte order.

Source: the kernel's Documentation/filesystems/cramfs.rst and its on-disk header, which packs its inodes into
bit fields. Files are pages of 4 KiB, each deflated by itself. Extended block pointers (execute in place) are
refused by name.
"""

from __future__ import annotations

import os
import stat as s
from array import array
from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

from imgmount.codecs import deflate
from imgmount.codecs.crc32 import Crc32
from imgmount.core.cache import Content, ReadCache
from imgmount.core.checks import Finding, Seal
from imgmount.core.device import BlockDevice, ChunkedDevice, Extent
from imgmount.core.fields import table, text
from imgmount.core.format import Context, FilesystemFormat
from imgmount.core.node import Directory, File, Filesystem, Node, Special, Stat, Symlink
from imgmount.core.single_parent import SingleParent
from imgmount.core.slices import Concat, MemoryDevice
from imgmount.errors import FormatError, UnsupportedError

NAME: Final = "cramfs"
MAGIC: Final = 0x28CD3D45
SIGNATURE: Final = b"Compressed ROMFS"
HEADER_SIZE: Final = 64  # magic, size, flags, reserved, signature, CRC, edition, blocks, files, name
INODE_SIZE: Final = 12
PAGE: Final = 4096
GROUP: Final = 16  # pages decoded as one chunk
STARTS: Final = (0, 512)  # a boot sector may come first; offsets count it
_FLAGS: Final = 0x1FF  # known: FSID version 2, sorted, holes, wrong signature, shifted root
_FSID: Final = 1
_EXTENDED: Final = 0x800  # block pointers with flags
MAX_LINK: Final = 1 << 16
_CRC_AT: Final = 32


class Inode(NamedTuple):
    """An inode of three words."""

    mode: int
    uid: int
    size: int
    gid: int
    name_length: int  # in words
    offset: int  # in bytes


class Cramfs(Filesystem):
    """A cramfs volume."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        self.cache = context.cache
        self.places = SingleParent(NAME)
        self.start, self.order = _find(device)
        self._header = device.read_exactly(self.start, HEADER_SIZE, NAME)
        words = table(self._header, 4, self.order)
        self.size, self.flags = words[1], words[2]
        if self.flags & _EXTENDED:
            raise UnsupportedError(f"{NAME}: extended block pointers")
        if self.flags & ~_FLAGS & 0xFF:
            raise UnsupportedError(f"{NAME}: flags {self.flags:#x}")
        self.label = text(self._header[48:64], "utf-8")
        self._files = words[11]

    @property
    def root(self) -> CramDirectory:
        return CramDirectory(self, self.start + HEADER_SIZE, self.inode(self.start + HEADER_SIZE))

    def inode(self, offset: int) -> Inode:
        """The inode at ``offset``. Raises ``FormatError``."""
        return self.parse(self.device.read_exactly(offset, INODE_SIZE, NAME))

    def parse(self, raw: bytes) -> Inode:
        """An inode: mode:16 uid:16 size:24 gid:8 namelen:6 offset:26, from the low bits if little endian."""
        first, second, third = table(raw, 4, self.order)
        if self.order == "little":
            fields = first & 0xFFFF, first >> 16, second & 0xFF_FFFF, second >> 24, third & 0x3F, third >> 6
        else:
            fields = first >> 16, first & 0xFFFF, second >> 8, second & 0xFF, third >> 26, third & 0x3FF_FFFF
        mode, uid, size, gid, words, offset = fields
        return Inode(mode, uid, size, gid, words, offset * 4)

    def info(self) -> Mapping[str, str]:
        facts = {"label": self.label, "byte order": f"{self.order} endian", "size": f"{self.size} bytes"}
        return facts | ({"files": str(self._files)} if self.flags & _FSID else {})

    def verify(self) -> Iterator[Finding]:
        if not self.flags & _FSID:
            return
        if self.size > self.device.size:
            yield f"the volume has {self.size} bytes, the image {self.device.size}"
            return
        stored = table(self._header[_CRC_AT : _CRC_AT + 4], 4, self.order)[0]
        header = self._header[:_CRC_AT] + bytes(4) + self._header[_CRC_AT + 4 :]
        rest = Extent(max(0, self.size - self.start - HEADER_SIZE), self.device, self.start + HEADER_SIZE)
        content = Concat([Extent(len(header), MemoryDevice(header)), rest])
        yield Seal("CRC-32", stored.to_bytes(4, "big"), content, Crc32)


def _find(device: BlockDevice) -> tuple[int, Literal["little", "big"]]:
    for start in STARTS:
        raw = device.pread(start, HEADER_SIZE)
        if raw[16:32] != SIGNATURE:
            continue
        if int.from_bytes(raw[:4], "little") == MAGIC:
            return start, "little"
        if int.from_bytes(raw[:4], "big") == MAGIC:
            return start, "big"
    raise FormatError(NAME, "no superblock is at byte 0 or 512", offset=0)


class _CramNode(Node):
    """What all nodes share. ``id`` is where the inode is."""

    __slots__ = ("_inode", "_volume")

    def __init__(self, volume: Cramfs, place: int, inode: Inode) -> None:
        self._volume = volume
        self.id = place
        self._inode = inode

    def stat(self) -> Stat:
        return Stat(self._inode.mode, self._inode.size, uid=self._inode.uid, gid=self._inode.gid)


class CramFile(_CramNode, File):
    """A regular file."""

    __slots__ = ()

    def open(self) -> BlockDevice:
        if self._inode.size == 0:
            return MemoryDevice(b"")
        return Pages(self._volume, self._inode, self._volume.cache)


class CramSymlink(_CramNode, Symlink):
    """A symbolic link; its target is its content."""

    __slots__ = ()

    def readlink(self) -> str:
        if self._inode.size > MAX_LINK:
            raise FormatError(NAME, f"a symbolic link of {self._inode.size} bytes", offset=self.id)
        content = CramFile(self._volume, self.id, self._inode).open()
        return content.pread(0, self._inode.size).decode("utf-8", "surrogateescape")


class CramSpecial(_CramNode, Special):
    """A device node, FIFO or socket; the size of the former is its number."""

    __slots__ = ()

    def stat(self) -> Stat:
        number = self._inode.size
        rdev = (
            os.makedev(number >> 8 & 0xFF, number & 0xFF)
            if s.S_IFMT(self._inode.mode) in (s.S_IFBLK, s.S_IFCHR)
            else 0
        )
        return super().stat()._replace(size=0, rdev=rdev)


class CramDirectory(_CramNode, Directory):
    """A directory: inodes with their names, in a row."""

    __slots__ = ()

    def stat(self) -> Stat:
        return super().stat()._replace(mode=s.S_IFDIR | self._inode.mode & 0o7777)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume, inode = self._volume, self._inode
        if not inode.size:
            return
        volume.places.claim(inode.offset, self.id)
        base = inode.offset
        data = volume.device.pread(base, inode.size)
        at = 0
        while at + INODE_SIZE <= len(data):
            entry = volume.parse(data[at : at + INODE_SIZE])
            name = data[at + INODE_SIZE : at + INODE_SIZE + 4 * entry.name_length].rstrip(b"\0")
            if not name:
                raise FormatError(NAME, "a directory entry without a name", offset=base + at)
            yield name.decode("utf-8", "surrogateescape"), self._node(base + at, entry)
            at += INODE_SIZE + 4 * entry.name_length
        if len(data) < inode.size:
            raise FormatError(
                NAME, f"a directory of {inode.size} bytes, the image has {len(data)}", offset=base
            )

    def _node(self, place: int, inode: Inode) -> Node:
        kind = s.S_IFMT(inode.mode)
        if kind == s.S_IFDIR:
            return CramDirectory(self._volume, place, inode)
        node = {s.S_IFREG: CramFile, s.S_IFLNK: CramSymlink}.get(kind, CramSpecial)
        return node(self._volume, place, inode)


class Pages(ChunkedDevice):
    """A file's pages, inflated. The pointers before them say where each one ends; an empty one is a hole."""

    def __init__(self, volume: Cramfs, inode: Inode, cache: ReadCache) -> None:
        super().__init__(inode.size, PAGE * GROUP, cache)
        self._device = volume.device
        count = -(-inode.size // PAGE)
        start = inode.offset
        self._ends: array[int] = table(self._device.read_exactly(start, 4 * count, NAME), 4, volume.order)
        self._first = inode.offset + 4 * count

    def _read_chunk(self, index: int) -> bytes:
        first = index * GROUP
        return b"".join([self._page(page) for page in range(first, min(first + GROUP, len(self._ends)))])

    def _page(self, page: int) -> Content:
        start = self._ends[page - 1] if page else self._first
        length = self._ends[page] - start
        size = min(PAGE, self.size - page * PAGE)
        if length == 0:
            return bytes(size)
        if not 0 < length <= 2 * PAGE:
            raise FormatError(NAME, f"a page of {length} bytes", offset=start)
        data = self._device.read_exactly(start, length, NAME)
        try:
            return deflate.inflate(data, size, wrapper="zlib")
        except FormatError as exc:
            raise FormatError(NAME, f"a page of {length} bytes cannot be decoded", offset=start) from exc


FORMAT: Final = FilesystemFormat(
    name=NAME,
    title="cramfs",
    extensions=(".cramfs",),
    checks="CRC-32 of the volume",
    open=Cramfs,
    limits="no extended block pointers (execute in place)",
)
