"""Where the blocks of a fork are: extents in the inode, or a tree of them.

XFS Algorithms and Data Structures, "Data Extents".
"""

from __future__ import annotations

from array import array
from functools import partial
from itertools import pairwise
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.errors import FormatError
from imgmount.families.unix.block_pointers import BlockRun
from imgmount.families.unix.extent_tree import ExtentNode, ExtentTree
from imgmount.filesystems.xfs import checksums
from imgmount.filesystems.xfs.inode import BTREE, EXTENTS, Fork
from imgmount.filesystems.xfs.superblock import NAME, Superblock

_EXTENT: Final = Struct(">QQ")  # unwritten: 1 bit, block of the file: 54, block: 52, count: 21
_ROOT: Final = Struct(">HH")  # level, records
_HEADER: Final = Struct(">4sHH16x")  # magic, level, records, siblings
_HEADER_SIZES: Final = {4: 24, 5: 72}
_MAGICS: Final = {4: b"BMAP", 5: b"BMA3"}
_COUNT_MASK: Final = (1 << 21) - 1
_START_MASK: Final = (1 << 54) - 1
MAX_DEPTH: Final = 9


def fork_map(device: BlockDevice, spb: Superblock, fork: Fork) -> ExtentTree:
    """The extents of a fork that is not local. Raises ``FormatError``."""

    def checked(count: int, start: int) -> BlockRun:
        if start > spb.blocks - count:
            raise FormatError(NAME, f"{count} blocks of a file at {start} of {spb.blocks}")
        return count, start

    return ExtentTree(_root(fork, spb), partial(_read, device, spb), checked)


def _root(fork: Fork, spb: Superblock) -> ExtentNode:
    if fork.format == EXTENTS:
        return _leaf(fork.raw, fork.extents, spb)
    if fork.format != BTREE:
        raise FormatError(NAME, f"a fork of format {fork.format}")
    depth, count = _ROOT.unpack_from(fork.raw)
    if not 0 < depth <= MAX_DEPTH:
        raise FormatError(NAME, f"a tree of extents of {depth} levels")
    return _node(fork.raw[_ROOT.size :], count, depth, spb)


def _read(device: BlockDevice, spb: Superblock, place: int, depth: int) -> ExtentNode:
    offset = place * spb.block_size
    data = device.read_exactly(offset, spb.block_size, NAME)
    if spb.is_checked:
        checksums.check(data, checksums.EXTENTS, "a block of extents", offset)
    magic, level, count = _HEADER.unpack_from(data)
    if magic != _MAGICS[spb.version] or level != depth:
        raise FormatError(
            NAME, f"a node of a tree of extents with magic {magic!r}, level {level}", offset=offset
        )
    body = data[_HEADER_SIZES[spb.version] :]
    return _node(body, count, depth, spb) if depth else _leaf(body, count, spb)


def _leaf(body: bytes, count: int, spb: Superblock) -> ExtentNode:
    if count * _EXTENT.size > len(body):
        raise FormatError(NAME, f"{count} extents in {len(body)} bytes")
    starts, lengths, places = array("Q"), array("Q"), array("Q")
    last = 0
    for high, low in _EXTENT.iter_unpack(body[: count * _EXTENT.size]):
        start, length = high >> 9 & _START_MASK, low & _COUNT_MASK
        if start < last or not length:
            raise FormatError(NAME, f"an extent of {length} blocks at {start} of a file, {last} before it")
        last = start + length
        starts.append(start)
        lengths.append(length)
        places.append(0 if high >> 63 else spb.block((high & 0x1FF) << 43 | low >> 21))
    return ExtentNode(0, starts, lengths, places)


def _node(body: bytes, count: int, depth: int, spb: Superblock) -> ExtentNode:
    """Keys and, after the room for as many as fit, places."""
    room = len(body) // 16
    if not 0 < count <= room:
        raise FormatError(NAME, f"{count} records in a node of a tree of extents for {room}")
    starts, numbers = table(body[: 8 * count], 8, "big"), table(body[8 * room : 8 * (room + count)], 8, "big")
    if any(after <= before for before, after in pairwise(starts)):
        raise FormatError(NAME, "a node of a tree of extents is out of order")
    return ExtentNode(depth, starts, array("Q"), array("Q", map(spb.block, numbers)))
