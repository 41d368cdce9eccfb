"""Directory entries of version 4: headers, each before the entries whose inodes are in one block.

Kernel documentation, 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from imgmount.errors import FormatError
from imgmount.filesystems.squashfs.inode import KINDS
from imgmount.filesystems.squashfs.superblock import NAME, Order

# a header: entries less one, block of their inodes, number of the first; an entry: offset of the inode,
# difference of its number, type, length of the name less one
_LAYOUTS: Final = {"little": (Struct("<III"), Struct("<HhHH")), "big": (Struct(">III"), Struct(">HhHH"))}
MAX_ENTRIES: Final = 256  # behind one header

Entry = tuple[int, int, int, bytes]  # (position, reference of the inode, its type, name)


def entries(data: bytes, order: Order = "little") -> Iterator[Entry]:
    """The entries in ``data``. Raises ``FormatError`` where they end too early or make no sense."""
    header, entry = _LAYOUTS[order]
    at, size = 0, len(data)
    while at + header.size <= size:
        count, block, _ = header.unpack_from(data, at)
        at += header.size
        if count >= MAX_ENTRIES:
            raise FormatError(NAME, f"a directory header for {count + 1} entries")
        for _ in range(count + 1):
            if at + entry.size > size:
                raise ends_early(at, size)
            offset, _, kind, length = entry.unpack_from(data, at)
            name = data[at + entry.size : at + entry.size + length + 1]
            if len(name) <= length:
                raise ends_early(at, size)
            check_kind(kind)
            yield at, block << 16 | offset, kind, name
            at += entry.size + length + 1


def check_kind(kind: int) -> None:
    """Raise ``FormatError`` for a type that there is not."""
    if not 0 < kind < len(KINDS):
        raise FormatError(NAME, f"a directory entry of type {kind}")


def ends_early(at: int, size: int) -> FormatError:
    """What is wrong with a directory of ``size`` bytes that ends in an entry."""
    return FormatError(NAME, f"a directory ends {at} bytes into {size}")
