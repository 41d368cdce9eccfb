"""The files of a split set, opened from any of them, and the other WIMs that have what a delta WIM lacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.errors import ImageError, MissingPartError
from imgmount.filesystems.wim.blobs import Part
from imgmount.filesystems.wim.header import Header

MAX_PARTS: Final = 4096
MAX_LOOKED_AT: Final = 256  # files in the image's folder
SUFFIXES: Final = (".wim", ".esd", ".swm")


class Parts:
    """The parts of a set in order, the first always, and the numbers of those that are ``missing``."""

    def __init__(self, device: BlockDevice, header: Header, context: Context) -> None:
        """Find the parts. Raises ``MissingPartError`` where the first is absent: it has the directories."""
        self._context = context
        self._guid = header.guid
        self._count = header.parts
        self._given = header.part
        found = {header.part: Part(device, header)}
        for number in range(1, min(header.parts, MAX_PARTS) + 1):
            if number not in found and (part := self._named(number)) is not None:
                found[number] = part
        if len(found) < header.parts:
            self._search(found)
        if 1 not in found:
            name = self._name(1)
            where = "it has the directories of all; put it beside this one, or name its folder with --refs"
            raise MissingPartError(f"wim: {name!r}, part 1 of {header.parts}, is missing: {where}")
        self.found = [found[number] for number in sorted(found)]
        self.missing = [number for number in range(1, header.parts + 1) if number not in found]

    def _name(self, number: int) -> str:
        """What part ``number`` is called: ``install.swm``, ``install2.swm``, ``install3.swm``."""
        stem, dot, suffix = self._context.path.name.rpartition(".")
        if self._given > 1:
            stem = stem.removesuffix(str(self._given))
        return f"{stem}{number if number > 1 else ''}{dot}{suffix}"

    def _named(self, number: int) -> Part | None:
        part = self._open(self._name(number))
        return part if part is not None and self._belongs(part) and part.header.part == number else None

    def _belongs(self, part: Part) -> bool:
        return part.header.guid == self._guid and part.header.parts == self._count

    def _search(self, found: dict[int, Part]) -> None:
        """Look for parts that are called otherwise."""
        suffix = self._context.path.suffix.lower()
        names = [name for name in self._context.siblings.names() if name.lower().endswith(suffix)]
        for name in names[:MAX_LOOKED_AT]:
            part = self._open(name)
            if part is not None and self._belongs(part):
                found.setdefault(part.header.part, part)

    def _open(self, name: str) -> Part | None:
        try:
            device = self._context.siblings.open(name)
            return Part(device, Header.read(device))
        except ImageError:
            return None

    def others(self) -> Iterator[Part]:
        """Other WIMs, beside this one or in a folder of ``--refs``: they may have what this one lacks."""
        names = [name for name in self._context.siblings.names() if name.lower().endswith(SUFFIXES)]
        mine = {part.header.guid for part in self.found}
        for name in names[:MAX_LOOKED_AT]:
            part = self._open(name)
            if part is not None and part.header.guid not in mine:
                yield part
