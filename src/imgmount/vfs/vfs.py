"""Paths to nodes. Listings of directories visited last are kept, up to a number of entries.

Long ones and short ones are counted apart: a walk through the many folders of a long directory would push it
out again and again, and each of them would cost reading it. A long one goes for another long one alone.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from errno import ENOENT
from typing import Final

from imgmount.core.node import Directory, File, Listing, Node, as_directory
from imgmount.errors import ImageError
from imgmount.vfs.nodes import StreamFolder

log = logging.getLogger(__name__)

MAX_ENTRIES: Final = 80_000  # kept in memory of long directories, and of short ones: about 20 MB each
LONG: Final = 20_000  # entries
MAX_DEPTH: Final = 500  # limit of a walk: paths deeper than about 2000 cannot be named anyway
NAMED_FORK: Final = "..namedfork"  # below a file: the folder of its other streams, as macOS calls it
SPACE_BITS: Final = 48  # bits of an inode number below the number of the volume

Problem = Callable[[str, ImageError], None]  # called with the path that is damaged


class _Recent:
    """The listings that were used last, up to MAX_ENTRIES; the very last, however long it is."""

    def __init__(self) -> None:
        self._listings: OrderedDict[str, Listing] = OrderedDict()
        self._entries = 0

    def get(self, path: str) -> Listing | None:
        listing = self._listings.get(path)
        if listing is not None:
            self._listings.move_to_end(path)
        return listing

    def keep(self, path: str, listing: Listing) -> None:
        self._listings[path] = listing
        self._entries += len(listing.nodes)
        while self._entries > MAX_ENTRIES and len(self._listings) > 1:
            _, old = self._listings.popitem(last=False)
            self._entries -= len(old.nodes)


class Vfs:
    """One tree of files over an image. Paths begin with ``/``; any number of threads may ask."""

    def __init__(self, root: Directory, spaces: Mapping[str, int], notes: Sequence[str], size: int) -> None:
        self.root = root
        self.notes = notes
        self.size = size
        self._spaces = spaces
        self._lock = threading.Lock()
        self._readers: dict[str, threading.Lock] = {}  # of directories that are being read
        self._short, self._long = _Recent(), _Recent()

    def find(self, path: str) -> Node:
        """The node at ``path``. Raises ``FileNotFoundError``, ``NotADirectoryError``, ``ImageError``."""
        parent, _, name = path.rpartition("/")
        if not name:
            return self.root
        listing = self.listing(parent)
        return listing.nodes[stored_name(listing, path, name)]

    def listing(self, path: str) -> Listing:
        """The directory at ``path``, read once as long as it is remembered, also when several want it."""
        while True:
            with self._lock:
                known = self._short.get(path) or self._long.get(path)
                if known is not None:
                    return known
                if (other := self._readers.get(path)) is None:
                    mine = self._readers[path] = threading.Lock()
                    mine.acquire()
                    break
            with other:  # it has been read, or could not be, when the other lets go
                pass
        try:
            return self._read(path)
        finally:
            with self._lock:
                del self._readers[path]
            mine.release()

    def _read(self, path: str) -> Listing:
        node = self.find(path)
        if isinstance(node, File) and (streams := node.streams()):
            node = StreamFolder(node, {NAMED_FORK: StreamFolder(node, streams)})
        listing = as_directory(node, path).listing()
        if listing.damage is not None:
            log.warning("%s: %s", path or "/", listing.damage)
        with self._lock:
            (self._short if len(listing.nodes) < LONG else self._long).keep(path, listing)
        return listing

    def space(self, path: str) -> int:
        """What is added to the ids of the nodes in the directory at ``path``: no two volumes share one."""
        top = path.split("/", 2)[1] if path.startswith("/") else ""
        return self._spaces.get(top, 0) << SPACE_BITS

    def inode(self, path: str, node: Node) -> int:
        """A number for the node at ``path``, the same in every mount; 0 is not used."""
        return (self.space(path) | node.id) + 1

    def walk(self, path: str = "", problem: Problem | None = None) -> Iterator[tuple[str, Node]]:
        """(path, node) of everything below the directory at ``path``, parents first.

        A directory that holds itself is not entered again. Damage goes to ``problem(path, error)``, or to the
        log.
        """
        problem = problem or _log_problem
        root = as_directory(self.find(path), path)
        ancestors = [self.inode(path, root)]
        levels = [_reported(path, root, problem)]
        while levels:
            below, node = next(levels[-1], ("", None))
            if node is None:
                levels.pop()
                ancestors.pop()
                continue
            yield below, node
            if isinstance(node, Directory):
                inode = self.inode(below, node)
                if inode in ancestors:
                    problem(below, ImageError("a directory that holds itself"))
                elif len(levels) == MAX_DEPTH:
                    problem(
                        below, ImageError(f"a directory {MAX_DEPTH} levels deep: its content is left out")
                    )
                else:
                    ancestors.append(inode)
                    levels.append(_reported(below, node, problem))


def stored_name(listing: Listing, path: str, name: str) -> str:
    """``name`` as ``listing`` has it, for the node at ``path``. Raises as ``Vfs.find``."""
    try:
        return listing.stored(name)
    except FileNotFoundError:
        if listing.damage is not None:  # it may be absent or lost with the damage
            raise listing.damage.again() from None
        raise FileNotFoundError(ENOENT, "No such file or directory", path) from None


def _reported(path: str, directory: Directory, problem: Problem) -> Iterator[tuple[str, Node]]:
    listing = directory.listing()
    if listing.damage is not None:
        problem(path, listing.damage)
    for name, node in listing.nodes.items():
        yield f"{path}/{name}", node


def _log_problem(path: str, error: ImageError) -> None:
    log.warning("%s: %s", path or "/", error)
