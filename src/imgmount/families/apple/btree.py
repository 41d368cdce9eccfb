"""The B-trees of HFS and HFS+: catalog, extents overflow and attributes are all of this kind.

A node is a descriptor of 14 bytes {u32 next, u32 previous, s8 kind, u8 height, u16 records}, records, and at
its end the offsets of the records, u16, last one first, with that of the free space behind them. Node 0 is
the header. Keys begin with their length: u8 in HFS, u16 in HFS+. All numbers are BE.

Only the order of the numbers in keys (a folder's, a file's) is relied upon, not that of names: the trees of
some systems are sorted by other rules than ours. Source: Inside Macintosh: Files, "B*-Trees"; TN1150,
"B-Trees".
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.core.kept import keep
from imgmount.errors import FormatError, ImageError

LEAF, INDEX, HEADER, MAP = -1, 0, 1, 2
DESCRIPTOR: Final = 14
MAX_DEPTH: Final = 32  # levels; a true tree of 2**32 nodes has fewer than 16
NODE_SIZES: Final = tuple(512 << n for n in range(7))
KEPT_BYTES: Final = 2 << 20  # of nodes, in memory
_DESCRIPTOR: Final = Struct(">IIbBH")
_HEADER: Final = Struct(">HIIIIHHIIHIBBI")
_U32: Final = Struct(">I")


class TreeHeader(NamedTuple):
    """The header record. ``compare`` is how names compare: 0xBC is binary, others ignore case."""

    depth: int
    root: int
    leaf_records: int
    first_leaf: int
    last_leaf: int
    node_size: int
    max_key: int
    nodes: int
    free_nodes: int
    reserved: int
    clump: int
    kind: int
    compare: int
    attributes: int


class Node(NamedTuple):
    """A node. Record n is ``raw[starts[n] : starts[n + 1]]``."""

    number: int
    raw: bytes
    following: int
    preceding: int
    kind: int
    height: int
    starts: array[int]

    @property
    def records(self) -> int:
        """How many records there are."""
        return len(self.starts) - 1


class Record(NamedTuple):
    """A record of a leaf: ``raw`` from ``start``, where its key is, to ``end``; data begin at ``data``."""

    raw: bytes
    start: int
    data: int
    end: int


Where = Callable[[bytes, int], bool]  # of a key: (node, where the key begins)


class _Walk(NamedTuple):
    """The state of one range: its bounds, the nodes that were read, and the first damage."""

    before: Where
    beyond: Where
    seen: set[int]
    damage: list[ImageError]


class BTree:
    """A tree in ``file``. ``number_at`` is where the number stands in a key that begins with its length."""

    def __init__(self, file: BlockDevice, fmt: str, name: str, number_at: int, *, big_keys: bool) -> None:
        self.file = file
        self.fmt = fmt
        self.name = name
        self.big_keys = big_keys
        self._number_at = number_at
        self._kept: dict[int, Node] = {}
        self.header = self._read_header()
        self.node_size = self.header.node_size
        self.nodes = file.size // self.node_size
        self._limit = max(8, KEPT_BYTES // self.node_size)

    def damaged(self, reason: str) -> FormatError:
        """An error that names this tree."""
        return FormatError(self.fmt, f"{self.name} tree: {reason}")

    def _read_header(self) -> TreeHeader:
        raw = self.file.read_exactly(0, DESCRIPTOR + _HEADER.size, self.fmt)
        kind = _DESCRIPTOR.unpack_from(raw)[2]
        header = TreeHeader(*_HEADER.unpack_from(raw, DESCRIPTOR))
        if kind != HEADER or header.node_size not in NODE_SIZES:
            raise self.damaged(f"node 0 of kind {kind} with nodes of {header.node_size} bytes is no header")
        return header

    def number(self, raw: bytes, start: int) -> int:
        """The number in the key at ``start``, which ``node`` has checked to be there."""
        value: int = _U32.unpack_from(raw, start + self._number_at)[0]
        return value

    def node(self, number: int) -> Node:
        """Node ``number``, checked as far as reading its records goes. Raises ``ImageError``."""
        node = self._kept.get(number)
        if node is None:
            node = self.read_node(number)
            keep(self._kept, number, node, self._limit)
        return node

    def read_node(self, number: int) -> Node:
        """Node ``number``, which is not kept. Raises ``ImageError``."""
        if not 0 <= number < self.nodes:
            raise self.damaged(f"node {number} of {self.nodes}")
        size = self.node_size
        raw = self.file.read_exactly(number * size, size, self.fmt)
        following, preceding, kind, height, count = _DESCRIPTOR.unpack_from(raw)
        room = size - 2 * (count + 1)
        starts = table(raw[max(room, 0) :], 2, "big")[::-1]
        if room < DESCRIPTOR or not _rises(starts, DESCRIPTOR, room, self._number_at + 4 if kind <= 0 else 1):
            raise self.damaged(f"node {number}: the places of its {count} records")
        return Node(number, raw, following, preceding, kind, height, starts)

    def records(self, number: int) -> Iterator[Record]:
        """The leaf records with ``number`` in their key. What is damaged among them is raised at the end."""
        ident = self.number
        return self.range(lambda raw, at: ident(raw, at) < number, lambda raw, at: ident(raw, at) > number)

    def range(self, before: Where, beyond: Where) -> Iterator[Record]:
        """The leaf records from the first that is not ``before`` to the last that is not ``beyond``.

        Damage in one node costs its records alone; it is raised when the others were given.
        """
        walk = _Walk(before, beyond, set(), [])
        if self.header.root:
            yield from self._below(self.header.root, walk, MAX_DEPTH)
        if walk.damage:
            raise walk.damage[0].again()

    def _below(self, number: int, walk: _Walk, levels: int) -> Iterator[Record]:
        """The records in and below a node; no node is read twice for one range."""
        before, beyond = walk.before, walk.beyond
        try:
            if number in walk.seen or levels == 0:
                raise self.damaged(f"node {number} is below itself, or in two places")
            walk.seen.add(number)
            node = self.node(number)
            if node.kind not in (LEAF, INDEX):
                raise self.damaged(f"node {number} of kind {node.kind}")
        except ImageError as exc:
            if not walk.damage:
                walk.damage.append(exc)
            return
        raw, starts = node.raw, node.starts
        first = bisect_left(range(node.records), True, key=lambda n: not before(raw, starts[n]))
        if node.kind == LEAF:
            for n in range(first, node.records):
                start = starts[n]
                if beyond(raw, start):
                    return
                yield Record(raw, start, self.data_at(raw, start), starts[n + 1])
            return
        for n in range(max(0, first - 1), node.records):
            if n >= first and beyond(raw, starts[n]):
                return
            child = _U32.unpack_from(raw, starts[n + 1] - 4)[0]
            yield from self._below(child, walk, levels - 1)

    def data_at(self, raw: bytes, start: int) -> int:
        """Where the data of the record at ``start`` begin; perhaps past its end."""
        if self.big_keys:
            return start + 2 + (raw[start] << 8 | raw[start + 1])
        return start + (raw[start] + 2 & ~1)


def _rises(starts: array[int], first: int, end: int, step: int) -> bool:
    """Whether each start is ``step`` or more past the one before; all lie between ``first`` and ``end``."""
    if starts[0] < first or starts[-1] > end:
        return False
    before = starts[0]
    for start in starts[1:]:
        if start < before + step:
            return False
        before = start
    return True
