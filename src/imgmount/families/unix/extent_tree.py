"""Files in extents that a tree of them describes, read where a read leads.

The formats differ in how a node is stored.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from imgmount.core.kept import keep
from imgmount.families.unix.block_pointers import END, MAX_KEPT, BlockRun


class ExtentNode(NamedTuple):
    """A node ``depth`` above the leaves; its arrays have an entry for each extent or child, in order."""

    depth: int
    starts: array[int]  # of the entries, in blocks of the file
    lengths: array[int]  # leaves only
    places: array[int]  # children, or data: 0 where there is none yet


class ExtentTree:
    """The extents of a file.

    ``read(place, depth)`` gives a child; ``checked(count, start)`` refuses what lies outside.
    """

    def __init__(
        self,
        root: ExtentNode,
        read: Callable[[int, int], ExtentNode],
        checked: Callable[[int, int], BlockRun],
    ) -> None:
        self._root = root
        self._read = read
        self._checked = checked
        self._kept: dict[tuple[int, int], ExtentNode] = {}

    def find(self, block: int) -> BlockRun:
        """The run that begins at ``block`` of the file: (blocks, the first of them or 0 for a hole).

        Raises ``ImageError``.
        """
        node, end = self._root, END
        while True:
            index = bisect_right(node.starts, block) - 1
            if index + 1 < len(node.starts):
                end = min(end, node.starts[index + 1])
            if index < 0:
                return end - block, 0
            if node.depth == 0:
                break
            node = self._child(node.places[index], node.depth - 1)
        skip = block - node.starts[index]
        left = min(node.lengths[index] - skip, end - block)
        if left <= 0:
            return end - block, 0
        return self._checked(left, node.places[index] + skip) if node.places[index] else (left, 0)

    def _child(self, place: int, depth: int) -> ExtentNode:
        node = self._kept.get((place, depth))
        if node is None:
            node = self._read(place, depth)
            keep(self._kept, (place, depth), node, MAX_KEPT)
        return node
