"""Serves a made-up tree, without an image, for tests of the adapter: ``python fake.py MOUNTPOINT`` in the foreground."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from imgmount.chain.open import Image, Layer
from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice, ChunkedDevice, Extent
from imgmount.core.format import Context
from imgmount.core.node import Directory, File, Node, Special, Stat, Symlink
from imgmount.core.slices import Concat, MemoryDevice, Slice
from imgmount.errors import FormatError
from imgmount.sources.file import FileDevice
from imgmount.sources.siblings import FolderSiblings

MANY = 3000
YEAR_2001 = 978_307_200_123_456_789
PATTERN = b"".join(number.to_bytes(4, "big") for number in range(1 << 18))  # 1 MiB, different everywhere
HOLE = 10 << 20


class Fixed(Directory):
    __slots__ = ("nodes",)

    def __init__(self, number: int, nodes: Mapping[str, Node]) -> None:
        self.id = number
        self.nodes = nodes

    def stat(self) -> Stat:
        return Stat(stat.S_IFDIR | 0o755, mtime_ns=YEAR_2001, nlink=2)

    def _scan(self) -> Iterable[tuple[str, Node]]:
        return self.nodes.items()


class Torn(Fixed):
    """Damaged behind its first entry."""

    __slots__ = ()

    def _scan(self) -> Iterable[tuple[str, Node]]:
        yield from list(self.nodes.items())[:1]
        raise FormatError("fake", "the directory is torn", offset=0x800)


class Blurred(File):
    """A file of which only the name is known."""

    __slots__ = ()

    def __init__(self, number: int) -> None:
        self.id = number

    def stat(self) -> Stat:
        raise FormatError("fake", "the inode is damaged", offset=0x900)

    def open(self) -> BlockDevice:
        raise FormatError("fake", "the inode is damaged", offset=0x900)


class Plain(File):
    __slots__ = ("device", "facts")

    def __init__(self, number: int, device: BlockDevice, **facts: int) -> None:
        self.id = number
        self.device = device
        self.facts = {"mode": stat.S_IFREG | 0o640, "size": device.size, "mtime_ns": YEAR_2001, **facts}

    def stat(self) -> Stat:
        return Stat(**self.facts)

    def open(self) -> BlockDevice:
        return Slice(self.device, 0, self.device.size)

    def xattrs(self) -> Mapping[str, bytes]:
        return {"user.fake.number": str(self.id).encode(), "user.fake.empty": b""}


class Gone(Plain):
    """A deleted file."""

    __slots__ = ()
    guess = "its content"


class Link(Symlink):
    __slots__ = ("target",)

    def __init__(self, number: int, target: str) -> None:
        self.id = number
        self.target = target

    def stat(self) -> Stat:
        return Stat(stat.S_IFLNK | 0o777, len(self.target), YEAR_2001)

    def readlink(self) -> str:
        return self.target


class Null(Special):
    __slots__ = ()

    def __init__(self, number: int) -> None:
        self.id = number

    def stat(self) -> Stat:
        return Stat(stat.S_IFCHR | 0o666, rdev=0x103)


class Broken(BlockDevice):
    """Its second 64 KiB cannot be read."""

    size = 256 << 10

    def _pread(self, offset: int, size: int) -> bytes:
        if offset < 128 << 10 and offset + size > 64 << 10:
            raise FormatError("fake", "unreadable", offset=64 << 10)
        return PATTERN[offset : offset + size]


class Coded(ChunkedDevice):
    """Decoded in chunks of 48 KiB."""

    def _read_chunk(self, index: int) -> bytes:
        start = index * self.block_size
        return PATTERN[start : min(start + self.block_size, self.size)]


class Crash(BlockDevice):
    size = 4096

    def _pread(self, offset: int, size: int) -> bytes:
        raise ZeroDivisionError(offset, size)


def tree(host: FileDevice, cache: ReadCache) -> Directory:
    """``host`` holds PATTERN."""
    shuffled = [Extent(4096, host, number * 4096) for number in reversed(range(200))]
    memory = Extent(1000, MemoryDevice(PATTERN[:1000]))
    holey = Concat([Extent(HOLE), Extent(65536, host, 4096), Extent(HOLE), memory, Extent(HOLE)])
    many = {
        f"file {number:04}": Plain(1000 + number, MemoryDevice(b"x" * (number % 9))) for number in range(MANY)
    }
    return Fixed(
        0,
        {
            "plain": Plain(1, host),
            "shuffled": Plain(2, Concat(shuffled)),
            "holey": Plain(3, holey, allocated=66536),
            "broken": Plain(4, Broken()),
            "coded": Plain(5, Coded(len(PATTERN) - 77, 48 << 10, cache)),
            "crash": Plain(6, Crash()),
            "gone": Gone(17, MemoryDevice(b"gone")),
            "empty": Plain(7, MemoryDevice(b""), nlink=2, birth_ns=YEAR_2001 + 2),
            "many": Fixed(8, many),
            "blurred": Fixed(901, {"lost": Blurred(902), "kept": Plain(903, MemoryDevice(b"kept"))}),
            "torn": Torn(
                9, {"kept": Plain(10, MemoryDevice(b"kept")), "lost": Plain(11, MemoryDevice(b"lost"))}
            ),
            "link": Link(12, "many/../plain"),
            "null": Null(13),
            "odd \udcff\n name": Plain(
                14, MemoryDevice(b"odd"), uid=1234, gid=5678, atime_ns=0, ctime_ns=YEAR_2001 + 1
            ),
            "cut": Plain(16, Slice(host, len(PATTERN) - 8192, 16384)),
            "file": Fixed(15, {}),
        },
    )


def main(target: Path, host_file: Path) -> int:
    from imgmount.fuse.options import MountOptions
    from imgmount.fuse.session import Session
    from imgmount.vfs.vfs import Vfs

    cache = ReadCache(1 << 20)
    host = FileDevice(host_file)
    siblings = FolderSiblings(host_file)
    context = Context(host_file, siblings, cache)
    image = Image(host_file, (Layer("file", "file", host),), "", (), context=context, siblings=siblings)
    vfs = Vfs(tree(host, cache), {}, [], 123 << 20)
    return Session(image, host_file, vfs, target, MountOptions(), created=False).background()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
