"""A type of files in the words of freedesktop.org: a name, what files are called, marks in the content."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from imgmount.core.format import Magic
from imgmount.registry import TABLES, load

MIN_MAGIC: Final = 4  # bytes: a shorter one proves too little by itself
SNIFFED: Final = 0x4000  # of a file's start: what Qt reads; GLib reads a quarter of it
DISK: Final = "drive-harddisk"


class Mark(NamedTuple):
    """``data`` at ``offset`` or up to ``reach`` behind it; only the bits of ``mask`` count."""

    offset: int
    data: bytes
    mask: bytes = b""
    reach: int = 0


Sign = tuple[Mark, ...]  # all of these must be there


class FileType(NamedTuple):
    """One type. ``formats`` are those of the registry whose files have it.

    ``comment`` is empty where freedesktop.org's database has the type already: then these are additions.
    ``globs`` are names; ``weak`` are names that others have a better right to. The content is told by the
    registry's magics that are proof and by ``more``, or by ``only`` these. From 80 on, ``priority`` puts
    content before names. ``also`` are other names of the type. ``shared`` marks files that people mostly want
    another program for, an editor or an archiver: mounting is offered in menus only.
    """

    name: str
    formats: tuple[str, ...]
    comment: str = ""
    icon: str = DISK
    globs: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    more: tuple[Sign, ...] = ()
    only: tuple[Sign, ...] | None = None
    priority: int = 50
    parent: str = ""
    also: tuple[str, ...] = ()
    shared: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and the others that it has had."""
        return (self.name, *self.also)

    def all_signs(self) -> Iterator[Sign]:
        """What tells the content of such a file."""
        if self.only is not None:
            yield from self.only
            return
        for magic in _magics(self.formats):
            if len(magic.data) >= MIN_MAGIC and 0 <= magic.offset < SNIFFED:
                yield (Mark(*magic),)
        yield from self.more


def _magics(formats: Collection[str]) -> Iterator[Magic]:
    """The magics of formats, each once."""
    entries = ((load(kind, entry.module), entry) for kind, (_, table) in TABLES.items() for entry in table)
    magics = [magic for fmt, entry in entries if fmt.name in formats for magic in entry.magics]
    yield from dict.fromkeys(magics)
