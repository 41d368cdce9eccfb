"""An ISO 9660 volume: which trees it has, which one is shown, and where their roots are."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Iterator, Mapping
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.fields import NS, utc_text
from imgmount.core.format import Context
from imgmount.core.header import one_of
from imgmount.core.node import Filesystem
from imgmount.errors import FormatError, MountError
from imgmount.filesystems.iso9660 import susp
from imgmount.filesystems.iso9660.descriptors import (
    FIRST_SECTOR,
    NAME,
    PRIMARY,
    SECTOR,
    Descriptor,
    descriptors,
)
from imgmount.filesystems.iso9660.lost_descriptor import is_lost, rebuilt
from imgmount.filesystems.iso9660.nodes import IsoDirectory
from imgmount.filesystems.iso9660.records import DIRECTORY, MAX_PATH_TABLE, Names, PathEntry, path_table
from imgmount.filesystems.iso9660.tree import Tree
from imgmount.filesystems.iso9660.xa import open_sectors

log = logging.getLogger(__name__)

ROCK_RIDGE: Final = "rockridge"
JOLIET: Final = "joliet"
PLAIN: Final = "iso"
VIEWS: Final = (ROCK_RIDGE, JOLIET, PLAIN)  # best first
_BLOCK_SIZES: Final = (512, 1024, 2048)  # ECMA-119 6.2.2, and no larger than a sector
_TITLES: Final = {ROCK_RIDGE: "Rock Ridge", JOLIET: "Joliet", PLAIN: "ISO 9660"}


class Iso9660(Filesystem):
    """A volume on ``device``.

    ``session_start`` is the sector of the device in which the session begins (its descriptors are 16 sectors
    further); ``session_base`` is the block address that the device's first block has on the disc. Where the
    device is the whole disc the latter is 0; where it is one session of a disc, both the session's tracks and
    its addresses begin at ``session_base``.
    """

    def __init__(
        self, device: BlockDevice, context: Context, *, session_start: int = 0, session_base: int = 0
    ) -> None:
        self.device = device
        self.session_start = session_start
        self._context = context
        self._session_base = session_base
        self._xa = open_sectors(device, context)
        found = list(descriptors(device, session_start + FIRST_SECTOR))
        self.primary = next((one for one in found if one.type == PRIMARY), None)
        self.joliet = next((one for one in found if one.joliet), None)
        self.primary_is_lost = self.primary is None and is_lost(device, session_start)
        if self.primary_is_lost:
            self.primary = rebuilt(device, session_start)
            log.warning("%s: the primary volume descriptor is lost: the root directory was looked for", NAME)
        if not (self.primary or self.joliet):
            raise FormatError(
                NAME,
                "no primary or Joliet volume descriptor is found",
                offset=(session_start + FIRST_SECTOR) * SECTOR,
            )
        self._encoding = _known_encoding(context.options.encoding)
        self._roots = self._open_trees()
        self.view = self._choose()
        self.descriptor = self._described(self.view)
        names = Names(self._encoding, joliet=self.descriptor.joliet)
        self.label = names.text(self.descriptor.volume_id)

    @property
    def root(self) -> IsoDirectory:
        return self._roots[self.view]

    @property
    def views(self) -> tuple[str, ...]:
        """The namespaces that this volume has, best first."""
        return tuple(view for view in VIEWS if view in self._roots)

    def tree_root(self, view: str) -> IsoDirectory:
        """The root directory in one of ``views``."""
        return self._roots[view]

    def _described(self, view: str) -> Descriptor:
        described = self.joliet if view == JOLIET else self.primary
        assert described is not None
        return described

    def _choose(self) -> str:
        wanted = self._context.options.fs
        if wanted not in VIEWS:
            return self.views[0]
        if wanted not in self._roots:
            raise MountError(
                f"{NAME}: this volume has no {_TITLES[wanted]} names, only {_listed(self.views)}"
            )
        return wanted

    def _open_trees(self) -> dict[str, IsoDirectory]:
        roots = {}
        broken: FormatError | None = None
        for view, descriptor in ((PLAIN, self.primary), (JOLIET, self.joliet)):
            try:
                if descriptor is not None:
                    roots[view] = self._find_root(descriptor)
            except FormatError as exc:
                log.warning("%s: %s tree: %s", NAME, _TITLES[view], exc.reason)
                broken = exc
        if not roots:
            raise broken or FormatError(NAME, "no root directory is found")
        if PLAIN in roots and (root := self._rock_ridge_root(roots[PLAIN])):
            roots[ROCK_RIDGE] = root
        return roots

    def _new_tree(self, descriptor: Descriptor) -> Tree:
        one_of(NAME, "block size", descriptor.block_size, _BLOCK_SIZES, offset=descriptor.offset)
        return Tree(
            self.device,
            self._context.cache,
            Names(self._encoding, joliet=descriptor.joliet),
            block_size=descriptor.block_size,
            session_base=self._session_base,
            high_sierra=descriptor.high_sierra,
            volume_time=descriptor.modified_ns or descriptor.created_ns,
            xa=self._xa if descriptor.block_size == SECTOR else None,
        )

    def _find_root(self, descriptor: Descriptor) -> IsoDirectory:
        """The root that the descriptor names, or else the one that a path table names."""
        tree = self._new_tree(descriptor)
        _, xar, extent, size, _, flags, *_ = tree.layout.unpack_from(descriptor.root)
        if tree.own_record(extent + xar) is not None and flags & DIRECTORY:
            return tree.root(descriptor.root_offset, extent + xar, size, descriptor.root)
        for order in ("little", "big"):
            entry = next(self.path_table(descriptor, order), None)
            if entry is None or (own := tree.own_record(entry.extent + entry.xar)) is None:
                continue
            log.warning("%s: broken root record, root found through the path table", NAME)
            return tree.root(descriptor.root_offset, entry.extent + entry.xar, own[1][3], descriptor.root)
        if not (descriptor.joliet or descriptor.high_sierra or self._session_base or descriptor.rebuilt):
            found = rebuilt(self.device, self.session_start)
            if found is not None:
                log.warning("%s: broken root record and path tables, the root directory was looked for", NAME)
                return self._find_root(found._replace(offset=descriptor.offset))
        if size and 0 <= tree.offset(extent + xar) < self.device.size:
            return tree.root(descriptor.root_offset, extent + xar, size, descriptor.root)
        raise FormatError(
            NAME,
            "neither the root record nor a path table leads to a directory",
            offset=descriptor.root_offset,
        )

    def path_table(self, descriptor: Descriptor, order: str) -> Iterator[PathEntry]:
        """The entries of the path table in that byte order, as many as can be read."""
        block = descriptor.path_table_l if order == "little" else descriptor.path_table_m
        offset = (block - self._session_base) * descriptor.block_size
        size = min(descriptor.path_table_size, MAX_PATH_TABLE)
        data = self.device.pread(offset, size) if offset > 0 else b""
        return path_table(data, order, high_sierra=descriptor.high_sierra)

    def _rock_ridge_root(self, plain: IsoDirectory) -> IsoDirectory | None:
        assert self.primary is not None
        head = self.device.pread(max(0, plain.tree.offset(plain.start)), min(plain.size, 2 * SECTOR))
        skip = susp.rock_ridge_skip(head, plain.tree.layout, plain.tree.read_area)
        if skip is None:
            return None
        tree = self._new_tree(self.primary)
        tree.skip = skip
        return tree.root(plain.id, plain.start, plain.size, self.primary.root)

    def info(self) -> Mapping[str, str]:
        described = self.descriptor
        text = Names(self._encoding, joliet=described.joliet).text
        facts = {
            "volume id": text(described.volume_id),
            "system id": text(described.system_id),
            "publisher": text(described.publisher),
            "preparer": text(described.preparer),
            "application": text(described.application),
            "created": _date(described.created_ns),
            "modified": _date(described.modified_ns),
            "names": f"{_TITLES[self.view]} (of {_listed(self.views)})",
            "standard": "High Sierra" if described.high_sierra else "",
            "block size": str(described.block_size),
        }
        needed = described.space_size * described.block_size + self._missing_base()
        if needed > self.device.size:
            facts["truncated"] = f"the volume has {needed} bytes, the image {self.device.size}"
        return {key: value for key, value in facts.items() if value}

    def _missing_base(self) -> int:
        return -self._session_base * self.descriptor.block_size


def _listed(views: tuple[str, ...]) -> str:
    return ", ".join(_TITLES[view] for view in views)


def _date(time_ns: int) -> str:
    return utc_text(time_ns // NS) if time_ns else ""


def _known_encoding(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise MountError(f"no character encoding is called {name!r}") from None
