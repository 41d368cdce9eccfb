"""What an ISO 9660 volume stores twice, compared; and what it stores out of bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice, zip_longest
from typing import Final

from imgmount.errors import ImageError
from imgmount.filesystems.iso9660.descriptors import NAME, Descriptor
from imgmount.filesystems.iso9660.nodes import IsoDirectory
from imgmount.filesystems.iso9660.records import DIRECTORY, Fields, PathEntry, identifier, records, section
from imgmount.filesystems.iso9660.tree import Tree
from imgmount.filesystems.iso9660.volume import PLAIN, VIEWS, Iso9660

MAX_PROBLEMS: Final = 100
_BOTH_PAIRS: Final = (("extent", 2), ("size", 10))  # offsets in a directory record


def problems(volume: Iso9660) -> Iterator[str]:
    """One line a problem, ``MAX_PROBLEMS`` at most."""
    return islice(_all_problems(volume), MAX_PROBLEMS)


def _all_problems(volume: Iso9660) -> Iterator[str]:
    if volume.primary_is_lost:
        yield f"{NAME}: the primary volume descriptor is lost"
    for view in VIEWS[1:]:  # Rock Ridge is in the records of the plain tree
        if view in volume.views:
            descriptor = volume.primary if view == PLAIN else volume.joliet
            assert descriptor is not None
            extents: set[int] = set()
            if descriptor.rebuilt:
                yield from _record_problems(volume.tree_root(view), view, extents)
                continue
            yield from _descriptor_problems(volume, view, descriptor)
            yield from _record_problems(volume.tree_root(view), view, extents)
            yield from _path_table_problems(volume, view, descriptor, extents)


def _descriptor_problems(volume: Iso9660, view: str, descriptor: Descriptor) -> Iterator[str]:
    for field in descriptor.disagreements:
        name = field.replace("_", " ")
        yield f"{NAME}: {view}: the two halves of {name} disagree, at {descriptor.offset:#x}"
    base = volume.tree_root(view).tree.offset(0)
    end = base + descriptor.space_size * descriptor.block_size
    if end > volume.device.size:
        yield f"{NAME}: {view}: the volume ends at {end:#x}, the image at {volume.device.size:#x}"


def _record_problems(root: IsoDirectory, view: str, extents: set[int]) -> Iterator[str]:
    """Walk the records as they are stored, each directory once; its extents are added to ``extents``."""
    tree, queue = root.tree, deque([("/", root.start, root.size)])
    extents.add(root.start)
    while queue:
        path, start, size = queue.popleft()
        try:
            data = tree.read_directory(start, size)
        except ImageError as exc:
            yield f"{exc}: {view}:{path}"
            continue
        if len(data) < size:
            yield f"{NAME}: {view}:{path}: directory of {size} bytes, the image has {len(data)}"
        for at, fields, parts in records(data, tree.layout):
            name = path + tree.names.decode(identifier(data, at, fields))
            label = f"{NAME}: {view}:{name!r} (record at {tree.offset(start) + at:#x})"
            yield from (f"{label}: {problem}" for problem in _one_record(tree, data, at, parts or (fields,)))
            child = section(fields)
            if fields[5] & DIRECTORY and child.size and child.start not in extents:
                extents.add(child.start)
                queue.append((f"{name}/", child.start, child.size))


def _one_record(tree: Tree, data: bytes, at: int, parts: tuple[Fields, ...]) -> Iterator[str]:
    for what, offset in _BOTH_PAIRS:
        if data[at + offset : at + offset + 4] != data[at + offset + 4 : at + offset + 8][::-1]:
            yield f"the two halves of its {what} disagree"
    for part in map(section, parts):
        if part.size and not 0 <= tree.offset(part.start) <= tree.device.size - part.size:
            yield f"{part.size} bytes at block {part.start} lie outside the image"


def _path_table_problems(
    volume: Iso9660, view: str, descriptor: Descriptor, extents: set[int]
) -> Iterator[str]:
    little = list(volume.path_table(descriptor, "little"))
    big = list(volume.path_table(descriptor, "big"))
    for number, pair in enumerate(zip_longest(little, big), 1):
        if pair[0] != pair[1]:
            little_says, big_says = map(_shown, pair)
            yield f"{NAME}: {view}: entry {number} of path tables: L says {little_says}, M says {big_says}"
    listed = {entry.extent + entry.xar for entry in little}
    for extent in sorted(extents - listed):
        yield f"{NAME}: {view}: the directory at block {extent} is in no path table"
    for entry in little:
        if entry.extent + entry.xar not in extents:
            yield f"{NAME}: {view}: the path table has {_shown(entry)}, the tree has no such directory"


def _shown(entry: PathEntry | None) -> str:
    return "nothing" if entry is None else f"{entry.name!r} at block {entry.extent} in {entry.parent}"
