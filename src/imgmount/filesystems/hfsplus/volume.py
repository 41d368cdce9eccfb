"""An HFS+ volume: its trees, and what they say of a folder. TN1150."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.node import Filesystem, Node
from imgmount.core.option import NO_JOURNAL
from imgmount.core.single_parent import SingleParent
from imgmount.errors import FormatError, ImageError
from imgmount.families.apple import decmpfs, forks, options
from imgmount.families.apple.btree import BTree
from imgmount.families.apple.extents import Blocks, Run
from imgmount.families.apple.identity import volume_uuid
from imgmount.families.apple.names import shown
from imgmount.filesystems.hfsplus import facts
from imgmount.filesystems.hfsplus.attributes import Attributes
from imgmount.filesystems.hfsplus.catalog import (
    FILE,
    FOLDER,
    LINK_CHAIN,
    ROOT,
    Item,
    parse_item,
    record_kind,
    record_name,
    thread_name,
)  # fmt: skip
from imgmount.filesystems.hfsplus.header import (
    NAME,
    ForkData,
    VolumeHeader,
    embedded,
    read_header,
)
from imgmount.filesystems.hfsplus.links import FILE_LINK, FILES, FOLDER_LINK, FOLDERS, Links
from imgmount.filesystems.hfsplus.nodes import BrokenLink, HfsPlusDirectory, node_of
from imgmount.filesystems.hfsplus.replay import Replay

log = logging.getLogger(__name__)

CATALOG_FILE, ALLOCATION_FILE, ATTRIBUTES_FILE = 4, 6, 8
DATA_FORK, RESOURCE_FORK = 0, 0xFF
PRIVATE: Final = (FILES, FOLDERS)  # in the root
BINARY: Final = 0xBC  # how names of an HFSX volume compare where case counts
_MAC_OS_9: Final = b"8.10"


class HfsPlusVolume(Filesystem):
    """An HFS+ or HFSX volume."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.cache = context.cache
        given = context.options.extra
        self.forks_choice = options.FORKS.of(given)
        self._stored = options.NAMES.of(given) == "stored"
        self._hidden = options.HIDDEN.is_on(given)
        inner = embedded(device)
        self.is_wrapped = inner is not None
        first = device if inner is None else inner
        self.replay = Replay(first, wanted=not NO_JOURNAL.is_on(given))
        self.device = self.replay.device
        self.header: VolumeHeader = read_header(self.device)
        self.uuid = volume_uuid(self.header.finder_info)
        self.places = SingleParent(NAME)
        self.blocks = Blocks(NAME, self.device, 0, self.header.block_size, self.header.blocks)
        self._extents: BTree | None = None
        self.allocation_fork, self.extents_fork, catalog, attributes, _ = self.header.forks
        file = self._fork(CATALOG_FILE, catalog, "the catalog")
        self.catalog = BTree(file, NAME, "catalog", 2, big_keys=True)
        self.attributes_tree = self._attributes_tree(attributes)
        self._attributes = Attributes(self, self.attributes_tree) if self.attributes_tree else None
        self.links = Links(self.catalog)
        self.is_case_sensitive = self.header.signature == b"HX" and self.catalog.header.compare == BINARY
        self.is_of_mac_os_x = self.header.mounted_by != _MAC_OS_9
        self.label = self._name()

    def _attributes_tree(self, fork: ForkData) -> BTree | None:
        if fork.size == 0:
            return None
        file = self._fork(ATTRIBUTES_FILE, fork, "the attributes")
        try:
            return BTree(file, NAME, "attributes", 4, big_keys=True)
        except ImageError as exc:
            log.warning("%s: the volume is read without extended attributes", exc)
            return None

    def extents_tree(self) -> BTree:
        """The extents overflow tree, opened when it is needed. Raises ``ImageError``."""
        if self._extents is None:
            fork = self.extents_fork
            file = self.blocks.fork(fork.size, fork.runs, "the extents overflow file")
            self._extents = BTree(file, NAME, "extents", 4, big_keys=True)
        return self._extents

    def _fork(self, number: int, fork: ForkData, name: str, kind: int = DATA_FORK) -> BlockDevice:
        return self.blocks.fork(fork.size, fork.runs, name, partial(self._overflow, number, kind))

    def _overflow(self, number: int, kind: int) -> Iterator[tuple[int, list[Run]]]:
        """(block of the fork, extents) of file ``number`` in the overflow tree. TN1150, HFSPlusExtentKey."""
        for raw, start, data, end in self.extents_tree().records(number):
            if raw[start + 2] == kind and start + 12 <= data <= end - 64:
                block = int.from_bytes(raw[start + 8 : start + 12], "big")
                numbers = memoryview(raw[data : data + 64])
                yield (
                    block,
                    [
                        (
                            int.from_bytes(numbers[n : n + 4], "big"),
                            int.from_bytes(numbers[n + 4 : n + 8], "big"),
                        )
                        for n in range(0, 64, 8)
                    ],
                )

    def allocation_file(self) -> BlockDevice:
        """The bitmap of allocation blocks."""
        return self._fork(ALLOCATION_FILE, self.allocation_fork, "the allocation file")

    def _name(self) -> str:
        """The volume's name, which the thread of its root has."""
        try:
            for record in self.catalog.records(ROOT):
                if record_kind(record) not in (FILE, FOLDER):
                    return shown(thread_name(record)[1], stored=self._stored)
        except ImageError as exc:
            log.warning("%s", exc)
        return ""

    @property
    def root(self) -> HfsPlusDirectory:
        for record in self.catalog.records(1):
            if record_kind(record) == FOLDER and (item := parse_item(record)).id == ROOT:
                return HfsPlusDirectory(self, item, None)
        raise FormatError(NAME, "the catalog has no root folder")

    def data_fork(self, item: Item) -> BlockDevice:
        """The data fork of a file as it is stored."""
        return self._fork(item.id, item.data, f"file {item.id}")

    def resource_fork(self, item: Item) -> BlockDevice:
        """The resource fork of a file as it is stored."""
        return self._fork(item.id, item.resource, f"the resource fork of file {item.id}", RESOURCE_FORK)

    def attribute(self, item: Item, name: str) -> BlockDevice | None:
        """One extended attribute, if there is one. Raises ``ImageError``."""
        return self._attributes.find(item.id, name) if self._attributes else None

    def attribute_values(self, item: Item) -> Iterator[tuple[str, bytes]]:
        """(name for Linux, value) of the extended attributes that Linux has room for."""
        for name, value in self._attributes.of(item.id) if self._attributes else ():
            hidden = item.is_compressed and name == decmpfs.ATTRIBUTE
            if value.size <= forks.MAX_ATTRIBUTE and not hidden:
                yield f"user.{name}", value.pread(0, value.size)

    def is_linked(self, item: Item) -> bool:
        """Whether ``item`` is what hard links lead to: its ``special`` counts them."""
        return bool(item.flags & LINK_CHAIN) or item.special > 1

    def entries(self, folder: int, through: tuple[int, ...]) -> Iterator[tuple[str, Node]]:
        """(name, node) of what ``folder`` holds. What is damaged is raised when the others were given."""
        damage: FormatError | None = None
        for record in self.catalog.records(folder):
            if record_kind(record) not in (FILE, FOLDER):
                continue
            try:
                stored = record_name(record)
                item = parse_item(record)
            except FormatError as exc:
                damage = damage or exc
                continue
            if folder != ROOT or self._hidden or stored not in PRIVATE:
                yield shown(stored, stored=self._stored), self._node(item, (folder, stored), through)
        if damage is not None:
            raise damage

    def _node(self, item: Item, place: tuple[int, str], through: tuple[int, ...]) -> Node:
        mark = item.mark if item.kind == FILE else b""
        try:
            if mark == FILE_LINK:
                return node_of(self, self.links.file(item.special), place, through)
            if mark == FOLDER_LINK and item.flags & LINK_CHAIN:
                target = self.links.folder(item.special)
                place = (self.links.folder_number(FOLDERS), f"dir_{item.special}")
                return HfsPlusDirectory(self, target, place, (*through, target.id))
        except ImageError as exc:
            return BrokenLink(item.id, exc)
        return node_of(self, item, place, through)

    def info(self) -> Mapping[str, str]:
        return facts.facts(self)
