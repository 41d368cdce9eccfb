"""Object maps: where the objects of a container or a volume are, at each transaction.

Reference, "Object Maps".
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.kept import keep
from imgmount.errors import FormatError
from imgmount.filesystems.apfs.btree import Node, Tree, pair_order
from imgmount.filesystems.apfs.objects import BTREE, BTREE_NODE, HEADER, NAME, OBJECT_MAP, Blocks

_MAP: Final = Struct("<IIIIQ")  # flags, snapshots, types of the two trees, the tree's block
_VALUE: Final = Struct("<IIQ")  # flags, size, block
_SIZES: Final = (16, 16)  # of keys and values
DELETED, ENCRYPTED, NO_HEADER = 1, 4, 8
CACHE_BYTES: Final = 8 << 20  # of nodes, as they are stored
MAX_KNOWN: Final = 4096  # places remembered


class Place(NamedTuple):
    """Where an object is, and how it is stored there."""

    flags: int
    block: int


class Nodes:
    """Nodes of all trees of a container that were read last, by block and decrypting object."""

    def __init__(self, block_size: int) -> None:
        self._kept: dict[tuple[int, int], Node] = {}
        self._most = max(16, CACHE_BYTES // block_size)

    def get(self, key: tuple[int, int]) -> Node | None:
        """The node, if it is at hand."""
        return self._kept.get(key)

    def keep(self, key: tuple[int, int], node: Node) -> Node:
        """Remember ``node``."""
        keep(self._kept, key, node, self._most)
        return node


class ObjectMap:
    """The object map at ``block``. Any number of threads may ask."""

    def __init__(self, blocks: Blocks, nodes: Nodes, block: int) -> None:
        self._blocks = blocks
        self._nodes = nodes
        data = blocks.object(block, (OBJECT_MAP,), "an object map")
        *_, root = _MAP.unpack_from(data, HEADER.size)
        self.tree = Tree(root, self._load)
        self._known: dict[tuple[int, int], Place] = {}

    def _load(self, block: int, _: bytes) -> Node:
        key = block, 0
        node = self._nodes.get(key)
        if node is None:
            data = self._blocks.object(block, (BTREE, BTREE_NODE), "a node of an object map")
            node = self._nodes.keep(key, Node(data, pair_order, _SIZES))
        return node

    def find(self, oid: int, xid: int) -> Place:
        """Where object ``oid`` was as of transaction ``xid``. Raises ``FormatError`` where there is none."""
        place = self._known.get((oid, xid))
        if place is None:
            record = self.tree.floor(oid << 64 | xid)
            if record is None or record.order >> 64 != oid or len(record.value) < _VALUE.size:
                raise FormatError(NAME, f"no object {oid:#x} in the object map")
            flags, size, block = _VALUE.unpack_from(record.value)
            if flags & DELETED:
                raise FormatError(NAME, f"object {oid:#x} was deleted")
            if size != self._blocks.size:
                raise FormatError(NAME, f"object {oid:#x} has {size} bytes, not {self._blocks.size}")
            place = Place(flags, block)
            keep(self._known, (oid, xid), place, MAX_KNOWN)
        return place
