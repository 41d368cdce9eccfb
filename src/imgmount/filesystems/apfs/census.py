"""What a volume counts against what is in its tree, and the hashes of names and of sealed data."""

from __future__ import annotations

import hashlib
import stat as s
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

from imgmount.codecs.crc32c import crc32c
from imgmount.errors import ImageError
from imgmount.filesystems.apfs import records as r
from imgmount.filesystems.apfs.btree import Record
from imgmount.filesystems.apfs.superblock import CASE_INSENSITIVE
from imgmount.filesystems.apfs.volume import Volume

MAX_TOLD: Final = 100  # problems of a kind; the others are counted
FILE_INFO: Final = 13  # a type of record: the hash of a piece of a sealed file
_INFO: Final = Struct("<QQ")  # object and type; kind of information and where in the file
_DATA_HASH: Final = Struct("<HB")  # blocks, bytes of the hash
_IS_DATA_HASH: Final = 1
_PLACE_MASK: Final = (1 << 56) - 1
_HASH_MASK: Final = 0x3F_FFFF
_FIRST_USER: Final = 16  # inodes below belong to the filesystem


class Census:
    """One pass over the tree of a volume."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._kinds: Counter[int] = Counter()
        self._inodes: dict[int, tuple[int, int]] = {}  # number -> (mode, links)
        self._named: Counter[int] = Counter()  # entries that name an inode
        self._entries: Counter[int] = Counter()  # entries of a directory

    def problems(self) -> Iterator[str]:
        """One line for each problem."""
        damage: list[ImageError] = []
        tree = self._volume.tree
        for node in tree.nodes(damage):
            for index in range(0 if node.level else len(node.orders)):
                try:
                    problem = self._record(node.record(index))
                except ImageError as exc:
                    problem = str(exc)
                if problem:
                    yield problem
        yield from (f"the tree of files: {problem}" for problem in damage)
        if not damage:
            yield from _limited(self._links())
            yield from self._counts()

    def _record(self, record: Record) -> str | None:
        check = _CHECKS.get(r.kind_of(record))
        return check(self, record) if check is not None else None

    def inode(self, record: Record) -> str | None:
        """Count an inode."""
        inode = r.parse_inode(record)
        self._inodes[inode.number] = inode.mode, inode.links
        if inode.number >= _FIRST_USER:
            self._kinds[s.S_IFMT(inode.mode)] += 1
        return None

    def entry(self, record: Record) -> str | None:
        """Count an entry, and hash its name."""
        superblock = self._volume.super
        entry = r.parse_entry(record, hashed=superblock.hashed_names)
        self._named[entry.inode] += 1
        self._entries[r.number_of(record)] += 1
        if superblock.hashed_names and r.name_hash(record) != hash_of(
            entry.name, folds=bool(superblock.incompat & CASE_INSENSITIVE)
        ):
            return f"the hash of the name {entry.name!r} is wrong"
        return None

    def extent(self, record: Record) -> str | None:
        """An extent must lie in the container."""
        start = record.order & (1 << 64) - 1
        found = r.parse_stretch(record, start)
        blocks = self._volume.container.super.blocks
        size = self._volume.container.blocks.size
        if found.block and (found.length % size or found.block + found.length // size > blocks):
            where = f"block {found.block:#x} of {blocks:#x}"
            return f"{found.length} bytes at {where}, of object {r.number_of(record)}"
        return None

    def data_hash(self, record: Record) -> str | None:
        """The hash of a piece of a sealed file."""
        seal, volume = self._volume.seal, self._volume
        if seal is None or seal.broken or len(record.key) < _INFO.size or len(record.value) < _DATA_HASH.size:
            return None
        what = _INFO.unpack_from(record.key)[1]
        count, length = _DATA_HASH.unpack_from(record.value)
        if what >> 56 != _IS_DATA_HASH:
            return None
        at, size = what & _PLACE_MASK, count * volume.container.blocks.size
        number = r.number_of(record)
        stored = record.value[_DATA_HASH.size : _DATA_HASH.size + length]
        if hashlib.new(seal.name, volume.stream(number, at + size).pread(at, size)).digest() != stored:
            return f"the hash of {size} bytes at {at:#x} of object {number} is wrong"
        return None

    def _links(self) -> Iterator[str]:
        for number, (mode, links) in self._inodes.items():
            if s.S_ISDIR(mode):
                if self._entries[number] != links:
                    yield f"directory {number} has {self._entries[number]} entries, its inode counts {links}"
            elif self._named[number] != links:
                yield f"inode {number} has {self._named[number]} names, and counts {links}"
        for number in self._named:
            if number not in self._inodes:
                yield f"an entry names inode {number}, which is missing"

    def _counts(self) -> Iterator[str]:
        told, kinds = self._volume.super, self._kinds
        found = {
            "files": kinds[s.S_IFREG],
            "directories": kinds[s.S_IFDIR],
            "symbolic links": kinds[s.S_IFLNK],
        }
        found["other objects"] = sum(kinds.values()) - sum(found.values())
        for (what, count), stored in zip(
            found.items(), (told.files, told.directories, told.links, told.others), strict=True
        ):
            if count != stored:
                yield f"{count} {what}, the superblock counts {stored}"


def hash_of(name: bytes, *, folds: bool) -> int:
    """22 bits of the CRC-32C of a name in UTF-32, decomposed, and in the volumes that ignore case folded."""
    text = unicodedata.normalize("NFD", name.decode("utf-8", "surrogateescape"))
    if folds:
        text = unicodedata.normalize("NFD", text.casefold())
    return (crc32c(text.encode("utf-32-le", "surrogatepass")) ^ 0xFFFF_FFFF) & _HASH_MASK


def _limited(problems: Iterator[str]) -> Iterator[str]:
    """The first problems, and how many there are besides."""
    left = 0
    for number, problem in enumerate(problems):
        if number < MAX_TOLD:
            yield problem
        else:
            left += 1
    if left:
        yield f"and {left} more of this kind"


_CHECKS: Final[dict[int, Callable[[Census, Record], str | None]]] = {
    r.INODE: Census.inode,
    r.ENTRY: Census.entry,
    r.EXTENT: Census.extent,
    FILE_INFO: Census.data_hash,
}
