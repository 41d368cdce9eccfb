"""One volume, now or as it was at a snapshot: its trees, and what is looked for in them."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Final, NamedTuple

from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice
from imgmount.core.single_parent import SingleParent
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.apfs import records as r
from imgmount.filesystems.apfs.btree import NO_HEADER as HEADERLESS
from imgmount.filesystems.apfs.btree import Node, Tree, pair_order, place, tree_order
from imgmount.filesystems.apfs.container import Superblock
from imgmount.filesystems.apfs.content import Source, content, decrypt
from imgmount.filesystems.apfs.objects import BTREE, BTREE_NODE, NAME, Blocks
from imgmount.filesystems.apfs.omap import ENCRYPTED, NO_HEADER, Nodes, ObjectMap
from imgmount.filesystems.apfs.seal import Seal
from imgmount.filesystems.apfs.superblock import PHYSICAL, VolumeSuperblock

END: Final = 1 << 62  # past any byte of a file
_EXTENT_SIZES: Final = (16, 16)
_NO_SIZES: Final = (8, 8)


class Container(NamedTuple):
    """What the volumes of a container share."""

    blocks: Blocks
    super: Superblock
    objects: ObjectMap
    nodes: Nodes
    cache: ReadCache


_inode_of: Final = attrgetter("inode")


class Volume:
    """A volume at transaction ``xid``, with its key if it is encrypted.

    ``slot`` is its place in the container, ``space`` numbers this view of it.
    """

    def __init__(
        self, container: Container, superblock: VolumeSuperblock, objects: ObjectMap, xid: int, *,
        key: bytes = b"", slot: int = 0, space: int = 0,
    ) -> None:  # fmt: skip
        self.container = container
        self.super = superblock
        self.objects = objects
        self.xid = xid
        self.slot = slot
        self.space = space
        self.owners = SingleParent(NAME)
        self.source = Source(container.blocks, container.cache, key)
        self.seal = Seal.of(container.blocks, superblock, objects, xid) if superblock.sealed else None
        self._key = key
        self.tree = Tree(superblock.root_tree, self._load_file)
        self.extents = Tree(superblock.extent_tree, self._load_extent) if superblock.sealed else None

    def _load_file(self, number: int, digest: bytes) -> Node:
        """A node of the tree of files. In a sealed volume numbers count from the root's."""
        oid = number if self.seal is None or not digest else self.super.root_tree + number
        where = self.objects.find(oid, self.xid)
        key = where.block, 1 + self.slot
        node = self.container.nodes.get(key)
        if node is None:
            data = self.container.blocks.raw(where.block)
            if where.flags & ENCRYPTED:
                data = decrypt(self._key, data, where.block, len(data)) if self._key else data
            if not where.flags & NO_HEADER:
                self.container.blocks.check(
                    data, where.block, (BTREE, BTREE_NODE), f"node {oid:#x} of the tree of files"
                )
            if self.seal is not None:
                self.seal.check(data, digest, oid)
            node = self.container.nodes.keep(key, Node(data, tree_order, _NO_SIZES))
        return node

    def _load_extent(self, number: int, _: bytes) -> Node:
        """A node of a sealed volume's tree of extents."""
        physical = self.super.extent_tree_type & PHYSICAL
        block = number if physical else self.objects.find(number, self.xid).block
        key = block, 0
        node = self.container.nodes.get(key)
        if node is None:
            data = self.container.blocks.raw(block)
            node = Node(data, pair_order, _EXTENT_SIZES)
            if not node.flags & HEADERLESS:
                self.container.blocks.check(data, block, (BTREE, BTREE_NODE), "a node of the tree of extents")
            self.container.nodes.keep(key, node)
        return node

    def inode(self, number: int) -> r.Inode:
        """Inode ``number``. Raises ``ImageError``."""
        record = self.tree.get(place(number, r.INODE))
        if record is None:
            raise FormatError(NAME, f"inode {number} is missing")
        return r.parse_inode(record)

    def entries(self, directory: int) -> Iterator[r.Entry]:
        """The entries of a directory, in the order of their inodes: neighbours are read together.

        What is wrong with some is raised when the rest were given.
        """
        damage: ImageError | None = None
        found = []
        try:
            for record in self.tree.scan(
                place(directory, r.ENTRY), place(directory, r.ENTRY + 1), patient=True
            ):
                try:
                    found.append(r.parse_entry(record, hashed=self.super.hashed_names))
                except FormatError as exc:
                    damage = damage or exc
        except ImageError as exc:
            damage = damage or exc
        found.sort(key=_inode_of)
        yield from found
        if damage is not None:
            raise damage.again()

    def attributes(self, number: int) -> Iterator[r.Attribute]:
        """The extended attributes of inode ``number``. Raises ``ImageError``."""
        return r.parse_all(self.tree.scan(place(number, r.ATTRIBUTE), place(number, r.ATTRIBUTE + 1)))

    def attribute(self, number: int, name: str) -> r.Attribute | None:
        """The extended attribute ``name``, if there is one. Raises ``ImageError``."""
        return next((found for found in self.attributes(number) if found.name == name), None)

    def value(self, attribute: r.Attribute) -> BlockDevice:
        """The value of an extended attribute, wherever it is. Raises ``ImageError``."""
        return (
            self.stream(attribute.stream, attribute.size)
            if attribute.stream
            else MemoryDevice(attribute.value)
        )

    def stream(self, private: int, size: int) -> BlockDevice:
        """``size`` bytes of the stream whose extents belong to ``private``. Raises ``ImageError``."""
        return content(self.source, size, lambda offset: self.stretch(private, offset))

    def stretch(self, private: int, offset: int) -> r.Stretch:
        """What holds byte ``offset`` of a stream: an extent, or the hole up to the next.

        Raises ``ImageError``.
        """
        tree, base = (
            (self.tree, place(private, r.EXTENT)) if self.extents is None else (self.extents, private << 64)
        )
        record = tree.floor(base | offset)
        if record is not None and record.order >= base:
            found = r.parse_stretch(record, record.order - base)
            if found.start + found.length > offset:
                return found
        following = next(tree.scan(base | offset + 1, base | END), None)
        stop = following.order - base if following is not None else END
        return r.Stretch(offset, stop - offset, 0, 0)
