"""Snapshots: a tree of them, and for each a copy of the volume's superblock. Reference, "Snapshots"."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.apfs import records as r
from imgmount.filesystems.apfs.btree import Node, Record, Tree, place, tree_order
from imgmount.filesystems.apfs.numbers import MAX_SNAPSHOTS, space_of
from imgmount.filesystems.apfs.objects import BTREE, BTREE_NODE, NAME, VOLUME
from imgmount.filesystems.apfs.superblock import parse_volume
from imgmount.filesystems.apfs.volume import Container, Volume

METADATA: Final = 1  # the type of record, of which the object is the transaction
# extents, superblock, created, changed, inode, type of extents, flags, length of the name
_VALUE: Final = Struct("<QQQQQIIH")
_NO_SIZES: Final = (8, 8)


class Snapshot(NamedTuple):
    """A snapshot, the ``ordinal``-th of its volume, counted from 1."""

    ordinal: int
    xid: int
    name: str
    created: int
    block: int

    def volume(self, live: Volume) -> Volume:
        """The volume as it was.

        Its objects are in the map of the volume as it is now. Raises ``ImageError``.
        """
        data = live.container.blocks.object(
            self.block, (VOLUME,), f"the superblock of snapshot {self.name!r}"
        )
        superblock = parse_volume(data)
        if superblock.uuid != live.super.uuid:
            raise FormatError(NAME, f"snapshot {self.name!r} is of another volume, {superblock.uuid}")
        space = space_of(live.slot, self.ordinal)
        return Volume(
            live.container,
            superblock,
            live.objects,
            self.xid,
            key=live.source.key,
            slot=live.slot,
            space=space,
        )


def tree(container: Container, root: int) -> Tree:
    """The tree of snapshots whose root is block ``root``."""

    def load(block: int, _: bytes) -> Node:
        data = container.blocks.object(block, (BTREE, BTREE_NODE), "a node of the tree of snapshots")
        return Node(data, tree_order, _NO_SIZES)

    return Tree(root, load)


def snapshots(volume: Volume) -> Sequence[Snapshot]:
    """The snapshots of a volume, the oldest first. Raises ``ImageError``."""
    root = volume.super.snapshot_tree
    if not root:
        return []
    found: list[Snapshot] = []
    for record in tree(volume.container, root).scan(0, place(1 << 60, 0)):
        if r.kind_of(record) == METADATA:
            found.append(_parse(record, len(found) + 1))
        if len(found) == MAX_SNAPSHOTS:
            break
    return found


def _parse(record: Record, ordinal: int) -> Snapshot:
    if len(record.value) < _VALUE.size:
        raise FormatError(NAME, f"a snapshot in {len(record.value)} bytes, {_VALUE.size} at least are right")
    _, block, created, _, _, _, _, length = _VALUE.unpack_from(record.value)
    name = record.value[_VALUE.size : _VALUE.size + length].split(b"\0", 1)[0]
    return Snapshot(ordinal, r.number_of(record), name.decode("utf-8", "surrogateescape"), created, block)


def chosen(volume: Volume, wanted: str) -> Snapshot | None:
    """The snapshot of that name, or of that transaction. Raises ``ImageError``."""
    found = snapshots(volume)
    named = [snapshot for snapshot in found if snapshot.name == wanted]
    return next(iter(named or [snapshot for snapshot in found if str(snapshot.xid) == wanted]), None)


def names(volume: Volume) -> str:
    """A list of the snapshots, as text, or what is wrong with them."""
    try:
        return ", ".join(f"{snapshot.name} ({snapshot.xid})" for snapshot in snapshots(volume))
    except ImageError as exc:
        return str(exc)
