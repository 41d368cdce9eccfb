"""Indexes: B+ trees whose root is an attribute and whose other blocks are in a stream.

Source: "$INDEX_ROOT" and "$INDEX_ALLOCATION" in the documentation of the Linux-NTFS project. Blocks are
numbered in clusters, or where a block is smaller than a cluster in units of 512 bytes.
"""

from __future__ import annotations

from codecs import utf_16_le_decode  # what str.decode finds by name, each time
from collections.abc import Iterator
from struct import Struct
from struct import error as StructError  # noqa: N812  the one exception that struct has
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.header import within
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.ntfs.boot import MAX_CLUSTER, NAME, STRIDE
from imgmount.filesystems.ntfs.records import DOS, NAME_SIZE, FileName, file_name, unfixed

_NODE: Final = Struct("<III")  # offset of entries, size used, size allocated; behind them flags
_ENTRY: Final = Struct("<QHHH")  # reference (or place of data), length, key length, flags
_NAMED: Final = Struct("<QHHH2x64xBB")  # the same and, of the name, its length and namespace
_ROOT_NODE: Final = 16  # where the node begins in a root
_BLOCK_NODE: Final = 24  # and in a block
_NODE_SIZE: Final = 16
_SIZE_AT: Final = 8  # of blocks, in a root
_VCN: Final = 16  # a block's own number, in it

HAS_CHILD: Final = 1  # flags of an entry: a block stands before it
LAST: Final = 2  # it is none, but the end
MIN_BLOCK: Final = 256
MAX_BLOCKS: Final = 1 << 22
KEY: Final = 16  # where an entry's key begins


class Node(NamedTuple):
    """A node: its entries are in ``data`` from ``at`` to ``end``."""

    data: bytes
    at: int
    end: int
    has_children: bool


class Entry(NamedTuple):
    """An entry of any index.

    ``place`` is where it is in its node's data; ``child`` the block before it, -1 for none.
    """

    reference: int
    key: bytes
    place: int
    child: int


def _node(data: bytes, header: int, what: str) -> Node:
    first, used, _ = _NODE.unpack_from(data, header)
    if first < _NODE_SIZE or used < first or header + used > len(data):
        raise FormatError(
            NAME, f"{what}: entries from {first:#x} to {used:#x} of {len(data) - header:#x} bytes"
        )
    return Node(data, header + first, header + used, bool(data[header + 12] & 1))


def entries(node: Node) -> Iterator[Entry]:
    """The entries of ``node``; the last one has no key. Raises ``FormatError``."""
    data, at, end, _ = node
    while at + KEY <= end:
        reference, length, key, flags = _ENTRY.unpack_from(data, at)
        tail = 8 if flags & HAS_CHILD else 0
        if length < KEY + tail or at + length > end or (KEY + key + tail > length and not flags & LAST):
            raise FormatError(
                NAME, f"an index entry of {length} bytes with a key of {key}, {end - at} are left"
            )
        child = int.from_bytes(data[at + length - 8 : at + length], "little") if tail else -1
        yield Entry(reference, b"" if flags & LAST else data[at + KEY : at + KEY + key], at, child)
        if flags & LAST:
            return
        at += length
    raise FormatError(NAME, "an index node without an end")


def _names(node: Node) -> Iterator[tuple[int, str]]:
    """(reference, name) of the entries of a folder's node, but the short names that DOS sees.

    Raises ``FormatError``.
    """
    data, at, end, _ = node
    unpack, decode = _NAMED.unpack_from, utf_16_le_decode
    try:
        while True:
            reference, length, key, flags, letters, space = unpack(data, at)
            if flags & LAST:
                return
            stop = at + KEY + NAME_SIZE + 2 * letters
            if length < KEY or stop > at + KEY + key or stop > at + length or at + length > end:
                raise FormatError(
                    NAME, f"a folder's entry of {length} bytes with a name of {letters} letters"
                )
            if space != DOS:
                yield reference, decode(data[at + KEY + NAME_SIZE : stop], "surrogatepass", True)[0]
            at += length
    except StructError:
        if at + KEY > end or not data[at + 12] & LAST:
            raise FormatError(NAME, "an index node without an end") from None


class Index:
    """An index: ``root`` is the content of its root, ``blocks`` the stream of its blocks if it has one.

    ``bitmap`` says which of those are in use.
    """

    def __init__(self, root: bytes, blocks: BlockDevice | None, cluster: int, bitmap: bytes = b"") -> None:
        if len(root) < _ROOT_NODE + _NODE_SIZE:
            raise FormatError(NAME, f"an index root of {len(root)} bytes")
        self.block_size = int.from_bytes(root[_SIZE_AT : _SIZE_AT + 4], "little")
        if blocks is not None:
            within(NAME, "size of index blocks", self.block_size, MIN_BLOCK, MAX_CLUSTER, power_of_two=True)
        self.root = _node(root, _ROOT_NODE, "an index root")
        self.unit = cluster if cluster <= self.block_size else STRIDE
        self._blocks = blocks
        self._used = int.from_bytes(bitmap, "little").bit_count()  # blocks

    def block(self, number: int) -> Node:
        """The node in a block. Raises ``ImageError``."""
        if self._blocks is None:
            raise FormatError(NAME, f"an index without blocks names block {number}")
        raw = self._blocks.read_exactly(number * self.unit, self.block_size, NAME)
        data = unfixed(raw, b"INDX", "index block", number)
        if (own := int.from_bytes(data[_VCN : _VCN + 8], "little")) != number:
            raise FormatError(NAME, f"index block {number} says that it is block {own}")
        return _node(data, _BLOCK_NODE, f"index block {number}")

    def nodes(self) -> Iterator[Node]:
        """Each node once, parents first.

        What is damaged is passed over, and raised at the end as ``ImageError``.
        """
        pending: list[int] = []
        seen: set[int] = set()
        damage: ImageError | None = None
        node = self.root
        while True:
            try:
                yield node
                if node.has_children:
                    pending += [entry.child for entry in entries(node) if entry.child >= 0][::-1]
            except ImageError as exc:
                damage = exc
            while pending:
                number = pending.pop()
                if number in seen or len(seen) > MAX_BLOCKS:
                    damage = FormatError(NAME, f"index block {number} is in two places")
                    continue
                seen.add(number)
                try:
                    node = self.block(number)
                    break
                except ImageError as exc:
                    damage = exc
            else:
                break
        if len(seen) < self._used:
            damage = damage or FormatError(
                NAME, f"an index with {self._used} blocks, of which {len(seen)} are in the tree"
            )
        if damage is not None:
            raise damage

    def names(self) -> Iterator[tuple[int, str]]:
        """(reference, name) of each entry of a folder.

        What is damaged is passed over, and raised at the end as ``ImageError``.
        """
        damage: ImageError | None = None
        for node in self.nodes():
            try:
                yield from _names(node)
            except ImageError as exc:
                damage = exc
        if damage is not None:
            raise damage

    def named(self) -> Iterator[tuple[int, FileName]]:
        """(reference, name) of each entry of a folder, the short names of DOS too. Raises ``ImageError``."""
        for node in self.nodes():
            for entry in entries(node):
                if entry.key:
                    yield entry.reference, file_name(entry.key)

    def find(self, number: int) -> bytes | None:
        """The data under a 32-bit key, as in $SII of $Secure. Raises ``ImageError``."""
        node = self.root
        for _ in range(64):  # deeper than any tree of 2**48 entries
            child = -1
            for entry in entries(node):
                child = entry.child
                if entry.key == number.to_bytes(4, "little"):
                    start, size = entry.reference & 0xFFFF, entry.reference >> 16 & 0xFFFF
                    return node.data[entry.place + start : entry.place + start + size]
                if not entry.key or int.from_bytes(entry.key[:4], "little") > number:
                    break
            if child < 0:
                return None
            node = self.block(child)
        raise FormatError(NAME, "an index deeper than 64 levels")
