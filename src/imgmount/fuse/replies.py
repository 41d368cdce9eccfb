"""What the kernel is told of the entries of a directory, prepared in batches."""

from __future__ import annotations

import itertools
import marshal
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from imgmount.core.node import Node

BATCH: Final = 128  # entries
MAX_RECENT: Final = 64  # batches of one directory: 2.5 MB

Reply = bytes  # an entry as the kernel takes it


class Replies:
    """What the kernel is told of the entries of one listing, in batches.

    Those made last are kept as they are, the others compressed: they take a tenth of the memory, and a second
    reader pays a tenth of what making them costs. Any number of threads may ask.
    """

    __slots__ = ("_lock", "_next", "_nodes", "_pack", "_packed", "_recent", "_rest")

    def __init__(
        self, nodes: Mapping[str, Node], pack: Callable[[int, Iterable[tuple[str, Node]]], list[Reply]]
    ) -> None:
        """``pack`` is called with the place of the first entry and some entries."""
        self._nodes = nodes
        self._pack = pack
        self._lock = threading.Lock()
        self._recent: OrderedDict[int, list[Reply]] = OrderedDict()
        self._packed: dict[int, bytes] = {}
        self._rest = iter(nodes.items())
        self._next = 0  # the batch that ``_rest`` begins with

    def __getitem__(self, number: int) -> list[Reply]:
        """Batch ``number``; it is empty behind the last entry."""
        with self._lock:
            if (batch := self._recent.get(number)) is not None:
                return batch
            if (packed := self._packed.get(number)) is not None:
                return list(marshal.loads(zlib.decompress(packed)))  # noqa: S302  made below
            batch = self._made(number)
            if batch:
                self._recent[number] = batch
            if len(self._recent) > MAX_RECENT:
                old, replies = self._recent.popitem(last=False)
                self._packed[old] = zlib.compress(marshal.dumps(replies), 1)
            return batch

    def _made(self, number: int) -> list[Reply]:
        if number != self._next:
            self._rest = itertools.islice(self._nodes.items(), number * BATCH, None)
        self._next = number + 1
        return self._pack(number * BATCH, itertools.islice(self._rest, BATCH))
