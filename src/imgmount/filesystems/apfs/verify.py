"""Checks of a container: the checksums of its objects, its checkpoints, and what its volumes count."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.errors import ImageError
from imgmount.filesystems.apfs import snapshots
from imgmount.filesystems.apfs.btree import FOOTER, Node, Tree, tree_order
from imgmount.filesystems.apfs.census import Census
from imgmount.filesystems.apfs.container import Superblock, read_first
from imgmount.filesystems.apfs.filesystem import ApfsFilesystem
from imgmount.filesystems.apfs.objects import BTREE, BTREE_NODE, CHECKPOINT_MAP, HEADER, is_sound
from imgmount.filesystems.apfs.objects import header as object_header
from imgmount.filesystems.apfs.superblock import PHYSICAL
from imgmount.filesystems.apfs.volume import Container, Volume

_MAP: Final = Struct("<II")  # flags, objects
_MAPPED: Final = Struct("<IIIIQQQ")  # type, subtype, size, volume, object, block
MAX_EPHEMERAL: Final = 1 << 26  # bytes of one object of a checkpoint
_NO_SIZES: Final = (8, 8)


def problems(filesystem: ApfsFilesystem) -> Iterator[str]:
    """One line for each problem."""
    container = filesystem.container
    yield from _ends(container, filesystem.first)
    yield from _checkpoint(container)
    yield from _tree("the object map", container.objects.tree)
    for slot in filesystem.slots:
        if isinstance(slot.view, ImageError):
            yield f"volume {slot.name!r}: {slot.view}"
            continue
        for problem in _volume(container, slot.view.live):
            yield f"volume {slot.name!r}: {problem}"


def _ends(container: Container, first: Superblock | None) -> Iterator[str]:
    device: BlockDevice = container.blocks.device
    if first is None:
        yield "block 0 has no superblock"
    elif not read_first(device)[1]:
        yield "the checksum of the superblock in block 0 is wrong"
    if first is not None and first.xid > container.super.xid:
        yield f"block 0 has transaction {first.xid}, the newest sound checkpoint is {container.super.xid}"
    size = container.super.blocks * container.super.block_size
    if size > device.size:
        yield f"the image ends at {device.size:#x}, the container at {size:#x}"


def _checkpoint(container: Container) -> Iterator[str]:
    """The blocks of the checkpoint that is shown, and the objects that only a driver that writes reads."""
    main, blocks = container.super, container.blocks
    count = main.descriptor_blocks
    for number in range(min(main.descriptor_count, count)):
        block = main.descriptor_base + (main.descriptor_index + number) % count
        try:
            data = blocks.raw(block)
        except ImageError as exc:
            yield f"checkpoint: {exc}"
            continue
        if not is_sound(data):
            yield f"the checksum of a block of the checkpoint is wrong, at {block * blocks.size:#x}"
        elif object_header(data).kind == CHECKPOINT_MAP:
            yield from _mapped(container, data)


def _mapped(container: Container, data: bytes) -> Iterator[str]:
    blocks = container.blocks
    _, count = _MAP.unpack_from(data, HEADER.size)
    start = HEADER.size + _MAP.size
    for number in range(min(count, (len(data) - start) // _MAPPED.size)):
        kind, _, size, _, _, oid, block = _MAPPED.unpack_from(data, start + number * _MAPPED.size)
        if not 0 < size <= MAX_EPHEMERAL or size % blocks.size:
            yield f"object {oid:#x} of the checkpoint has {size} bytes"
            continue
        try:
            found = blocks.raw(block, size // blocks.size)
        except ImageError as exc:
            yield f"object {oid:#x} of the checkpoint: {exc}"
            continue
        if not is_sound(found) or object_header(found).type != kind:
            yield f"the checksum of object {oid:#x} of the checkpoint is wrong, at {block * blocks.size:#x}"


def _volume(container: Container, volume: Volume) -> Iterator[str]:
    superblock = volume.super
    yield from _tree("the object map", volume.objects.tree)
    if superblock.references and superblock.references_type & PHYSICAL:
        yield from _tree("the tree of extent references", _physical(container, superblock.references))
    if volume.extents is not None:
        yield from _tree("the tree of extents", volume.extents)
    yield from Census(volume).problems()
    if superblock.snapshot_tree:
        yield from _tree("the tree of snapshots", snapshots.tree(container, superblock.snapshot_tree))
        yield from _snapshots(volume)


def _snapshots(volume: Volume) -> Iterator[str]:
    try:
        found = snapshots.snapshots(volume)
    except ImageError:  # reported with the tree
        return
    if len(found) != volume.super.snapshots:
        yield f"{len(found)} snapshots, the superblock counts {volume.super.snapshots}"
    for snapshot in found:
        try:
            old = snapshot.volume(volume)
        except ImageError as exc:
            yield f"snapshot {snapshot.name!r}: {exc}"
            continue
        yield from _tree(f"the tree of snapshot {snapshot.name!r}", old.tree)


def _physical(container: Container, root: int) -> Tree:
    def load(block: int, _: bytes) -> Node:
        data = container.blocks.object(block, (BTREE, BTREE_NODE), "a node of a tree of extents")
        return Node(data, tree_order, _NO_SIZES)

    return Tree(root, load)


def _tree(what: str, tree: Tree) -> Iterator[str]:
    """The nodes of a tree, and how many records its root counts."""
    damage: list[ImageError] = []
    records, counted = 0, None
    for node in tree.nodes(damage):
        counted = (
            FOOTER.unpack_from(node.data, len(node.data) - FOOTER.size)[6] if counted is None else counted
        )
        records += 0 if node.level else len(node.orders)
    yield from (f"{what}: {problem}" for problem in damage)
    if not damage and counted is not None and counted != records:
        yield f"{what} has {records} records, its root counts {counted}"
