"""A SquashFS volume: its tables, and the caches that its files share."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from struct import Struct
from typing import Final

from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.core.format import Context
from imgmount.core.node import Filesystem
from imgmount.core.owners import Owners
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.squashfs.codec import codec
from imgmount.filesystems.squashfs.content import SIZE_MASK, STORED
from imgmount.filesystems.squashfs.inode import NOTHING, Inode, read_inode
from imgmount.filesystems.squashfs.metadata import BLOCK, Metadata
from imgmount.filesystems.squashfs.nodes import SquashDirectory
from imgmount.filesystems.squashfs.superblock import NAME, Superblock
from imgmount.filesystems.squashfs.xattrs import Attributes

log = logging.getLogger(__name__)

_FRAGMENT: Final = Struct("<QI4x")  # start, size
_ID: Final = 4  # bytes of an owner


class SquashVolume(Filesystem):
    """A SquashFS 4.0."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        self.cache = context.cache
        self.super = Superblock.read(device)
        self.codec = codec(self.super.compressor)
        self.metadata = Metadata(device, self.codec, context.cache)
        self.places = Owners(NAME)
        self._fragments = context.cache.enroll()
        if self.super.bytes_used > device.size:
            log.warning("%s: %d bytes, the image has %d", NAME, self.super.bytes_used, device.size)

    @property
    def root(self) -> SquashDirectory:
        return SquashDirectory(self, self.super.root, (0, 0))

    def inode(self, reference: int) -> Inode:
        """The inode at ``reference``. Raises ``ImageError``."""
        return read_inode(self.metadata, self.super.inode_table, reference)

    @cached_property
    def owners(self) -> array[int]:
        """Users and groups, by the index that inodes have of them."""
        size = self.super.ids * _ID
        pointers = self.metadata.pointers(self.super.id_table, -(-size // BLOCK))
        pieces = []
        for pointer in pointers:
            pieces.append(self.metadata.read(pointer, 0, min(BLOCK, size)))
            size -= BLOCK
        return table(b"".join(pieces), _ID, "little")

    def fragment_place(self, index: int) -> tuple[int, int]:
        """(start, size and the flag STORED) of a fragment block. Raises ``FormatError``."""
        if index >= self.super.fragments:
            raise FormatError(NAME, f"fragment {index} of {self.super.fragments}")
        start, size = _FRAGMENT.unpack(self.metadata.record(self.super.fragment_table, index, _FRAGMENT.size))
        if not 0 < size & SIZE_MASK <= self.super.block_size:
            raise FormatError(NAME, f"a fragment block of {size & SIZE_MASK} bytes", offset=start)
        return start, size

    def fragment(self, index: int) -> Content:
        """Fragment block ``index`` decoded: tails of several files."""
        return self.cache.fetch((self._fragments, index), self._load_fragment)

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
        return Attributes(self.device, self.metadata, self.super.xattr_table)

    def xattrs(self, index: int) -> Mapping[str, bytes]:
        """Set ``index`` of extended attributes."""
        return {} if index == NOTHING else dict(self._attributes.read(index))

    def info(self) -> Mapping[str, str]:
        facts = {
            "version": "4.0",
            "compressor": self.codec.name,
            "blocks": f"{self.super.block_size} bytes",
            "inodes": str(self.super.inodes),
            "fragments": str(self.super.fragments),
            "made": f"{datetime.fromtimestamp(self.super.made, UTC):%Y-%m-%d %H:%M:%S} UTC",
        }
        try:
            facts["owners"] = str(len(self.owners))
        except ImageError as exc:
            facts["owners"] = str(exc)
        return facts
