"""A SquashFS volume: its tables, and the caches that its files share."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator, Mapping
from functools import cached_property
from struct import Struct
from typing import Final

from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice
from imgmount.core.fields import table, utc_text
from imgmount.core.format import Context
from imgmount.core.node import Filesystem
from imgmount.core.single_parent import SingleParent
from imgmount.core.xattrs import collect
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.squashfs import old
from imgmount.filesystems.squashfs.codec import BARE_FIRST, LZMA_FIRST, codec, guessing_codec
from imgmount.filesystems.squashfs.content import SIZE_MASK, STORED
from imgmount.filesystems.squashfs.directory import Entry, entries
from imgmount.filesystems.squashfs.inode import NOTHING, Inode, read_inode
from imgmount.filesystems.squashfs.metadata import BLOCK, Metadata
from imgmount.filesystems.squashfs.nodes import SquashDirectory
from imgmount.filesystems.squashfs.superblock import MAGICS, MAJOR_AT, NAME, SIZE, Superblock, byte_order
from imgmount.filesystems.squashfs.xattrs import Attributes

log = logging.getLogger(__name__)

_FRAGMENTS: Final = {  # start, size
    (wide, order): Struct(("<" if order == "little" else ">") + ("QI4x" if wide else "II"))
    for wide in (False, True)
    for order in ("little", "big")
}
_ID: Final = 4  # bytes of an owner
FRAGMENTS_AHEAD: Final = 2


def read_superblock(device: BlockDevice) -> Superblock:
    """The superblock of any version. Raises ``FormatError``, ``UnsupportedError``."""
    order = byte_order(device.read_exactly(0, SIZE, NAME))
    major = int.from_bytes(device.pread(MAJOR_AT, 2), order)
    return old.read_superblock(device, order) if major < 4 else Superblock.read(device, order)


class SquashVolume(Filesystem):
    """A SquashFS of any version."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        self.cache = context.cache
        self.super = read_superblock(device)
        self.is_old = self.super.version < (4, 0)
        block_size = self.super.block_size
        self.codec = guessing_codec(block_size) if self.is_old else codec(self.super.compressor, block_size)
        self.metadata = Metadata(device, self.super, self.codec, context.cache)
        self.places = SingleParent(NAME)
        self._fragments = context.cache.enroll()
        self._fragment = _FRAGMENTS[self.super.version >= (3, 0), self.super.order]
        self._fragment_blocks: dict[int, int] = {}  # of metadata, that the table of fragments is in
        if self.super.bytes_used > device.size:
            log.warning("%s: %d bytes, the image has %d", NAME, self.super.bytes_used, device.size)

    @property
    def root(self) -> SquashDirectory:
        return SquashDirectory(self, self.super.root, (0, 0))

    def inode(self, reference: int) -> Inode:
        """The inode at ``reference``. Raises ``ImageError``."""
        return (old.read_inode if self.is_old else read_inode)(self.metadata, self.super, reference)

    def entries(self, data: bytes) -> Iterator[Entry]:
        """The entries in the content of a directory."""
        return old.entries(data, self.super) if self.is_old else entries(data, self.super.order)

    @cached_property
    def owners(self) -> array[int]:
        """Users and groups, by the index that inodes have of them."""
        if self.is_old:
            tables = ((self.super.id_table, self.super.ids), (self.super.group_table, self.super.groups))
            raw = [self.device.read_exactly(start, count * _ID, NAME) for start, count in tables if count]
            return table(b"".join(raw), _ID, self.super.order)
        size = self.super.ids * _ID
        pointers = self.metadata.pointers(self.super.id_table, -(-size // BLOCK))
        pieces = []
        for pointer in pointers:
            pieces.append(self.metadata.read(pointer, 0, min(BLOCK, size)))
            size -= BLOCK
        return table(b"".join(pieces), _ID, self.super.order)

    def fragment_place(self, index: int) -> tuple[int, int]:
        """(start, size and the flag STORED) of a fragment block. Raises ``FormatError``."""
        if index >= self.super.fragments:
            raise FormatError(NAME, f"fragment {index} of {self.super.fragments}")
        record = self._fragment
        block, inside = divmod(index * record.size, BLOCK)
        pointer = self._fragment_blocks.get(block)
        if pointer is None:
            pointer = self._fragment_blocks[block] = self.metadata.pointer(self.super.fragment_table, block)
        start, size = record.unpack(self.metadata.read(pointer, inside, record.size))
        if not 0 < size & SIZE_MASK <= self.super.block_size:
            raise FormatError(NAME, f"a fragment block of {size & SIZE_MASK} bytes", offset=start)
        return start, size

    def fragment(self, index: int) -> Content:
        """Fragment block ``index`` decoded: tails of several files.

        Where file after file is read, the next ones are decoded ahead.
        """
        cache, serial = self.cache, self._fragments
        data = cache.fetch((serial, index), self._load_fragment)
        if index and (serial, index - 1) in cache:
            for ahead in range(index + 1, min(index + 1 + FRAGMENTS_AHEAD, self.super.fragments)):
                cache.read_ahead((serial, ahead), self._load_fragment)
        return data

    def _load_fragment(self, index: int) -> Content:
        start, size = self.fragment_place(index)
        data = self.device.read_exactly(start, size & SIZE_MASK, NAME)
        if size & STORED:
            return data
        try:
            return self.codec.upto(data, self.super.block_size)
        except FormatError as exc:
            raise FormatError(NAME, f"a fragment block: {exc}", offset=start) from exc

    @cached_property
    def _attributes(self) -> Attributes:
        return Attributes(self.device, self.metadata, self.super.xattr_table, self.super.order)

    def xattrs(self, index: int) -> Mapping[str, bytes]:
        """Set ``index`` of extended attributes."""
        return {} if index == NOTHING else collect(self._attributes.read(index), NAME)

    @property
    def _compressor(self) -> str:
        """Its name; before version 4 that of the first block of inodes that is compressed."""
        if self.super.compressor not in (0, 1):
            return self.codec.name
        first = self.device.pread(self.super.inode_table + (3 if self.super.is_checked else 2), 1)
        return "lzma" if first in (LZMA_FIRST, BARE_FIRST) else self.codec.name

    def info(self) -> Mapping[str, str]:
        facts = {
            "version": f"{self.super.version[0]}.{self.super.version[1]}, {self.super.order} endian",
            "magic": ""
            if self.super.magic in MAGICS
            else f"{self.super.magic.decode()}, a device maker's own",
            "compressor": self._compressor,
            "blocks": f"{self.super.block_size} bytes",
            "inodes": str(self.super.inodes),
            "fragments": str(self.super.fragments),
            "made": utc_text(self.super.made),
        }
        try:
            facts["owners"] = str(len(self.owners))
        except ImageError as exc:
            facts["owners"] = str(exc)
        return {key: value for key, value in facts.items() if value}
