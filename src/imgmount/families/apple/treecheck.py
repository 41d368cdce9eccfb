"""What can be checked of a B-tree as ``verify`` does: levels, links, order, counts, and the map of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise

from imgmount.errors import ImageError
from imgmount.families.apple.btree import HEADER, INDEX, LEAF, MAP, MAX_DEPTH, BTree, Node

MAX_PROBLEMS = 50  # of one tree
_MAP_RECORD = 2  # of the header node: which nodes are in use


def problems(tree: BTree) -> Iterator[str]:
    """One line each, MAX_PROBLEMS at most."""
    found = islice(_problems(tree), MAX_PROBLEMS)
    return (f"{tree.name} tree: {line}" for line in found)


def _problems(tree: BTree) -> Iterator[str]:
    header = tree.header
    if header.nodes * tree.node_size > tree.file.size:
        yield f"{header.nodes} nodes of {tree.node_size} bytes in a file of {tree.file.size}"
    used: set[int] = {0}
    yield from _levels(tree, used)
    yield from _map(tree, used)


def _levels(tree: BTree, used: set[int]) -> Iterator[str]:
    """The levels from the root down; ``used`` gets the numbers of the nodes that are found."""
    header = tree.header
    numbers = [header.root] if header.root else []
    level = _Level(tree, header.depth)
    while numbers:
        for number in numbers:
            if number in used:
                yield f"node {number} is in two places"
                continue
            used.add(number)
            try:
                node = tree.read_node(number)
            except ImageError as exc:
                yield str(exc).partition("tree: ")[2] or str(exc)
            else:
                yield from level.add(node)
        if level.height <= 1 or level.height > MAX_DEPTH:
            break
        numbers = level.children
        level = _Level(tree, level.height - 1)
    if (header.first_leaf, header.last_leaf) != (level.first, level.last):
        told = f"{header.first_leaf} and {header.last_leaf}"
        yield f"its first and last leaves are {level.first} and {level.last}, its header says {told}"
    if level.records != header.leaf_records:
        yield f"{level.records} records in its leaves, its header counts {header.leaf_records}"


class _Level:
    """The nodes at one height, from left to right. None of them is kept."""

    def __init__(self, tree: BTree, height: int) -> None:
        self._tree = tree
        self.height = height
        self.kind = LEAF if height <= 1 else INDEX
        self.children: list[int] = []
        self.records = self.first = self.last = 0
        self._following = 0
        self._number = -1  # of the last key

    def add(self, node: Node) -> Iterator[str]:
        """What is wrong with the next node."""
        if (node.kind, node.height) != (self.kind, self.height):
            told = f"kind {node.kind} at height {node.height}"
            yield f"node {node.number} of {told}, {self.kind} at {self.height} expected"
        if self.first and (self._following != node.number or node.preceding != self.last):
            yield f"nodes {self.last} and {node.number} are neighbours and do not say so"
        self.first = self.first or node.number
        self.last, self._following = node.number, node.following
        self.records += node.records
        for start, end in pairwise(node.starts):
            number = self._tree.number(node.raw, start)
            if number < self._number:
                yield f"node {node.number}: a record of {number} behind those of {self._number}"
            self._number = number
            if self.kind == INDEX:
                self.children.append(int.from_bytes(node.raw[end - 4 : end], "big"))


def _map(tree: BTree, used: set[int]) -> Iterator[str]:
    """Compare the nodes found with the map, which is in the header node and in map nodes."""
    bits = bytearray()
    number = 0
    try:
        while len(bits) * 8 < tree.header.nodes:
            node = tree.read_node(number)
            used.add(number)
            at = _MAP_RECORD if node.kind == HEADER else 0
            if node.kind not in (HEADER, MAP) or node.records <= at:
                yield f"node {number} of kind {node.kind} in the map of nodes"
                return
            bits += node.raw[node.starts[at] : node.starts[at + 1]]
            number = node.following
            if not number:
                break
            if number in used:
                yield f"map node {number} is in two places"
                return
    except ImageError as exc:
        yield str(exc)
        return
    marked = {n for n in range(min(tree.header.nodes, 8 * len(bits))) if bits[n >> 3] & 0x80 >> (n & 7)}
    for node_number in sorted(used - marked):
        yield f"node {node_number} is in use, and free in the map of nodes"
    if unused := len(marked - used):
        yield f"{unused} nodes are taken in the map of nodes and in no level"
    free = tree.header.nodes - len(marked)
    if free != tree.header.free_nodes:
        yield f"{free} nodes are free in the map, its header counts {tree.header.free_nodes}"
