"""An ext volume: its inodes, and what they hold."""

from __future__ import annotations

import logging
import stat as s
import struct
import unicodedata
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final
from uuid import UUID

from imgmount.core.device import BlockDevice
from imgmount.core.fields import utc_text
from imgmount.core.format import Context
from imgmount.core.option import NO_JOURNAL
from imgmount.core.single_parent import SingleParent
from imgmount.core.slices import MemoryDevice
from imgmount.core.xattrs import collect
from imgmount.errors import ChecksumError, FormatError, ImageError, UnsupportedError
from imgmount.families.unix.block_pointers import PointerMap, mapped_file
from imgmount.families.unix.extent_tree import ExtentTree
from imgmount.families.unix.inodes import Entry, InodeVolume, TablePages, directory_parts, scan
from imgmount.filesystems.ext import superblock as sb
from imgmount.filesystems.ext import xattrs
from imgmount.filesystems.ext.blocks import EXTENT_MAGIC, extent_tree, indirect_map
from imgmount.filesystems.ext.checksums import Checks
from imgmount.filesystems.ext.directory import entries
from imgmount.filesystems.ext.groups import Groups
from imgmount.filesystems.ext.inode import (
    CASEFOLD,
    COMPRESSED,
    ENCRYPT,
    EXTENTS,
    INLINE_DATA,
    ROOT,
    Inode,
    is_fast_link,
    parse_inode,
)
from imgmount.filesystems.ext.journal import Journal, ReplayedDevice
from imgmount.filesystems.ext.journal import check as check_journal

log = logging.getLogger(__name__)

_INLINE_PARENT: Final = 4  # bytes: the number of the parent, in place of . and ..
MAX_SEARCHED: Final = 16 << 20  # bytes of inode tables: 65,536 inodes, some 10 ms


class ExtVolume(InodeVolume[Inode]):
    """An ext2, ext3 or ext4 volume."""

    fmt = sb.NAME
    root_number = ROOT

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self._open(device)
        self.journal: Journal | None = None
        self.journal_fault: ImageError | None = None  # why it was not replayed
        self.needs_recovery = bool(self.super.incompat & sb.RECOVER)
        if self.needs_recovery and not NO_JOURNAL.is_on(context.options.extra):
            self._replay()

    def _open(self, device: BlockDevice) -> None:
        self.device = device
        self.super = sb.read_superblock(device)
        self.super.check_features()
        self.label = self.super.label
        self.uuid = str(UUID(bytes=self.super.uuid)) if any(self.super.uuid) else ""
        self.block_size = self.super.block_size
        self.folds = bool(self.super.incompat & sb.CASEFOLD)
        self._last = None  # it was of the volume before its journal was replayed
        self.has_kind = bool(self.super.incompat & sb.FILETYPE)
        self.single_parent = SingleParent(sb.NAME)
        self.checks = Checks(self.super.seed, enabled=bool(self.super.ro_compat & sb.METADATA_CSUM))
        self.groups = Groups(device, self.super)
        self._tables = TablePages(device, sb.NAME)

    def _replay(self) -> None:
        """Lay the journal over the volume; where that fails, the volume is shown as it is, which is told."""
        try:
            self.journal = Journal(self.journal_file(), self.block_size)
            if self.journal.blocks:
                self._open(ReplayedDevice(self.device, self.journal, self.block_size))
        except ImageError as exc:
            self.journal, self.journal_fault = None, exc
        if self.journal is None or self.journal.blocks or self.journal.fault or self.journal.fast:
            log.warning("%s: the journal is %s", sb.NAME, self._journal_state)

    def journal_file(self) -> BlockDevice:
        """The file that the journal is in, by its inode or the copy of it in the superblock."""
        if not self.super.journal_inode:
            raise UnsupportedError(f"{sb.NAME}: a journal on another device")
        try:
            return self.content(self.inode(self.super.journal_inode))
        except ImageError:
            if not any(self.super.journal_backup):
                raise
        block, high, low = struct.unpack("<60sII", self.super.journal_backup)
        flags = EXTENTS if block[:2] == EXTENT_MAGIC else 0
        found = self._map(self.device, block, flags, self.super.seed)
        return mapped_file(self.device, self.block_size, high << 32 | low, found.find)

    @property
    def _journal_state(self) -> str:
        """What became of the journal of a volume that was not unmounted."""
        if self.journal is None:
            reason = f" ({self.journal_fault})" if self.journal_fault else ""
            return f"not replayed: what was written last may be missing{reason}"
        if not self.journal.transactions and self.journal.fault is None and not self.journal.fast:
            return "marked as not replayed, but empty"
        told = (
            f"replayed in memory: {self.journal.transactions} transactions, {len(self.journal.blocks)} blocks"
        )
        if self.journal.fault is not None:
            told += f", up to damage ({self.journal.fault})"
        return told + (", but for fast commits, which are not read" if self.journal.fast else "")

    def inode_place(self, number: int) -> int:
        """Where an inode is, in bytes. Raises ``FormatError``."""
        if not 0 < number <= self.super.inodes:
            raise FormatError(sb.NAME, f"inode {number} of {self.super.inodes}")
        group, index = divmod(number - 1, self.super.inodes_per_group)
        return self.groups.inode_table(group) * self.block_size + index * self.super.inode_size

    def _read_inode(self, number: int) -> Inode:
        return self.inode_in(self._tables.read(self.inode_place(number), self.super.inode_size), number)

    def inode_in(self, raw: bytes, number: int) -> Inode:
        """The inode in ``raw``. Raises ``ImageError``."""
        self.checks.inode(raw, number)
        return parse_inode(raw, number, self.super)

    def is_inline(self, inode: Inode) -> bool:
        """Whether the content is in the inode itself."""
        return bool(inode.flags & INLINE_DATA)

    def inline(self, inode: Inode) -> tuple[bytes, bytes]:
        """The two parts of the content that is in the inode itself. Raises ``FormatError``."""
        rest = xattrs.inline_rest(xattrs.inode_attributes(inode, self._large_value))
        if inode.size > len(inode.block) + len(rest):
            raise FormatError(
                sb.NAME,
                f"a file of {inode.size} bytes in its inode, which has {len(inode.block) + len(rest)}",
            )
        return inode.block[: inode.size], rest[: max(0, inode.size - len(inode.block))]

    def content(self, inode: Inode, device: BlockDevice | None = None) -> BlockDevice:
        """What a file holds, its blocks read from ``device`` or else the volume. Raises ``ImageError``."""
        if inode.kind == s.S_IFREG and inode.flags & ENCRYPT:
            raise UnsupportedError(f"{sb.NAME}: an encrypted file (inode {inode.number})")
        if inode.size and self.is_inline(inode):
            return MemoryDevice(b"".join(self.inline(inode)))
        if inode.flags & COMPRESSED and not inode.flags & EXTENTS:
            raise UnsupportedError(f"{sb.NAME}: a file compressed by e2compr")
        device = device or self.device
        return mapped_file(device, self.block_size, inode.size, self.map_of(inode, device).find)

    def map_of(self, inode: Inode, device: BlockDevice) -> ExtentTree | PointerMap:
        """Where the blocks of a file are; what says so is read from ``device``. Raises ``ImageError``."""
        return self._map(device, inode.block, inode.flags, self.checks.of_inode(inode.raw, inode.number))

    def _map(self, device: BlockDevice, block: bytes, flags: int, seed: int) -> ExtentTree | PointerMap:
        """The map of a file whose i_block is ``block``; ``seed`` is that of its checksums."""

        def check(data: bytes, offset: int) -> None:
            self.checks.extents(data, seed, offset)

        if flags & EXTENTS:
            return extent_tree(device, self.super, block, check)
        return indirect_map(device, self.super, block)

    def target(self, inode: Inode) -> bytes:
        if inode.flags & ENCRYPT:
            raise UnsupportedError(f"{sb.NAME}: an encrypted symbolic link (inode {inode.number})")
        if is_fast_link(inode, self.super.cluster_size):
            return inode.block[: inode.size]
        return self.content(inode).pread(0, inode.size).split(b"\0", 1)[0]

    def entries(self, inode: Inode) -> Iterator[Entry]:
        """The entries of a directory; the names of an encrypted one in letters that a path may have.

        Indexed directories are read like the others: the index hides in entries that are not in use.
        """
        found = scan(self._parts(inode), partial(entries, block_size=self.block_size, has_kind=self.has_kind))
        if not inode.flags & ENCRYPT:
            return found
        return (entry._replace(name=encoded(entry.name)) for entry in found)

    def _parts(self, inode: Inode) -> Iterator[tuple[int, bytes | ImageError]]:
        if not self.is_inline(inode):
            parts = directory_parts(self.content(inode), self.block_size, sb.NAME, self.device.size)
            yield from self._checked(parts, inode) if self.checks.enabled else parts
            return
        head, rest = self.inline(inode)
        yield 0, head[_INLINE_PARENT:]
        yield len(head), rest

    def _checked(
        self, parts: Iterator[tuple[int, bytes | ImageError]], inode: Inode
    ) -> Iterator[tuple[int, bytes | ImageError]]:
        """The parts of a directory, less the blocks whose checksums are wrong."""
        seed, size = self.checks.of_inode(inode.raw, inode.number), self.block_size
        for base, part in parts:
            if isinstance(part, ImageError):
                yield base, part
                continue
            sound = 0  # where the blocks begin that are not given yet
            for at in range(0, len(part), size):
                try:
                    self.checks.directory(part[at : at + size], seed, base + at)
                except ChecksumError as exc:
                    yield base + sound, part[sound:at]
                    yield base + at, exc
                    sound = at + size
            yield base + sound, part[sound:]

    def ignores_case(self, inode: Inode) -> bool:
        return bool(inode.flags & CASEFOLD and self.super.incompat & sb.CASEFOLD)

    def fold(self, name: str) -> str:
        """Kernel documentation, ext4: Unicode's full folding of the decomposed form."""
        return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())

    def attributes(self, inode: Inode) -> Mapping[str, bytes]:
        """The extended attributes of an inode, those that can be read."""
        found = collect(xattrs.named(xattrs.inode_attributes(inode, self._large_value)), sb.NAME)
        if inode.xattr_block:
            start = inode.xattr_block * self.block_size
            block = self.device.read_exactly(start, self.block_size, sb.NAME)
            self.checks.attributes(block, inode.xattr_block, start)
            found |= collect(xattrs.named(xattrs.block_attributes(block, self._large_value)), sb.NAME)
        return found

    def may_have_attributes(self) -> bool:
        """False where all inodes that were ever used have been looked at: the tables are short."""
        left = MAX_SEARCHED
        try:
            for group in range(self.super.groups):
                size = self.groups.used_inodes(group) * self.super.inode_size
                left -= size + self.block_size
                if left < 0:
                    return True
                start = self.groups.inode_table(group) * self.block_size
                if xattrs.in_table(self.device.read_exactly(start, size, sb.NAME), self.super.inode_size):
                    return True
        except ImageError:
            return True
        return False

    def _large_value(self, number: int, size: int) -> bytes:
        inode = self.inode(number)
        if inode.kind != s.S_IFREG or inode.size != size:
            raise FormatError(sb.NAME, f"inode {number} is not an attribute of {size} bytes")
        return self.content(inode).pread(0, size)

    @property
    def _kind(self) -> str:
        spb = self.super
        later = spb.incompat & ~(sb.FILETYPE | sb.RECOVER | sb.META_BG) or spb.ro_compat & ~0x7
        return "ext4" if later else "ext3" if spb.compat & sb.HAS_JOURNAL else "ext2"

    def info(self) -> Mapping[str, str]:
        spb = self.super
        names = [name for bit, name in sb.INCOMPAT.items() if spb.incompat & bit]
        facts = {"type": self._kind, "label": self.label, "uuid": self.uuid}
        facts["blocks"] = f"{spb.blocks} of {spb.block_size} bytes, {spb.free_blocks} free"
        facts["inodes"] = f"{spb.inodes}, {spb.free_inodes} free"
        facts["features"] = " ".join(names)
        if spb.written > 0:
            facts["written"] = utc_text(spb.written)
        if self.needs_recovery:
            facts["journal"] = self._journal_state
        facts["state"] = (
            "has errors" if spb.state & sb.ERRORS else "clean" if spb.state & sb.VALID else "not unmounted"
        )
        if spb.offset != sb.PRIMARY:
            facts["superblock"] = f"damaged, read from the backup at {spb.offset:#x}"
        return {key: value for key, value in facts.items() if value}

    def verify(self) -> Iterator[str]:
        spb = self.super
        try:
            primary = sb.parse_superblock(self.device, sb.PRIMARY)
        except ImageError as exc:
            yield str(exc)
        else:
            if not primary.checksum_is_right:
                yield "the superblock's checksum is wrong"
        if self.needs_recovery:
            yield f"the volume was not unmounted: its journal is {self._journal_state}"
        if self.journal is not None:
            yield from check_journal(self.journal)
        if spb.state & sb.ERRORS:
            yield "the filesystem is marked as having errors"
        yield from self.groups.verify()


def encoded(name: bytes) -> bytes:
    """The name of an encrypted file, in letters that a path may have."""
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(name).rstrip(b"=")
