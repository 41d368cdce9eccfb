"""Deleted files: where they are found, and what of their space can still be theirs.

What a format knows of one is served; what it takes to be so is told by ``Node.guess``. Space that is in use
by another file fails to be read. Space that was used and is free again looks like space that never was.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final, NamedTuple

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.node import DIRECTORY_MODE, Directory, Node, Stat
from imgmount.errors import FormatError, ImageError

MAX_FOLDERS: Final = 1 << 20
_STEP: Final = 1 << 10  # units looked at together

FirstUsed = Callable[[int, int], int | None]  # of so many units from a number on; raises ``ImageError``


class FreeSpace(MappedDevice):
    """A volume of which nothing can be read but what no file has.

    Its units ("cluster") of ``size`` bytes are numbered; number 0 would begin at ``base``.
    """

    def __init__(
        self, device: BlockDevice, fmt: str, unit: str, size: int, *, first_used: FirstUsed, base: int = 0
    ) -> None:
        self.size = device.size
        self.block_size = size
        self._device = device
        self._fmt = fmt
        self._unit = unit
        self._first_used = first_used
        self._base = base
        self._left = 2 * device.size

    def spend(self, size: int) -> None:
        """Count bytes of folders that are looked through: more than a volume has are the same ones again.

        Raises ``FormatError``.
        """
        self._left -= size
        if self._left < 0:
            raise FormatError(self._fmt, "deleted folders of more bytes than the volume has")

    def _map(self, offset: int) -> Extent:
        number, skip = divmod(offset - self._base, self.block_size)
        count = max(1, min(_STEP, (self.size - offset + skip) // self.block_size))
        try:
            used = self._first_used(number, count)
        except FormatError:
            used, count = self._first_used(number, 1), 1  # the last ones of a volume
        if used == number:
            raise FormatError(self._fmt, f"{self._unit} {number} of a deleted file is in use by another")
        free = count if used is None else used - number
        return Extent(free * self.block_size - skip, self._device, offset)


class Found(NamedTuple):
    """An entry of a folder: ``node`` is None where it is not deleted.

    ``below`` is what to look into, if it is a folder, and ``key`` what tells it from others.
    """

    name: str
    node: Node | None
    below: Any = None
    key: Hashable = None


def walk(top: Found, look: Callable[[Any], Iterator[Found]]) -> Iterator[tuple[str, Node]]:
    """(path, node) of the deleted entries that ``look`` finds in ``top`` and the folders below it.

    What is damaged ends where it is.
    """
    pending, seen = [("", top.below)], {top.key}
    while pending:
        path, folder = pending.pop()
        try:
            for name, node, below, key in look(folder):
                here = path + name.replace("/", "\N{DIVISION SLASH}")
                if node is not None:
                    yield here, node
                if below is not None and key not in seen and len(seen) < MAX_FOLDERS:
                    seen.add(key)
                    pending.append((here + "/", below))
        except ImageError:
            continue


class DeletedFolder(Directory):
    """A folder that was deleted. What it held is found by its path."""

    __slots__ = ("_stat", "guess")
    guess: str

    def __init__(self, number: int, stat: Stat, guess: str = "") -> None:
        self.id = number
        self._stat = stat
        self.guess = guess

    def stat(self) -> Stat:
        return self._stat._replace(mode=DIRECTORY_MODE | self._stat.mode, nlink=2)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        return iter(())
