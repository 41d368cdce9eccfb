"""What a UDF volume says about itself, checked: descriptors, their copies, every file entry, the counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from imgmount.core.node import Directory, File, Node, Symlink
from imgmount.errors import ImageError
from imgmount.filesystems.udf.anchors import FIRST_ANCHOR, is_recognised
from imgmount.filesystems.udf.descriptors import read_sequence
from imgmount.filesystems.udf.volume import CLOSED, UdfFilesystem

MAX_NODES: Final = 1 << 20
MAX_COMPARED: Final = 1 << 30
STEP: Final = 1 << 20


def check(filesystem: UdfFilesystem) -> Iterator[str]:
    """One line for each problem, of a million entries at most."""
    if filesystem.passed_over:
        yield f"not taken: {filesystem.passed_over}"
    yield from _descriptors(filesystem)
    yield from _mirrors(filesystem)
    files = directories = seen = 0
    counted: set[int] = set()
    pending: list[tuple[str, Directory]] = [("", filesystem.root)]
    while pending and seen < MAX_NODES:
        path, directory = pending.pop()
        directories += 1
        listing = directory.listing()
        if listing.damage:
            yield f"/{path}: {listing.damage}"
        for name, node in listing.nodes.items():
            seen += 1
            if isinstance(node, Directory):
                pending.append((f"{path}{name}/", node))
                continue
            if node.id not in counted:
                files += 1
                counted.add(node.id)
            if problem := _problem(node):
                yield f"/{path}{name}: {problem}"
    if pending:
        yield f"more than {MAX_NODES} entries: the rest is not checked"
    else:
        yield from _counts(filesystem, files, directories)


def _problem(node: Node) -> ImageError | None:
    """What is wrong with the file entry, the extents, the target or the streams of ``node``."""
    try:
        node.stat()
        node.xattrs()
        if isinstance(node, File):
            node.open().close()
        elif isinstance(node, Symlink):
            node.readlink()
    except ImageError as exc:
        return exc
    return None


def _descriptors(filesystem: UdfFilesystem) -> Iterator[str]:
    """The recognition sequence, both volume descriptor sequences, and whether the volume was closed."""
    anchor = filesystem.anchor
    starts = {0, max(0, anchor.block - FIRST_ANCHOR) * anchor.block_size}
    if not any(is_recognised(filesystem.image, anchor.block_size, start) for start in starts):
        yield "the volume recognition sequence is missing"
    for name, extent in (("main", anchor.main), ("reserve", anchor.reserve)):
        damage: list[str] = []
        found = list(read_sequence(filesystem.image, anchor.block_size, extent, damage))
        yield from (f"{name} volume descriptor sequence: {line}" for line in damage)
        if not found:
            yield f"{name} volume descriptor sequence is empty"
    yield from filesystem.disc.damage
    if filesystem.state[0] != CLOSED:
        yield f"integrity: {filesystem.state[0]}"


def _mirrors(filesystem: UdfFilesystem) -> Iterator[str]:
    """The metadata partition against its mirror: the first difference."""
    space = filesystem.space
    for index, mirror in space.mirrors.items():
        main = space.device(index)
        if main.size != mirror.size:
            yield f"partition {index}: metadata of {main.size} bytes, mirror of {mirror.size}"
        for offset in range(0, min(main.size, mirror.size, MAX_COMPARED), STEP):
            size = min(STEP, main.size - offset, mirror.size - offset)
            try:
                same = main.pread(offset, size) == mirror.pread(offset, size)
            except ImageError as exc:
                yield f"partition {index}: {exc}"
                break
            if not same:
                block = (
                    _first_difference(main.pread(offset, size), mirror.pread(offset, size))
                    // space.block_size
                )
                at = offset // space.block_size + block
                yield f"partition {index}: metadata and mirror differ from block {at} on"
                break


def _first_difference(left: bytes, right: bytes) -> int:
    return next(
        (at for at, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), len(left)
    )


def _counts(filesystem: UdfFilesystem, files: int, directories: int) -> Iterator[str]:
    state, counts = filesystem.state
    if state != CLOSED or counts is None:
        return
    for kind, counted, found in zip(("files", "directories"), counts, (files, directories), strict=True):
        if counted != found:
            yield f"{counted} {kind} are counted, {found} are there"
