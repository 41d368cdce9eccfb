"""Directory records, their names, and path tables. ECMA-119 sections 9.1 and 9.4."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from operator import methodcaller
from struct import Struct
from typing import Final, NamedTuple

from imgmount.filesystems.iso9660.descriptors import NAME, SECTOR

log = logging.getLogger(__name__)

HEADER_SIZE: Final = 33  # bytes ahead of the identifier
# length, XAR length, extent, size, time, flags, unit size, gap size, identifier length: of both-endian pairs
# the LE half
ISO_RECORD: Final = Struct("<BBI4xI4x7sBBB4xB")
HIGH_SIERRA_RECORD: Final = Struct("<BBI4xI4x6sBxBB4xB")

HIDDEN: Final = 0x01  # flags, ECMA-119 9.1.6
DIRECTORY: Final = 0x02
ASSOCIATED: Final = 0x04
MULTI_EXTENT: Final = 0x80
_DIRECTORY_OR_MULTI: Final = DIRECTORY | MULTI_EXTENT

Fields = tuple[int, int, int, int, bytes, int, int, int, int]


class Section(NamedTuple):
    """One extent of a file: block address of its data, bytes, and the interleave in blocks (0: none)."""

    start: int
    size: int
    unit: int = 0
    gap: int = 0
    xar: int = 0  # blocks of extended attribute record, already skipped by ``start``


def section(fields: Fields) -> Section:
    """Where the data of a record lies."""
    _, xar, extent, size, _, _, unit, gap, _ = fields
    return Section(extent + xar, size, unit, gap, xar)


def records(data: bytes, layout: Struct) -> Iterator[tuple[int, Fields, tuple[Fields, ...]]]:
    """(position, fields, sections) of each file or directory.

    ``sections`` are all records of a file with several, else ().

    Where the final record of several is missing, the last one still has ``MULTI_EXTENT``. A damaged record
    ends its sector.
    """
    unpack, position, end = layout.unpack_from, 0, len(data) - HEADER_SIZE
    chain: list[tuple[int, Fields]] = []
    while position < end:
        if not data[position]:  # records do not cross sectors: the rest is padding
            position = (position // SECTOR + 1) * SECTOR
            continue
        fields: Fields = unpack(data, position)
        length = fields[0]
        if not 0 < fields[8] <= length - HEADER_SIZE or position + length > len(data):
            log.warning(
                "%s: directory record of %d bytes, name of %d: its sector ends here", NAME, length, fields[8]
            )
            position = (position // SECTOR + 1) * SECTOR
            continue
        if chain or fields[5] & _DIRECTORY_OR_MULTI == MULTI_EXTENT:
            if chain and identifier(data, *chain[0]) != identifier(data, position, fields):
                yield *chain[0], tuple(part for _, part in chain)
                chain = []
            chain.append((position, fields))
            if fields[5] & _DIRECTORY_OR_MULTI != MULTI_EXTENT:
                yield *chain[0], tuple(part for _, part in chain) if len(chain) > 1 else ()
                chain = []
        else:
            yield position, fields, ()
        position += length
    if chain:
        yield *chain[0], tuple(part for _, part in chain)


def identifier(data: bytes, position: int, fields: Fields) -> bytes:
    """The raw name of a record."""
    return data[position + HEADER_SIZE : position + HEADER_SIZE + fields[8]]


_UTF_16: Final[Callable[[bytes], str]] = methodcaller("decode", "utf-16-be", "replace")
_UTF_8: Final[Callable[[bytes], str]] = methodcaller("decode", "utf-8", "surrogateescape")


class Names:
    """How identifiers become names.

    They are UTF-16 (Joliet), in the user's charset, or UTF-8; bytes that are none become surrogates.
    """

    decode: Callable[[bytes], str]  # chosen once: it is called for each name

    def __init__(self, encoding: str | None, *, joliet: bool) -> None:
        self.encoding = encoding
        self.joliet = joliet
        self.decode = _UTF_16 if joliet else self._from_charset if encoding else _UTF_8

    def _from_charset(self, raw: bytes) -> str:
        assert self.encoding is not None
        try:
            return raw.decode(self.encoding)
        except UnicodeError:
            return _UTF_8(raw)

    def text(self, raw: bytes) -> str:
        """A padded field of a descriptor."""
        return self.decode(raw).split("\0", 1)[0].rstrip()

    def file_name(self, raw: bytes) -> tuple[str, int]:
        """(name, version): ``README.;1`` is ``README``, 1; a name without version has version 0."""
        name, version = self.decode(raw), 0
        if ";" in name:
            stem, _, number = name.rpartition(";")
            if stem and number.isascii() and number.isdigit():
                name, version = stem, int(number[:5])  # 1 to 32767
        # the dot is obligatory there, not part of the name
        if not self.joliet and name.endswith(".") and len(name) > 1:
            name = name[:-1]
        return name, version


class PathEntry(NamedTuple):
    """One directory of a path table; ``parent`` is the number of its parent's entry, counted from 1."""

    extent: int
    xar: int
    parent: int
    name: bytes


_ISO_PATH: Final = {"little": Struct("<BBIH"), "big": Struct(">BBIH")}
_HIGH_SIERRA_PATH: Final = {"little": Struct("<IBBH"), "big": Struct(">IBBH")}
MAX_PATH_TABLE: Final = 16 << 20


def path_table(data: bytes, order: str, *, high_sierra: bool) -> Iterator[PathEntry]:
    """The entries of a path table, up to the first that cannot be one."""
    layout = (_HIGH_SIERRA_PATH if high_sierra else _ISO_PATH)[order]
    position = 0
    while position + layout.size < len(data):
        if high_sierra:
            extent, xar, length, parent = layout.unpack_from(data, position)
        else:
            length, xar, extent, parent = layout.unpack_from(data, position)
        name = data[position + layout.size : position + layout.size + length]
        if not length or len(name) < length:
            return
        yield PathEntry(extent, xar, parent, name)
        position += layout.size + length + length % 2
