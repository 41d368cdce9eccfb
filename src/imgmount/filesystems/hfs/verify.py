"""What ``imgmount verify`` checks of an HFS volume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.core.slices import Slice
from imgmount.errors import FormatError, ImageError
from imgmount.families.apple import treecheck
from imgmount.families.apple.volumecheck import Tally, used_blocks
from imgmount.filesystems.hfs.catalog import parse_item
from imgmount.filesystems.hfs.header import COPY, PLACE, SECTOR, UNMOUNTED, parse_block

if TYPE_CHECKING:
    from imgmount.filesystems.hfs.volume import HfsVolume

DISC_COPY: Final = -2048  # where genisoimage has it, in the last sector of a disc


def problems(volume: HfsVolume) -> Iterator[str]:
    """One line each."""
    yield from _headers(volume)
    yield from treecheck.problems(volume.extents)
    yield from treecheck.problems(volume.catalog)
    yield from _catalog(volume)
    block = volume.header
    try:
        bitmap = Slice(volume.device, block.bitmap * SECTOR, (block.blocks + 7) // 8)
        free = block.blocks - used_blocks(bitmap, block.blocks)
    except ImageError as exc:
        yield str(exc)
        return
    if free != block.free_blocks:
        yield f"{free} free blocks in the bitmap, the master directory block counts {block.free_blocks}"


def _headers(volume: HfsVolume) -> Iterator[str]:
    block = volume.header
    if block.place != PLACE:
        yield f"the master directory block is damaged; its copy is at {block.place:#x}"
        return
    if not block.attributes & UNMOUNTED:
        yield "the volume was not unmounted properly"
    for place in (COPY, DISC_COPY):
        try:
            copy = parse_block(volume.device, volume.device.size + place)
        except FormatError:
            continue
        facts = [(one.blocks, one.block_size, one.first_block) for one in (block, copy)]
        if facts[0] != facts[1]:
            yield "the copy of the master directory block differs"
        return
    yield "the copy of the master directory block is damaged"


def _catalog(volume: HfsVolume) -> Iterator[str]:
    tally = Tally()
    tree = volume.catalog
    try:
        for record in tree.range(lambda *_: False, lambda *_: False):
            try:
                item = parse_item(record)
            except FormatError as exc:
                yield str(exc)
                continue
            if item is None:
                continue
            parent = tree.number(record.raw, record.start)
            tally.add(parent, item.id if item.is_folder else None, item.valence)
            for name, (size, stored, _) in (("data", item.data), ("resource", item.resource)):
                if size > stored:
                    yield f"file {item.id}: {size} bytes in a {name} fork with room for {stored}"
    except ImageError as exc:
        yield str(exc)
    yield from tally.problems(volume.header.files, volume.header.folders)
