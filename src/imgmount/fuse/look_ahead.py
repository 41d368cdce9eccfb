"""What a reader of folders will ask for next is made while nothing is asked: so it and we work at once.

That is the rest of the folder. For a reader that walks through a tree, as find, du and cp do, it is also the
beginning of the next one: the first in the folder, or the one behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from imgmount.core.node import Directory, Listing
from imgmount.fuse.inodes import PLACES, Folder, Inodes
from imgmount.fuse.protocol import ROOT
from imgmount.fuse.replies import Replies

AHEAD: Final = 16  # batches that are made before they are asked for
UNKNOWN, NONE = -1, 0  # numbers of the folder that comes next


class LookAhead:
    """Follows a reader of folders, and makes what it will ask for next, a step at a time."""

    def __init__(self, inodes: Inodes, replies_of: Callable[[Folder, Listing], Replies]) -> None:
        self._inodes = inodes
        self._replies_of = replies_of
        self._folder: Folder | None = None  # that is being read
        self._replies: Replies | None = None
        self._number = self._stop = 0  # of batches to be made
        self._next = UNKNOWN
        self._walks = False  # the next folder was the one that was expected

    def follow(self, folder: Folder, replies: Replies, number: int) -> None:
        """A reader has come to batch ``number`` of a folder."""
        if folder is not self._folder:
            self._walks = folder.node == self._next
            self._folder, self._next = folder, UNKNOWN
        if replies is not self._replies:
            self._replies, self._number = replies, 0
        self._number, self._stop = max(self._number, number + 1), number + 1 + AHEAD

    def step(self) -> bool:
        """Do one step. False if there is none. Raises ``OSError``, ``ImageError``."""
        if self._replies is not None:
            return self._make_batch(self._replies)
        if self._next == UNKNOWN and self._folder is not None:
            self._next = self._following(self._folder)
            if self._walks and self._next != NONE:
                self._replies_of(*self._inodes.folder(self._next))[0]
        return False

    def _make_batch(self, replies: Replies) -> bool:
        number = self._number
        if number >= self._stop:
            return False
        self._number = number + 1
        if not replies[number]:
            self._replies = None
        return True

    def _following(self, folder: Folder) -> int:
        """The number of the folder that a walk comes to after ``folder``."""
        number, place = folder.node, 0
        while True:
            folder, listing = self._inodes.folder(number)
            for offset, node in enumerate(islice(listing.nodes.values(), place, None), place):
                if isinstance(node, Directory):
                    return folder.first + offset
            if number == ROOT:
                return NONE
            number, place = self._inodes.parent(number), (number & PLACES) + 1
