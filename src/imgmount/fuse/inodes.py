"""Numbers by which the kernel calls nodes.

A number is that of the folder and the place in its listing, which is the same each time the folder is read.
So nothing is kept of a node that the kernel knows, and it may forget nodes without our keeping count. Of a
folder that was looked into its path is kept, and the order of its entries: should it read differently one
day, because the host's disk fails, the numbers that were given of it are void.
"""

from __future__ import annotations

import threading
from errno import ENOTDIR, ESTALE
from typing import Final, NamedTuple

from imgmount.core.node import Directory, Listing, Node
from imgmount.fuse.protocol import ROOT
from imgmount.vfs.vfs import Vfs, stored_name

PLACE_BITS: Final = 32
PLACES: Final = (1 << PLACE_BITS) - 1


class Folder(NamedTuple):
    """A folder as it was when it was read: its number, path, order of entries, number of its first entry."""

    node: int
    path: str
    order: int
    first: int


class Inodes:
    """The nodes of a tree by number. Any number of threads may ask."""

    def __init__(self, vfs: Vfs) -> None:
        self._vfs = vfs
        self._lock = threading.Lock()
        self._folders: list[Folder] = []
        self._newest: dict[int, Folder] = {}  # by number of the node

    def node(self, number: int) -> tuple[str, Node]:
        """(path, node). Raises ``OSError`` and ``ImageError``."""
        if number == ROOT:
            return "", self._vfs.root
        folder = self._folders[(number >> PLACE_BITS) - 1]
        listing = self._vfs.listing(folder.path)
        if listing.order != folder.order:
            raise OSError(ESTALE, "The folder reads differently now", folder.path)
        name = listing.names[number & PLACES]
        return f"{folder.path}/{name}", listing.nodes[name]

    def folder(self, number: int) -> tuple[Folder, Listing]:
        """The folder called ``number``, and what is in it.

        Raises ``NotADirectoryError``, ``OSError``, ``ImageError``.
        """
        folder = self._newest.get(number)
        path = self._path(number) if folder is None else folder.path
        listing = self._vfs.listing(path)
        if folder is None or folder.order != listing.order:
            with self._lock:
                folder = Folder(number, path, listing.order, (len(self._folders) + 1) << PLACE_BITS)
                self._folders.append(folder)
                self._newest[number] = folder
        return folder, listing

    def parent(self, number: int) -> int:
        """The number of the folder that a node is in, which is not the root."""
        return self._folders[(number >> PLACE_BITS) - 1].node

    def _path(self, number: int) -> str:
        path, node = self.node(number)
        if not isinstance(node, Directory):
            raise NotADirectoryError(ENOTDIR, "Not a directory", path)
        return path

    def lookup(self, number: int, name: str) -> tuple[int, str, Node]:
        """(number, path, node) of the entry called ``name`` in a folder.

        Raises ``OSError``, ``ImageError``.
        """
        folder, listing = self.folder(number)
        stored = stored_name(listing, f"{folder.path}/{name}", name)
        return folder.first + listing.place(stored), f"{folder.path}/{stored}", listing.nodes[stored]
