"""Deleted files: names in the room that entries of directories leave, inodes with the time of their deletion.

Since ext3, deleting a file empties its inode: where the journal still holds an older copy, that says what was
in it. Certain is what such a copy or an inode that was not emptied says; that a name still means the inode
that it names is a guess. Orphans are files without a name that were open when the system stopped: nothing of
them is lost.
"""

from __future__ import annotations

import stat as s
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from imgmount.core.deleted import DeletedFolder, Found, FreeSpace, walk
from imgmount.core.node import Lost, Node
from imgmount.errors import FormatError, ImageError
from imgmount.families.unix.inodes import UNKNOWN, Entry
from imgmount.filesystems.ext import superblock as sb
from imgmount.filesystems.ext.directory import entries, remnants
from imgmount.filesystems.ext.inode import ENCRYPT, ROOT, Inode
from imgmount.filesystems.ext.journal import Journal, Logged
from imgmount.filesystems.ext.orphans import orphans
from imgmount.filesystems.ext.remains import Remains, RemainsOfLink, RemainsOfSpecial
from imgmount.filesystems.ext.volume import encoded

if TYPE_CHECKING:
    from imgmount.filesystems.ext.volume import ExtVolume

SAME: Final = "no other file had its inode since"
NAMELESS: Final = "(lost names)"
FIRST_USER: Final = 11  # inodes below belong to the file system
_READ: Final = 1 << 18  # bytes of inodes looked through at once
MAX_FOLDER: Final = 16 << 20  # bytes looked through


class _Folder(NamedTuple):
    inode: Inode
    is_deleted: bool


def deleted(volume: ExtVolume) -> Iterator[tuple[str, Node]]:
    """(path, node) of deleted files: those with names in directories, then inodes that have lost theirs."""
    finder = _Finder(volume)
    top = Found("", None, _Folder(volume.inode(ROOT), is_deleted=False), (ROOT, False))
    yield from walk(top, finder.look)
    for number in finder.nameless():
        found = finder.found(Entry(0, number, UNKNOWN, b"inode %d" % number), named=False)
        if found.node is not None and not isinstance(found.node, Lost):
            yield f"{NAMELESS}/{found.name}", found.node


class _Finder:
    """Tells what is left of a name, and of an inode."""

    def __init__(self, volume: ExtVolume) -> None:
        self.volume = volume
        self.free = FreeSpace(
            volume.device, sb.NAME, "block", volume.block_size, first_used=volume.groups.first_used
        )
        self._orphans = orphans(volume)
        self._named: set[int] = set()

    @cached_property
    def _journal(self) -> Journal | None:
        volume = self.volume
        try:
            if volume.journal is None and volume.super.compat & sb.HAS_JOURNAL:
                return Journal(volume.journal_file(), volume.block_size)
        except ImageError:
            pass
        return volume.journal

    @cached_property
    def _copies(self) -> Mapping[int, list[Logged]]:
        try:
            return self._journal.copies() if self._journal is not None else {}
        except ImageError:
            return {}

    def _older(self, block: int) -> Iterator[bytes]:
        """What a block of the volume was, newest first."""
        for logged in self._copies.get(block, ()):
            try:
                assert self._journal is not None
                yield self._journal.read(logged)
            except ImageError:
                continue

    def look(self, folder: _Folder) -> Iterator[Found]:
        """What is in a folder: of a deleted one everything is deleted."""
        known: set[tuple[int, bytes]] = set()
        if not folder.is_deleted:
            for entry in self._live(folder.inode):
                known.add((entry.number, entry.name))
                if (below := self._below(entry)) is not None:
                    name = entry.name.decode("utf-8", "surrogateescape")
                    yield Found(name, None, below, (entry.number, False))
        for entry in self._remnants(folder):
            if (entry.number, entry.name) not in known:
                known.add((entry.number, entry.name))
                shown = encoded(entry.name) if folder.inode.flags & ENCRYPT else entry.name
                yield self.found(entry._replace(name=shown))

    def _live(self, inode: Inode) -> Iterator[Entry]:
        try:
            yield from self.volume.entries(inode)
        except ImageError:
            return

    def _below(self, entry: Entry) -> _Folder | None:
        if entry.kind not in (UNKNOWN, s.S_IFDIR):
            return None
        try:
            inode = self.volume.inode(entry.number)
        except ImageError:
            return None
        return _Folder(inode, is_deleted=False) if inode.kind == s.S_IFDIR else None

    def _remnants(self, folder: _Folder) -> Iterator[Entry]:
        volume = self.volume
        size, has_kind, inodes = volume.block_size, volume.has_kind, volume.super.inodes
        for data, is_old in self._blocks(folder):
            self.free.spend(len(data))
            yield from remnants(data, inodes=inodes, has_kind=has_kind)
            if is_old:
                try:
                    yield from entries(data, 0, block_size=size, has_kind=has_kind)
                except ImageError:
                    continue

    def _blocks(self, folder: _Folder) -> Iterator[tuple[bytes, bool]]:
        """(block of a folder, whether all of its entries are old)."""
        volume, inode = self.volume, folder.inode
        if volume.is_inline(inode):
            head, rest = volume.inline(inode)
            yield head[4:], folder.is_deleted  # behind the number of the parent
            yield rest, folder.is_deleted
            return
        device = self.free if folder.is_deleted else volume.device
        find, size, block = volume.map_of(inode, device).find, volume.block_size, 0
        while block * size < min(inode.size, MAX_FOLDER):
            count, start = find(block)
            for place in range(start, start + min(count, MAX_FOLDER // size)) if start else ():
                try:
                    yield device.read_exactly(place * size, size, sb.NAME), folder.is_deleted
                except ImageError:
                    continue
                older = self._older_of(folder, place, is_first=block == 0 and place == start)
                yield from ((data, True) for data in older)
            block += count

    def _older_of(self, folder: _Folder, place: int, *, is_first: bool) -> Iterator[bytes]:
        """What a block of a folder was, where it was surely of this folder already."""
        checks, inode = self.volume.checks, folder.inode
        own = inode.number.to_bytes(4, "little")
        for data in self._older(place):
            if checks.enabled:
                try:
                    checks.directory(data, checks.of_inode(inode.raw, inode.number), 0)
                except ImageError:
                    continue
                yield data
            elif is_first and data[:4] == own and data[6:9] in (b"\1\2.", b"\1\0."):
                yield data

    def found(self, entry: Entry, *, named: bool = True) -> Found:
        """What the inode of a deleted entry was, or why that is lost."""
        name, number = entry.name.decode("utf-8", "surrogateescape"), entry.number
        try:
            now = self._deleted_inode(number, entry.kind)
            self._named.add(number)
            before = None if now.size or number in self._orphans else self._before(now)
        except ImageError as exc:
            return Found(name, Lost(number, exc))
        guesses = [SAME] if named else []
        if before is not None:
            guesses.append("its blocks are those that the journal had for it last")
            before = before._replace(stat=before.stat._replace(ctime_ns=now.stat.ctime_ns))
        return self._found(name, before or now, "; ".join(guesses))

    def _found(self, name: str, inode: Inode, guess: str) -> Found:
        number = inode.number
        if inode.kind == s.S_IFDIR:
            below = _Folder(inode, is_deleted=True) if inode.size else None
            return Found(name, DeletedFolder(number, inode.stat, guess), below, (number, True))
        kinds = {s.S_IFREG: Remains, s.S_IFLNK: RemainsOfLink}
        node = kinds.get(inode.kind, RemainsOfSpecial)
        device = self.volume.device if number in self._orphans else self.free
        return Found(name, node(self.volume, inode, device, guess))

    def _deleted_inode(self, number: int, kind: int) -> Inode:
        """An inode that no file has. Raises ``ImageError``."""
        inode = self.volume.inode(number)
        if number not in self._orphans and (inode.stat.nlink or not inode.deleted):
            raise FormatError(sb.NAME, f"inode {number} of a deleted file is in use by another")
        if kind not in (UNKNOWN, inode.kind):
            raise FormatError(sb.NAME, f"inode {number} of a deleted file was used for another kind since")
        return inode

    def _before(self, now: Inode) -> Inode | None:
        """The last copy in the journal of an inode that was emptied."""
        number, volume = now.number, self.volume
        block, at = divmod(volume.inode_place(number), volume.block_size)
        for data in self._older(block):
            try:
                inode = volume.inode_in(data[at : at + volume.super.inode_size], number)
            except ImageError:
                continue
            if (
                (inode.generation, inode.kind) == (now.generation, now.kind)
                and inode.stat.nlink
                and inode.size
            ):
                return inode
        return None

    def nameless(self) -> Iterator[int]:
        """The deleted inodes that no entry named."""
        volume = self.volume
        size, per_group = volume.super.inode_size, volume.super.inodes_per_group
        for group in range(volume.super.groups):
            try:
                many = volume.groups.used_inodes(group)
                start = volume.groups.inode_table(group) * volume.block_size
            except ImageError:
                continue
            first = group * per_group + 1
            step = max(1, _READ // size)
            for index in range(0, many, step):
                data = volume.device.pread(start + index * size, min(step, many - index) * size)
                for at in range(0, len(data) - size + 1, size):
                    number = first + index + at // size
                    if number >= FIRST_USER and number not in self._named and self._is_free(data, at, number):
                        yield number

    def _is_free(self, data: bytes, at: int, number: int) -> bool:
        mode, links, gone = data[at : at + 2], data[at + 0x1A : at + 0x1C], data[at + 0x14 : at + 0x18]
        return any(mode) and not any(links) and (any(gone) or number in self._orphans)
