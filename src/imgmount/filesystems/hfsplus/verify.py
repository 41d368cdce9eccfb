"""What ``imgmount verify`` checks of an HFS+ volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imgmount.errors import FormatError, ImageError
from imgmount.families.apple import treecheck
from imgmount.families.apple.volumecheck import Tally, used_blocks
from imgmount.filesystems.hfsplus.catalog import FILE, FOLDER, Item, parse_item, record_kind
from imgmount.filesystems.hfsplus.header import PLACE, UNMOUNTED, read_copy
from imgmount.filesystems.hfsplus.links import FILE_LINK
from imgmount.filesystems.hfsplus.nodes import HfsPlusFile

if TYPE_CHECKING:
    from imgmount.filesystems.hfsplus.volume import HfsPlusVolume


def problems(volume: HfsPlusVolume) -> Iterator[str]:
    """One line each."""
    yield from _headers(volume)
    if volume.extents_fork.size:
        try:
            yield from treecheck.problems(volume.extents_tree())
        except ImageError as exc:
            yield str(exc)
    yield from treecheck.problems(volume.catalog)
    if volume.attributes_tree is not None:
        yield from treecheck.problems(volume.attributes_tree)
    yield from _catalog(volume)
    yield from _bitmap(volume)


def _headers(volume: HfsPlusVolume) -> Iterator[str]:
    header = volume.header
    if header.place != PLACE:
        yield f"the volume header is damaged; its copy is at {header.place:#x}"
    else:
        if not header.attributes & UNMOUNTED:
            yield "the volume was not unmounted properly"
        try:
            copy = read_copy(volume.device)
        except FormatError:
            yield "the copy of the volume header is damaged"
        else:
            if (copy.signature, copy.block_size, copy.blocks) != header_facts(volume):
                yield "the copy of the volume header differs"
    if volume.replay.fault is not None:
        yield str(volume.replay.fault)
    elif volume.replay.state not in ("", "empty"):
        yield f"the journal was not empty: {volume.replay.state}"


def header_facts(volume: HfsPlusVolume) -> tuple[bytes, int, int]:
    """What the header and its copy must agree on: signature, bytes in a block, blocks."""
    return volume.header.signature, volume.header.block_size, volume.header.blocks


def _catalog(volume: HfsPlusVolume) -> Iterator[str]:
    tally = Tally()
    links: Counter[int] = Counter()
    tree = volume.catalog
    try:
        for record in tree.range(lambda *_: False, lambda *_: False):
            if record_kind(record) not in (FILE, FOLDER):
                continue
            try:
                item = parse_item(record)
            except FormatError as exc:
                yield str(exc)
                continue
            parent = tree.number(record.raw, record.start)
            tally.add(parent, item.id if item.kind == FOLDER else None, item.valence)
            if item.kind == FILE:
                yield from _file(volume, item)
                if item.mark == FILE_LINK:
                    links[item.special] += 1
    except ImageError as exc:
        yield str(exc)
    yield from tally.problems(volume.header.files, volume.header.folders)
    yield from _links(volume, links)


def _file(volume: HfsPlusVolume, item: Item) -> Iterator[str]:
    size = volume.blocks.size
    for name, fork in (("data", item.data), ("resource", item.resource)):
        if fork.size > fork.blocks * size:
            yield f"file {item.id}: {fork.size} bytes in {fork.blocks} blocks of its {name} fork"
    if item.is_compressed:
        try:
            HfsPlusFile(volume, item).open()
        except ImageError as exc:
            yield f"file {item.id}: {exc}"


def _links(volume: HfsPlusVolume, links: Counter[int]) -> Iterator[str]:
    for number, count in sorted(links.items()):
        try:
            told = volume.links.file(number).links
        except ImageError as exc:
            yield str(exc)
            continue
        if told != count:
            yield f"{count} hard links to iNode{number}, which counts {told}"


def _bitmap(volume: HfsPlusVolume) -> Iterator[str]:
    header = volume.header
    try:
        free = header.blocks - used_blocks(volume.allocation_file(), header.blocks)
    except ImageError as exc:
        yield str(exc)
        return
    if free != header.free_blocks:
        yield f"{free} free blocks in the allocation file, the header counts {header.free_blocks}"
