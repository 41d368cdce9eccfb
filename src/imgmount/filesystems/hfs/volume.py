"""An HFS volume: its two trees, and what they say of a folder. Inside Macintosh: Files, chapter 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.node import Filesystem, Node
from imgmount.core.single_parent import SingleParent
from imgmount.errors import FormatError
from imgmount.families.apple import options
from imgmount.families.apple.btree import BTree
from imgmount.families.apple.extents import Blocks, Run
from imgmount.families.apple.identity import volume_uuid
from imgmount.families.apple.names import decoded, shown
from imgmount.families.apple.times import hfs_time_ns
from imgmount.filesystems.hfs.catalog import ROOT, SCRIPT_AT, Item, parse_item, record_name
from imgmount.filesystems.hfs.header import (
    INCONSISTENT,
    NAME,
    PLACE,
    SECTOR,
    UNMOUNTED,
    parse_runs,
    read_block,
)
from imgmount.filesystems.hfs.nodes import HfsDirectory, HfsFile

CATALOG_FILE: Final = 4
DATA_FORK, RESOURCE_FORK = 0, 0xFF


class HfsVolume(Filesystem):
    """An HFS volume."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        self.forks_choice = options.FORKS.of(context.options.extra)
        self._encoding = context.options.encoding
        self._stored = options.NAMES.of(context.options.extra) == "stored"
        self.header = block = read_block(device)
        self.label = self._shown(block.name[1 : 1 + block.name[0]], 0)
        self.uuid = volume_uuid(block.finder_info)
        self.places = SingleParent(NAME)
        self.blocks = Blocks(NAME, device, block.first_block * SECTOR, block.block_size, block.blocks)
        runs = parse_runs(block.extents_runs)
        file = self.blocks.fork(block.extents_size, runs, "the extents overflow file")
        self.extents = BTree(file, NAME, "extents", 2, big_keys=False)
        file = self._fork(CATALOG_FILE, block.catalog_size, parse_runs(block.catalog_runs), "the catalog")
        self.catalog = BTree(file, NAME, "catalog", 2, big_keys=False)

    def _fork(self, number: int, size: int, runs: list[Run], name: str, kind: int = DATA_FORK) -> BlockDevice:
        return self.blocks.fork(size, runs, name, partial(self._overflow, number, kind))

    def _overflow(self, number: int, kind: int) -> Iterator[tuple[int, list[Run]]]:
        """(block of the fork, extents) of file ``number`` in the overflow tree."""
        for raw, start, data, end in self.extents.records(number):
            if raw[start + 1] == kind and start + 8 <= data <= end - 12:
                yield raw[start + 6] << 8 | raw[start + 7], parse_runs(raw[data : data + 12])

    def _shown(self, raw: bytes, script: int) -> str:
        return shown(decoded(raw, self._encoding, script), stored=self._stored)

    @property
    def root(self) -> HfsDirectory:
        for record in self.catalog.records(1):
            item = parse_item(record)
            if item is not None and item.is_folder and item.id == ROOT:
                return HfsDirectory(self, item, None)
        raise FormatError(NAME, "the catalog has no root folder")

    def data_fork(self, item: Item) -> BlockDevice:
        """The data fork of a file."""
        size, _, runs = item.data
        return self._fork(item.id, size, runs, f"file {item.id}")

    def resource_fork(self, item: Item) -> BlockDevice:
        """The resource fork of a file."""
        size, _, runs = item.resource
        return self._fork(item.id, size, runs, f"the resource fork of file {item.id}", RESOURCE_FORK)

    def entries(self, folder: int) -> Iterator[tuple[str, Node]]:
        """(name, node) of what ``folder`` holds. What is damaged is raised when the others were given."""
        damage: FormatError | None = None
        for record in self.catalog.records(folder):
            try:
                item = parse_item(record)
                if item is None:
                    continue
                raw = record_name(record)
            except FormatError as exc:
                damage = damage or exc
                continue
            name = self._shown(raw, item.finder[SCRIPT_AT])
            yield name, HfsDirectory(self, item, (folder, raw)) if item.is_folder else HfsFile(self, item)
        if damage is not None:
            raise damage

    def info(self) -> Mapping[str, str]:
        block = self.header
        clean = block.attributes & UNMOUNTED and not block.attributes & INCONSISTENT
        facts = {
            "label": self.label,
            "UUID": self.uuid,
            "blocks": f"{block.blocks} of {block.block_size} bytes, {block.free_blocks} free",
            "files": f"{block.files}, folders: {block.folders}",
            "created": _moment(block.created),
            "modified": _moment(block.modified),
            "state": "clean" if clean else "not unmounted",
        }
        if block.place != PLACE:
            facts["header"] = f"damaged, read from the copy at {block.place:#x}"
        return {key: value for key, value in facts.items() if value}


def _moment(seconds: int) -> str:
    if not seconds:
        return ""
    return f"{datetime.fromtimestamp(hfs_time_ns(seconds) // 10**9, UTC):%Y-%m-%d %H:%M:%S}"
