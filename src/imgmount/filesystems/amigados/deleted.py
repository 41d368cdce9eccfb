"""Deleted files: headers that no directory leads to, but that are whole.

AmigaDOS deletes by taking a header out of its chain and marking its blocks free; nothing is overwritten until
they are needed. What a damaged chain has lost is found in the same way.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.core.node import Node
from imgmount.errors import ImageError
from imgmount.filesystems.amigados import blocks
from imgmount.filesystems.amigados.blocks import T_HEADER, Header, T, checksum, long_at
from imgmount.filesystems.amigados.check import MAX_CHECKED, used_blocks
from imgmount.filesystems.amigados.content import BlockTable
from imgmount.filesystems.amigados.nodes import AmigaFile, AmigaSoftLink

if TYPE_CHECKING:
    from imgmount.filesystems.amigados.volume import AmigaVolume

READ: Final = 1 << 20  # bytes looked through at once


def deleted(volume: AmigaVolume) -> Iterator[tuple[str, Node]]:
    """(path, node) of files and soft links, in disk order.

    The path goes back as far as their directories are known.
    """
    if volume.root_place.blocks > MAX_CHECKED:
        return
    used = used_blocks(volume)
    keys = array("I", _headers(volume, used))
    lost = _lost(volume, keys, used)
    for key in keys:
        header = volume.header(key)
        file = header.kind == blocks.ST_FILE
        yield (
            _path(volume, header),
            AmigaFile(volume, header, lost) if file else AmigaSoftLink(volume, header),
        )


def _headers(volume: AmigaVolume, used: bytearray) -> Iterator[int]:
    """The free blocks that are headers of files and soft links."""
    place, lead = volume.root_place, T_HEADER.to_bytes(4, "big")
    size, step = place.block_size, READ // place.block_size
    for first in range(place.reserved, place.blocks, step):
        raw = volume.device.pread(first * size, min(step, place.blocks - first) * size)
        for at in range(0, len(raw) - size + 1, size):
            key = first + at // size
            if raw[at : at + 4] == lead and long_at(raw, at + 4) == key and not used[key]:
                block = raw[at : at + size]
                if blocks.secondary(block) in (blocks.ST_FILE, blocks.ST_SOFTLINK) and checksum(block) == 0:
                    yield key


def _lost(volume: AmigaVolume, keys: array[int], used: bytearray) -> bytearray:
    """A 1 for each block of a deleted file that may have been written again: another file has it, or had.

    Of two deleted files that name the same block, one is wrong, and FFS does not say which. The bitmap is
    asked as well, unless it says that the header itself is in use: then a damaged chain has lost the file,
    which was not deleted.
    """
    lost, free = bytearray(len(used)), volume.bitmap.free_map()
    taken = bytearray(used)
    for key in keys:
        taken[key] = 1
    for key in keys:
        header = volume.header(key)
        if header.kind != blocks.ST_FILE:
            continue
        for start, count in BlockTable(volume, key, header.long(T.size)).runs():
            for block in range(start, min(start + count, len(used))):
                lost[block] |= taken[block] or (free[key] and not free[block])
                taken[block] = 1
    return lost


def _path(volume: AmigaVolume, header: Header) -> str:
    try:
        parents = volume.path(header.long(T.parent))
    except ImageError:
        parents = []
    return "/".join(
        volume.text(part).replace("/", "\N{DIVISION SLASH}") for part in [*parents, volume.name(header)]
    )
