"""B-trees: a table of contents, keys behind it, values from the end of the block backwards.

Reference, "B-Trees".

Keys are compared as one number, in which the parts of a key follow each other: a record is looked for in a
list of numbers.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.fields import build
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.apfs.objects import HEADER, NAME

_NODE: Final = Struct("<HHIHH")  # flags, level, records, place and length of the table of contents
_CONTENTS: Final = HEADER.size + 24  # the table is counted from here
# at the end of a root: flags, node size, key and value size, longest key and value, records, nodes
FOOTER: Final = Struct("<IIIIIIQQ")
ROOT, LEAF, FIXED, HASHED, NO_HEADER = 1, 2, 4, 8, 16
_NONE: Final = 0xFFFF  # a record without a value
_CHILD: Final = 8  # bytes of a child's number; in a hashed tree its hash follows
_WORD: Final = Struct("<Q")
_PAIR: Final = Struct("<QQ")
MAX_LEVEL: Final = 16
_ID_MASK: Final = (1 << 60) - 1
EXTENT: Final = 8  # the type of record whose second word belongs to the order


class Record(NamedTuple):
    """A key as a number, and key and value as they are stored."""

    order: int
    key: bytes
    value: bytes


def place(number: int, kind: int, second: int = 0) -> int:
    """The order of a record of a tree of files: by object, by type, for extents by where in the file."""
    return (number << 4 | kind) << 64 | second


Keys = Sequence[tuple[int, int]]  # where keys are in a block, and their lengths


def tree_order(data: bytes, keys: Keys) -> list[int]:
    """The orders of keys that begin with an object's number and, above it, the type."""
    unpack, orders = _WORD.unpack_from, []
    last, first = -1, 0
    for at, size in keys:
        (word,) = unpack(data, at)
        if word != last:  # all entries of a folder have the same
            last, first = word, ((word & _ID_MASK) << 4 | word >> 60) << 64
        if word >> 60 == EXTENT and size >= _PAIR.size:
            orders.append(first | unpack(data, at + 8)[0])
        else:
            orders.append(first)
    return orders


def pair_order(data: bytes, keys: Keys) -> list[int]:
    """The orders of keys of two words."""
    pairs = [_PAIR.unpack_from(data, at) for at, _ in keys]
    return [first << 64 | second for first, second in pairs]


Order = Callable[[bytes, Keys], list[int]]


class Node:
    """A node, checked as far as its keys; values are checked where they are used."""

    __slots__ = ("_base", "_contents", "_end", "data", "fixed", "flags", "level", "orders")

    def __init__(self, data: bytes, order: Order, fixed: tuple[int, int]) -> None:
        """``fixed``: sizes of keys and values where the node does not say them. Raises ``FormatError``."""
        self.data = data
        self.flags, self.level, count, start, length = _NODE.unpack_from(data, HEADER.size)
        self.fixed = (fixed[0], fixed[1] if self.flags & LEAF else _CHILD)
        width = 4 if self.flags & FIXED else 8
        self._base = _CONTENTS + start + length
        self._end = len(data) - (FOOTER.size if self.flags & ROOT else 0)
        if self.level > MAX_LEVEL or bool(self.flags & LEAF) != (self.level == 0):
            raise FormatError(NAME, f"a B-tree node of level {self.level} with the flags {self.flags:#x}")
        if count * width > length or self._base > self._end:
            raise FormatError(NAME, f"{count} records in a B-tree node with room for {length // width}")
        fields = struct.unpack_from(f"<{count * width // 2}H", data, _CONTENTS + start)
        self._contents = tuple(zip(*[iter(fields)] * (width // 2), strict=True))
        self.orders = self._orders(order)

    def _orders(self, order: Order) -> list[int]:
        data, base = self.data, self._base
        try:
            if self.flags & FIXED:
                orders = order(data, [(base + at, self.fixed[0]) for at, _ in self._contents])
            else:
                orders = order(data, [(base + at, size) for at, size, _, _ in self._contents])
        except struct.error as exc:
            raise FormatError(NAME, "a key of a B-tree lies outside its node") from exc
        if orders != sorted(orders):
            raise FormatError(NAME, "the keys of a B-tree node are out of order")
        return orders

    def record(self, index: int) -> Record:
        """Record ``index``. Raises ``FormatError``."""
        if self.flags & FIXED:
            (key, value), (key_size, value_size) = self._contents[index], self.fixed
        else:
            key, key_size, value, value_size = self._contents[index]
        start, at = self._base + key, self._end - value
        if value == _NONE:
            at = value_size = 0
        if start + key_size > self._end or at < 0 or at + value_size > self._end:
            raise FormatError(NAME, f"record {index} of a B-tree lies outside its node")
        data = self.data
        return build(Record, (self.orders[index], data[start : start + key_size], data[at : at + value_size]))

    def child(self, index: int) -> tuple[int, bytes]:
        """(number, hash) of child ``index``. Raises ``FormatError``."""
        if self.flags & HASHED or self._contents[index][-1] == _NONE:
            value = self.record(index).value
            if len(value) < _CHILD:
                raise FormatError(NAME, f"child {index} of a B-tree has no number")
            return int.from_bytes(value[:_CHILD], "little"), value[_CHILD:]
        at = self._end - self._contents[index][1 if self.flags & FIXED else 2]
        if not 0 <= at <= self._end - _CHILD:
            raise FormatError(NAME, f"child {index} of a B-tree lies outside its node")
        return int(_WORD.unpack_from(self.data, at)[0]), b""


Load = Callable[[int, bytes], Node]  # the node of a number, and of a hash where there is one


class Tree:
    """A B-tree. ``load`` gives its nodes by the numbers that the nodes above have for them."""

    def __init__(self, root: int, load: Load) -> None:
        self._root = root
        self._load = load
        self._last: tuple[int, int, Node | None] = (0, 0, None)  # a leaf, and the orders that it is asked for

    def root(self) -> Node:
        """The root. Raises ``ImageError``."""
        node = self._load(self._root, b"")
        if not node.flags & ROOT:
            raise FormatError(NAME, "the root of a B-tree is no root")
        return node

    def _child(self, node: Node, index: int) -> Node:
        child = self._load(*node.child(index))
        if child.level != node.level - 1 or child.flags & ROOT:
            raise FormatError(NAME, f"a B-tree node of level {child.level} under one of level {node.level}")
        return child

    def get(self, order: int) -> Record | None:
        """The record with this key."""
        found = self.floor(order)
        return found if found is not None and found.order == order else None

    def floor(self, order: int) -> Record | None:
        """The last record that does not come after ``order``."""
        low, high, leaf = self._last
        if leaf is not None and low <= order < high:  # most lookups follow one that is near
            return leaf.record(bisect_right(leaf.orders, order) - 1)
        return self._floor(self.root(), order, 1 << 256)

    def _floor(self, node: Node, order: int, high: int) -> Record | None:
        """The last record below ``node``, whose keys end before ``high``."""
        index = bisect_right(node.orders, order) - 1
        if index < 0:
            return None
        if not node.level:
            self._last = node.orders[0], high, node
            return node.record(index)
        end = node.orders[index + 1] if index + 1 < len(node.orders) else high
        found = self._floor(self._child(node, index), order, end)
        if found is None and index > 0:  # keys of nodes above may be lower than any that is left below
            found = self._floor(self._child(node, index - 1), order, node.orders[index])
        return found

    def scan(self, low: int, high: int, *, patient: bool = False) -> Iterator[Record]:
        """The records from ``low`` up to ``high``, in order.

        A tree in which a node has two places ends in ``FormatError``. ``patient``: what is wrong with a node
        is raised when the records of the others were given.
        """
        damage: ImageError | None = None
        node = self.root()
        seen: set[int] = set()
        levels = [(node, iter(self._span(node, low, high)))]
        while levels:
            node, indices = levels[-1]
            if not node.level:
                for index in indices:
                    yield node.record(index)
                levels.pop()
                continue
            following = next(indices, None)
            if following is None:
                levels.pop()
                continue
            number = node.child(following)[0]
            if number in seen:
                raise FormatError(NAME, f"B-tree node {number:#x} is in two places")
            seen.add(number)
            try:
                child = self._child(node, following)
            except ImageError as exc:
                if not patient:
                    raise
                damage = damage or exc
                continue
            levels.append((child, iter(self._span(child, low, high))))
        if damage is not None:
            raise damage.again()

    @staticmethod
    def _span(node: Node, low: int, high: int) -> range:
        """The records to look at. What begins at a child's key may begin in the child before it as well."""
        start = bisect_left(node.orders, low)
        return range(max(0, start - 1) if node.level else start, bisect_left(node.orders, high))

    def nodes(self, damage: list[ImageError]) -> Iterator[Node]:
        """Every node that can be read, parents first.

        What is wrong with the others is added to ``damage``.
        """
        seen: set[int] = set()
        try:
            pending = [self.root()]
        except ImageError as exc:
            damage.append(exc)
            return
        while pending:
            node = pending.pop()
            yield node
            for index in reversed(range(len(node.orders) if node.level else 0)):
                try:
                    number = node.child(index)[0]
                    if number in seen:
                        raise FormatError(NAME, f"B-tree node {number:#x} is in two places")
                    seen.add(number)
                    pending.append(self._child(node, index))
                except ImageError as exc:
                    damage.append(exc)
