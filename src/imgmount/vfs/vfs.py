"""Paths to nodes, with the listings of recently visited directories kept, bounded by the number of entries."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from errno import ENOENT
from typing import Final

from imgmount.core.node import Directory, Listing, Node, as_directory

log = logging.getLogger(__name__)

MAX_ENTRIES: Final = 20_000  # kept in memory: about 8 MB
SPACE_BITS: Final = 48  # of an inode number; the volume's number stands above them


class Vfs:
    """One tree of files over an image. Paths begin with ``/``; any number of threads may ask."""

    def __init__(self, root: Directory, spaces: Mapping[str, int], notes: Sequence[str], size: int) -> None:
        self.root = root
        self.notes = notes
        self.size = size
        self._spaces = spaces
        self._lock = threading.Lock()
        self._listings: OrderedDict[str, Listing] = OrderedDict()
        self._entries = 0

    def find(self, path: str) -> Node:
        """The node at ``path``. Raises ``FileNotFoundError``, ``NotADirectoryError``, ``ImageError``."""
        parent, _, name = path.rpartition("/")
        if not name:
            return self.root
        listing = self.listing(parent)
        try:
            return listing[name]
        except FileNotFoundError:
            if listing.damage is not None:  # absent, or lost with the damage: not for us to say
                raise listing.damage from None
            raise FileNotFoundError(ENOENT, "No such file or directory", path) from None

    def listing(self, path: str) -> Listing:
        """The directory at ``path``, read once as long as it is remembered."""
        with self._lock:
            known = self._listings.get(path)
            if known is not None:
                self._listings.move_to_end(path)
                return known
        listing = as_directory(self.find(path), path).listing()
        if listing.damage is not None:
            log.warning("%s: %s", path or "/", listing.damage)
        self._remember(path, listing)
        return listing

    def _remember(self, path: str, listing: Listing) -> None:
        with self._lock:
            if path in self._listings:
                return
            self._listings[path] = listing
            self._entries += len(listing.nodes)
            while self._entries > MAX_ENTRIES and len(self._listings) > 1:
                _, old = self._listings.popitem(last=False)
                self._entries -= len(old.nodes)

    def space(self, path: str) -> int:
        """What to add to the ids of the nodes in the directory at ``path`` to number them across volumes."""
        top = path.split("/", 2)[1] if path.startswith("/") else ""
        return self._spaces.get(top, 0) << SPACE_BITS

    def inode(self, path: str, node: Node) -> int:
        """A number for the node at ``path``, the same in every mount; 0 is not used."""
        return (self.space(path) | node.id) + 1

    def walk(self, path: str = "") -> Iterator[tuple[str, Node]]:
        """(path, node) of everything below the directory at ``path``, parents first. Damage is logged and passed over."""
        for name, node in self.listing(path).nodes.items():
            below = f"{path}/{name}"
            yield below, node
            if isinstance(node, Directory):
                yield from self.walk(below)
