"""Deleted files: headers that no directory leads to, but that are whole.

AmigaDOS deletes by taking a header out of its chain and marking its blocks free; nothing is overwritten until they are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.core.node import Node
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.amigados import blocks
from imgmount.filesystems.amigados.bitmap import MAX_BLOCKS
from imgmount.filesystems.amigados.blocks import T_HEADER, TAIL, T, checksum, long_at
from imgmount.filesystems.amigados.nodes import AmigaFile, AmigaSoftLink

if TYPE_CHECKING:
    from imgmount.filesystems.amigados.volume import AmigaVolume

READ: Final = 1 << 20  # bytes looked through at once


def deleted(volume: AmigaVolume) -> Iterator[tuple[str, Node]]:
    """(path, node) of files and soft links, in disk order. The path is as long as their directories can be told."""
    place = volume.root_place
    if place.blocks > MAX_BLOCKS:
        return
    lead = T_HEADER.to_bytes(4, "big")
    step = max(1, READ // place.block_size)
    for first in range(place.reserved, place.blocks, step):
        raw = volume.device.pread(first * place.block_size, min(step, place.blocks - first) * place.block_size)
        for at in range(0, len(raw) - place.block_size + 1, place.block_size):
            key = first + at // place.block_size
            if raw[at : at + 4] != lead or long_at(raw, at + 4) != key or not volume.bitmap.is_free(key):
                continue
            block = raw[at : at + place.block_size]
            kind = blocks.secondary(block[-TAIL:])
            if kind in (blocks.ST_FILE, blocks.ST_SOFTLINK) and checksum(block) == 0:
                yield _found(volume, key, block[-TAIL:], kind)


def _found(volume: AmigaVolume, key: int, tail: bytes, kind: int) -> tuple[str, Node]:
    def unused(block: int, count: int) -> None:
        for number in range(block, block + count):
            if not volume.bitmap.is_free(number):
                raise FormatError("amigados", f"block {number} of a deleted file has been used again", offset=number * size)

    size = volume.root_place.block_size
    name = blocks.names(tail, long=volume.long_names)[0]
    try:
        parents = volume.path(long_at(tail, T.parent))
    except ImageError:
        parents = []
    path = "/".join(volume.text(part).replace("/", "\N{DIVISION SLASH}") for part in [*parents, name])
    node = AmigaFile(volume, key, tail, check=unused) if kind == blocks.ST_FILE else AmigaSoftLink(volume, key, tail)
    return path, node
