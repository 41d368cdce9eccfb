"""Resource forks of classic Mac OS files: a map of types, identifiers and names, and their data.

Source: Inside Macintosh, "More Macintosh Toolbox", 1-121. All integers are big endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError

HEADER: Final = struct.Struct(">4I")  # data offset, map offset, data length, map length
TYPE: Final = struct.Struct(">4sHH")  # type, count - 1, offset of its references from the type list
# identifier, name offset or NO_NAME, attributes and 24 bits of data offset
REFERENCE: Final = struct.Struct(">hHI")
REFERENCE_SIZE: Final = 12  # with the handle that follows
MAP_LISTS: Final = struct.Struct(">HH")  # offsets of the type and the name list, from the map's start
MAP_LISTS_AT: Final = 24
LENGTH: Final = 4  # bytes of the length before the data
NO_NAME: Final = 0xFFFF
MAX_MAP: Final = 4 << 20
MAX_RESOURCES: Final = 1 << 16
MAX_RESOURCE: Final = 17 << 20  # offsets of 24 bits


class Resource(NamedTuple):
    """One resource: where its data lies in the fork, with their length before them."""

    type: bytes
    id: int
    name: bytes
    offset: int


class ResourceFork:
    """The resources in ``fork``. Raises ``FormatError`` in the name of ``fmt`` where the map is damaged."""

    def __init__(self, fork: BlockDevice, fmt: str) -> None:
        self._fork = fork
        self._fmt = fmt
        data, place, _, length = HEADER.unpack(fork.read_exactly(0, HEADER.size, fmt))
        if length > MAX_MAP:
            raise FormatError(fmt, f"a resource map of {length} bytes", offset=12)
        self._map = fork.read_exactly(place, length, fmt)
        self._data = data
        try:
            self.resources: Sequence[Resource] = tuple(self._parse())
        except struct.error as exc:
            raise FormatError(fmt, "the resource map points past its own end", offset=place) from exc

    def _parse(self) -> Iterator[Resource]:
        types_at, names_at = MAP_LISTS.unpack_from(self._map, MAP_LISTS_AT)
        (last,) = struct.unpack_from(">H", self._map, types_at)
        found = 0
        for number in range((last + 1) & 0xFFFF):
            kind, final, place = TYPE.unpack_from(self._map, types_at + 2 + number * TYPE.size)
            for index in range(final + 1):
                at = types_at + place + index * REFERENCE_SIZE
                identifier, name_at, where = REFERENCE.unpack_from(self._map, at)
                found += 1
                if found > MAX_RESOURCES:
                    raise FormatError(self._fmt, f"more than {MAX_RESOURCES} resources")
                name = b"" if name_at == NO_NAME else self._name(names_at + name_at)
                yield Resource(kind, identifier, name, self._data + (where & 0xFF_FFFF))

    def _name(self, at: int) -> bytes:
        length = self._map[at : at + 1]
        return self._map[at + 1 : at + 1 + length[0]] if length else b""

    def find(self, kind: bytes, identifier: int | None = None) -> Resource | None:
        """The first resource of type ``kind``, with that identifier if one is wanted."""
        matching = (one for one in self.resources if one.type == kind and identifier in (None, one.id))
        return next(matching, None)

    def read(self, resource: Resource) -> bytes:
        """Its data. Raises ``FormatError`` where the fork ends first."""
        place = resource.offset
        size = int.from_bytes(self._fork.read_exactly(place, LENGTH, self._fmt), "big")
        if size > MAX_RESOURCE:
            kind = resource.type.decode("mac_roman")
            raise FormatError(self._fmt, f"resource {kind!r} {resource.id} of {size} bytes", offset=place)
        return self._fork.read_exactly(place + LENGTH, size, self._fmt)
