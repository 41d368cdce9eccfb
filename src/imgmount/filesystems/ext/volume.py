"""An ext volume: its inodes, and what they hold."""

from __future__ import annotations

import stat as s
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.node import Filesystem
from imgmount.core.owners import Owners
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.ext import superblock as sb
from imgmount.filesystems.ext import xattrs
from imgmount.filesystems.ext.blocks import BlockMap, ExtentMap, IndirectMap, MappedFile
from imgmount.filesystems.ext.groups import Groups
from imgmount.filesystems.ext.inode import COMPRESSED, EXTENTS, INLINE_DATA, ROOT, Inode, is_fast_link, parse_inode
from imgmount.filesystems.ext.nodes import ExtDirectory

PAGE: Final = 8192  # bytes of inode tables read at a time
MAX_PAGES: Final = 256


class ExtVolume(Filesystem):
    """An ext2, ext3 or ext4 volume."""

    def __init__(self, device: BlockDevice, _: Context) -> None:
        self.device = device
        self.super = sb.read_superblock(device)
        self.super.check_features()
        self.label = self.super.label
        self.uuid = str(UUID(bytes=self.super.uuid)) if any(self.super.uuid) else ""
        self.block_size = self.super.block_size
        self.has_kind = bool(self.super.incompat & sb.FILETYPE)
        self.owners = Owners(sb.NAME)
        self.groups = Groups(device, self.super)
        self._pages: dict[int, bytes] = {}

    @property
    def root(self) -> ExtDirectory:
        return ExtDirectory(self, ROOT, (0, 0))

    def inode(self, number: int) -> Inode:
        """Inode ``number``. Raises ``ImageError``."""
        if not 0 < number <= self.super.inodes:
            raise FormatError(sb.NAME, f"inode {number} of {self.super.inodes}")
        group, index = divmod(number - 1, self.super.inodes_per_group)
        size = self.super.inode_size
        offset = self.groups.inode_table(group) * self.block_size + index * size
        page = max(PAGE, size)
        skip = offset % page
        data = self._page(offset - skip, page)
        if skip + size > len(data):
            raise FormatError(sb.NAME, f"inode {number} lies outside the image", offset=offset)
        return parse_inode(data[skip : skip + size], number, self.super)

    def _page(self, start: int, size: int) -> bytes:
        page = self._pages.get(start)
        if page is None:
            page = self.device.pread(start, size)
            while len(self._pages) >= MAX_PAGES:
                for old in list(self._pages)[:1]:
                    self._pages.pop(old, None)
            self._pages[start] = page
        return page

    def is_inline(self, inode: Inode) -> bool:
        """Whether the content is in the inode itself."""
        return bool(inode.flags & INLINE_DATA)

    def inline(self, inode: Inode) -> tuple[bytes, bytes]:
        """The two parts of the content that is in the inode itself. Raises ``FormatError``."""
        rest = xattrs.inline_rest(xattrs.inode_attributes(inode, self._large_value))
        if inode.size > len(inode.block) + len(rest):
            raise FormatError(sb.NAME, f"a file of {inode.size} bytes in its inode, which has {len(inode.block) + len(rest)}")
        return inode.block[: inode.size], rest[: max(0, inode.size - len(inode.block))]

    def content(self, inode: Inode) -> BlockDevice:
        """What the inode holds, ``inode.size`` bytes. Raises ``ImageError``."""
        if inode.size == 0:
            return MemoryDevice(b"")
        if self.is_inline(inode):
            return MemoryDevice(b"".join(self.inline(inode)))
        if inode.flags & COMPRESSED and not inode.flags & EXTENTS:
            raise UnsupportedError(f"{sb.NAME}: a file compressed by e2compr")
        blocks: BlockMap = (ExtentMap if inode.flags & EXTENTS else IndirectMap)(self.device, self.super, inode.block)
        count, start = blocks.find(0)
        if start and count * self.block_size >= inode.size:
            return Slice(self.device, start * self.block_size, inode.size)
        return MappedFile(self.device, self.block_size, inode.size, blocks.find)

    def link_target(self, inode: Inode) -> bytes:
        """What a symbolic link says."""
        if is_fast_link(inode, self.super.cluster_size):
            return inode.block[: inode.size]
        return self.content(inode).pread(0, inode.size).split(b"\0", 1)[0]

    def xattrs(self, inode: Inode) -> Mapping[str, bytes]:
        """The extended attributes of an inode, those that can be read."""
        found = dict(xattrs.named(xattrs.inode_attributes(inode, self._large_value)))
        if inode.xattr_block:
            start = inode.xattr_block * self.block_size
            block = self.device.read_exactly(start, self.block_size, sb.NAME)
            found.update(xattrs.named(xattrs.block_attributes(block, self._large_value)))
        return found

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
            facts["written"] = f"{datetime.fromtimestamp(spb.written, UTC):%Y-%m-%d %H:%M:%S} UTC"
        if spb.incompat & sb.RECOVER:
            facts["journal"] = "not replayed: what was written last may be missing"
        facts["state"] = "has errors" if spb.state & sb.ERRORS else "clean" if spb.state & sb.VALID else "not unmounted"
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
        if spb.incompat & sb.RECOVER:
            yield "the journal has not been replayed"
        if spb.state & sb.ERRORS:
            yield "the filesystem is marked as having errors"
        yield from self.groups.verify()
