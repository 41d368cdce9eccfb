"""Deleted files: names that are marked so (ECMA-167 4/14.4.3).

Their file entries and blocks must not have been used again.

Many writers clear the address of what they delete (UDF 2.3.4.2): then the name is all that is left, and
asking for more says so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Final

from imgmount.core.device import BlockDevice
from imgmount.core.node import Lost, Node
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.udf.icb import RECORDED, Entry
from imgmount.filesystems.udf.nodes import (
    DELETED,
    DIRECTORY_BIT,
    PARENT,
    Fid,
    UdfFile,
    directory_content,
    make_node,
)
from imgmount.filesystems.udf.partitions import PHYSICAL, SPARABLE
from imgmount.filesystems.udf.structs import FMT, SPACE_BITMAP, Place, cs0, read_descriptor

if TYPE_CHECKING:
    from imgmount.filesystems.udf.volume import UdfFilesystem

MAX_DIRECTORIES: Final = 1 << 20
MAX_BITMAP: Final = 64 << 20  # bytes: a partition of 1 TiB in blocks of 2 KiB
_BITMAPS: Final = (8, 32)  # of unallocated, and of freed space, in a partition's header (4/14.3)
_SHORT_AD: Final = struct.Struct("<II")
_COUNTS: Final = struct.Struct("<II")  # bits, bytes of a bitmap, after its tag (4/14.12)
_COUNTS_AT: Final = 16


def deleted(filesystem: UdfFilesystem) -> Iterator[tuple[str, Node]]:
    """(path, node) of what was deleted from directories that are still there."""
    finder = _Finder(filesystem)
    root = filesystem.root_place
    pending: list[tuple[str, Place]] = [("", root)]
    seen = {root.id}
    while pending:
        path, place = pending.pop()
        try:
            for fid in directory_content(filesystem.space, filesystem.space.entry(place), PARENT):
                name = path + cs0(fid.name).replace("/", "\N{DIVISION SLASH}")
                if fid.characteristics & DELETED:
                    yield name, finder.node(fid)
                elif (
                    fid.characteristics & DIRECTORY_BIT
                    and fid.icb.id not in seen
                    and len(seen) < MAX_DIRECTORIES
                ):
                    seen.add(fid.icb.id)
                    pending.append((f"{name}/", fid.icb))
        except ImageError:
            continue  # what is damaged is not deleted


class _Deleted(UdfFile):
    """A deleted file: it can be opened as long as none of its blocks is in use."""

    __slots__ = ("_finder",)

    def __init__(self, finder: _Finder, place: Place, entry: Entry) -> None:
        super().__init__(finder.space, place, entry)
        self._finder = finder

    def open(self) -> BlockDevice:
        if not self._entry.embedded:
            for kind, size, partition, block in self._space.allocation(self._entry):
                if kind == RECORDED:
                    self._finder.check(partition, block, -(-size // self._space.block_size))
        return super().open()


class _Finder:
    """Tells what is left of a name."""

    def __init__(self, filesystem: UdfFilesystem) -> None:
        self.filesystem = filesystem
        self.space = filesystem.space
        self._free = cache(self._read_free)

    def node(self, fid: Fid) -> Node:
        """What the deleted name stands for, or why that is lost."""
        place = fid.icb
        try:
            if not place.length:
                raise FormatError(FMT, "the file is deleted, and the entry no longer says where it was")
            self.check(place.partition, place.block, 1)
            entry = self.space.entry(place)
            if fid.unique and entry.unique & 0xFFFF_FFFF != fid.unique:
                raise FormatError(
                    FMT, "file entry of a deleted file has been used again", offset=entry.offset
                )
            if not entry.size and not entry.owner[-1]:
                raise FormatError(
                    FMT, "the file is deleted, and its entry no longer lists its blocks", offset=entry.offset
                )
        except ImageError as exc:
            return Lost(place.id, exc)
        node = make_node(self.space, place, entry)
        return _Deleted(self, place, entry) if isinstance(node, UdfFile) else node

    def check(self, partition: int, block: int, count: int) -> None:
        """Raise ``FormatError`` if one of ``count`` blocks is in use, or if that is unknown.

        Write-once media use none twice.
        """
        maps = self.filesystem.descriptors.maps
        if partition >= len(maps) or maps[partition].kind not in (PHYSICAL, SPARABLE):
            return
        free = self._free(partition)
        for number in range(block, block + count):
            if number >= 8 * len(free) or not free[number >> 3] >> (number & 7) & 1:
                raise FormatError(FMT, f"block {number} of a deleted file has been used again")

    def _read_free(self, partition: int) -> bytes:
        """The bitmap of the free blocks of ``partition``; empty where there is none."""
        descriptors, device, size = (
            self.filesystem.descriptors,
            self.space.device(partition),
            self.space.block_size,
        )
        header = descriptors.headers.get(descriptors.maps[partition].number, bytes(128))
        for at in _BITMAPS:
            length, block = _SHORT_AD.unpack_from(header, at)
            if length:
                raw = read_descriptor(device, size, block, SPACE_BITMAP)
                _, count = _COUNTS.unpack_from(raw, _COUNTS_AT)
                if count > MAX_BITMAP:
                    raise FormatError(
                        FMT,
                        f"the bitmap of free blocks has {count} bytes, more than {MAX_BITMAP}",
                        offset=block * size,
                    )
                return device.read_exactly(block * size + _COUNTS_AT + _COUNTS.size, count, FMT)
        return b""
