"""Metadata: inodes, directories and tables, in blocks of up to 8 KiB that are coded one by one.

A position is (where its block begins in the image, how far into the decoded block). What is longer goes on in
the next block.
"""

from __future__ import annotations

from array import array
from typing import Final, Literal

from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.errors import FormatError
from imgmount.filesystems.squashfs.codec import Codec
from imgmount.filesystems.squashfs.superblock import NAME, Order, Superblock

BLOCK: Final = 8192
_STORED: Final = 0x8000  # in the header: not compressed
_HEADER: Final = 2
_FOLLOWED: Final = 64  # blocks, to tell the byte order of their sizes


def header_order(device: BlockDevice, super_block: Superblock) -> Order:
    """The byte order of the sizes before blocks: the superblock's, or little in some big-endian volumes.

    The blocks of inodes lead from one to the next, to the first of directories.
    """
    if super_block.order == "little" or super_block.version < (4, 0):
        return super_block.order
    orders: tuple[Order, ...] = ("big", "little")
    for order in orders:
        at = super_block.inode_table
        for _ in range(_FOLLOWED):
            header = int.from_bytes(device.pread(at, _HEADER), order)
            if at >= super_block.directory_table or not 0 < header & ~_STORED <= BLOCK:
                break
            at += _HEADER + (header & ~_STORED)
        else:
            return order
        if at == super_block.directory_table:
            return order
    return super_block.order


class Metadata:
    """Reads metadata through the cache of the mount."""

    def __init__(self, device: BlockDevice, super_block: Superblock, codec: Codec, cache: ReadCache) -> None:
        self._device = device
        self._order = super_block.order
        self._before = _HEADER + super_block.is_checked  # bytes
        self._header_order = header_order(device, super_block)
        self._pointer: Literal[4, 8] = 4 if super_block.version < (3, 0) else 8
        self._codec = codec
        self._cache = cache
        self._serial = cache.enroll()

    def _header(self, start: int) -> int:
        header = int.from_bytes(self._device.read_exactly(start, _HEADER, NAME), self._header_order)
        if not 0 < header & ~_STORED <= BLOCK:
            raise FormatError(NAME, f"a metadata block of {header & ~_STORED} bytes", offset=start)
        return header

    def _load(self, start: int) -> bytes:
        header = self._header(start)
        data = self._device.read_exactly(start + self._before, header & ~_STORED, NAME)
        if header & _STORED:
            return data
        try:
            return bytes(self._codec.upto(data, BLOCK))
        except FormatError as exc:
            raise FormatError(NAME, f"a metadata block: {exc}", offset=start) from exc

    def block(self, start: int) -> bytes:
        """The decoded block that begins at ``start``."""
        return self._cache.fetch((self._serial, start), self._load)

    def read(self, start: int, skip: int, size: int) -> bytes:
        """``size`` bytes from ``skip`` on in the block at ``start`` and those after it.

        Raises ``FormatError``.
        """
        pieces: list[bytes] = []
        while size:
            block = self.block(start)
            piece = block[skip : skip + size]
            if len(piece) == size and not pieces:
                return piece
            pieces.append(piece)
            size -= len(piece)
            skip = max(0, skip - len(block))
            if size:
                start += self._before + (self._header(start) & ~_STORED)
        return b"".join(pieces)

    def pointers(self, start: int, count: int) -> array[int]:
        """``count`` places of metadata blocks, in a row and not coded."""
        return table(
            self._device.read_exactly(start, count * self._pointer, NAME), self._pointer, self._order
        )

    def record(self, pointer: int, index: int, size: int) -> bytes:
        """Record ``index``, of ``size`` bytes, of a table whose pointers to blocks begin at ``pointer``."""
        block, inside = divmod(index * size, BLOCK)
        return self.read(self.pointer(pointer, block), inside, size)

    def pointer(self, start: int, index: int) -> int:
        """Pointer ``index`` of those that begin at ``start``."""
        return self.pointers(start + index * self._pointer, 1)[0]
