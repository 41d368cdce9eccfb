"""Buffers as the log has them: runs of chunks of 128 bytes of a piece of metadata.

Source: XFS Algorithms and Data Structures, "Buffer Log Item"; the kernel's ``xfs_buf_item_recover.c``.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, unpack_from
from typing import Final, NamedTuple

from imgmount.core.header import within
from imgmount.errors import FormatError
from imgmount.filesystems.xfs import checksums
from imgmount.filesystems.xfs.superblock import NAME, SECTOR
from imgmount.filesystems.xfs.transactions import Item

OF_INODES, CANCELS = 1, 2  # flags: only links between inodes without names; what came before is void
MAX_SIZE: Final = 64 << 10
_FIELDS: Final = "4xHHqI"  # flags, sectors, first sector, words of the map of chunks, which follows
_CHUNK: Final = 128


class BufferItem(NamedTuple):
    """The first region of a buffer's item. ``chunks`` has a bit for each one that is logged."""

    flags: int
    sector: int
    sectors: int
    chunks: int

    @classmethod
    def parse(cls, item: Item) -> BufferItem:
        """Raises ``FormatError``."""
        raw, layout = item.regions[0], Struct(item.order + _FIELDS)
        if len(raw) < layout.size:
            raise FormatError(NAME, f"a buffer's item of {len(raw)} bytes in the log")
        flags, sectors, sector, words = layout.unpack_from(raw)
        within(NAME, "first sector of a buffer in the log", sector, 0, 1 << 54)
        within(NAME, "words of a buffer's map in the log", words, 0, (len(raw) - layout.size) // 4)
        chunks = 0
        for number, word in enumerate(unpack_from(f"{item.order}{words}I", raw, layout.size)):
            chunks |= word << 32 * number
        return cls(flags, sector, sectors, chunks)

    @property
    def place(self) -> tuple[int, int]:
        """First sector and sectors, by which a buffer is known."""
        return self.sector, self.sectors

    @property
    def size(self) -> int:
        """Bytes. Raises ``FormatError``."""
        return within(NAME, "size of a buffer in the log", self.sectors * SECTOR, SECTOR, MAX_SIZE)

    def pieces(self, item: Item) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of all that is logged. Raises ``FormatError``.

        A run of chunks may be in several regions, but no region holds more than a run.
        """
        regions = iter(item.regions[1:])
        for first, count in _runs(self.chunks):
            at, end = first * _CHUNK, (first + count) * _CHUNK
            while at < end:
                data = next(regions, b"")[: end - at]
                data = data[: len(data) // _CHUNK * _CHUNK]
                if not data or at + len(data) > self.size:
                    raise FormatError(NAME, f"a buffer of {self.size} bytes in the log lacks those at {at}")
                yield at, data
                at += len(data)


def _runs(chunks: int) -> Iterator[tuple[int, int]]:
    """(first, count) of each run of bits."""
    at = 0
    while chunks:
        skipped = (chunks & -chunks).bit_length() - 1
        chunks >>= skipped
        count = (~chunks & (chunks + 1)).bit_length() - 1
        yield at + skipped, count
        chunks >>= count
        at += skipped + count


class Header(NamedTuple):
    """Where a block of version 5 says what it is: its newest place in the log, its volume, its checksum."""

    log: int
    uuid: int
    checksum: int

    def is_written(self, data: bytes, place: bytes, uuid: bytes) -> bool:
        """Whether ``data``, of the volume ``uuid``, is as new as what stands at ``place`` in the log."""
        told = data[self.log : self.log + 8]
        return data[self.uuid : self.uuid + 16] == uuid and told not in _NEVER and told >= place


_NEVER: Final = (bytes(8), b"\xff" * 8)
_SHORT_TREE: Final = Header(24, 32, 52)
_DIRECTORY: Final = Header(16, 24, checksums.DIRECTORY)
_NAMES: Final = Header(24, 32, checksums.ATTRIBUTES)
_BY_MAGIC: Final = {
    **dict.fromkeys((b"AB3B", b"AB3C", b"IAB3", b"FIB3", b"RMB3", b"R3FC"), _SHORT_TREE),
    b"BMA3": Header(32, 40, checksums.EXTENTS),
    **dict.fromkeys((b"XDB3", b"XDD3", b"XDF3"), _DIRECTORY),
    b"XSLM": Header(48, 16, checksums.ATTRIBUTES),
    b"XAGF": Header(208, 64, 216),
    b"XAFL": Header(24, 8, 32),
    b"XAGI": Header(320, 296, 312),
}
# blocks of names and attributes have their magic behind two links
_BY_LATE_MAGIC: Final = dict.fromkeys((b"\x3d\xf1", b"\x3d\xff", b"\x3e\xbe", b"\x3b\xee"), _NAMES)
_SUPERBLOCK: Final = Header(240, 32, checksums.SUPERBLOCK)
_SUPERBLOCK_OF_OTHER_UUID: Final = Header(240, 248, checksums.SUPERBLOCK)


def known(data: bytes, *, own_uuid: bool) -> Header | None:
    """Where the block ``data`` says what it is; None where it does not.

    ``own_uuid`` is whether blocks bear another UUID than the volume.
    """
    if data.startswith(b"XFSB"):
        return _SUPERBLOCK_OF_OTHER_UUID if own_uuid else _SUPERBLOCK
    return _BY_MAGIC.get(data[:4]) or _BY_LATE_MAGIC.get(data[8:10])
