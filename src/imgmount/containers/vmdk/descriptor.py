"""The text that describes a VMware disk: its kind, its extents in order, its parent."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final, Self

from imgmount.errors import FormatError

MAX_DESCRIPTOR: Final = 1 << 20  # a disk of 16 TiB in files of 2 GiB has one of half a megabyte
MAX_EXTENTS: Final = 16384
NO_PARENT: Final = 0xFFFF_FFFF
FIRST_LINE: Final = re.compile(rb"#\s*disk\s*descriptorfile", re.IGNORECASE)
_EXTENT = re.compile(r'(RW|RDONLY|NOACCESS)\s+(\d+)\s+(\w+)(?:\s+"([^"]*)"(?:\s+(\d+))?)?', re.IGNORECASE)
_SETTING = re.compile(r'([\w.]+)\s*=\s*"?([^"]*)"?\s*$')


@dataclass(frozen=True, slots=True)
class ExtentLine:
    """A line such as ``RW 4192256 SPARSE "disk-s001.vmdk"``; ``sectors`` and ``start`` in sectors of 512 bytes."""

    access: str
    sectors: int
    kind: str
    name: str
    start: int


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What the text says. Keys of ``settings`` are in lower case."""

    extents: tuple[ExtentLine, ...]
    settings: dict[str, str]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises ``FormatError``. Lines that are neither settings nor extents are ignored, as are further fields of extents."""
        data = data.split(b"\0", 1)[0]
        lines = data.decode(_encoding(data), "surrogateescape").splitlines()
        extents, settings = [], {}
        for line in map(str.strip, lines):
            if found := _EXTENT.match(line):
                access, sectors, kind, name, start = found.groups()
                extents.append(ExtentLine(access.upper(), int(sectors), kind.upper(), name or "", int(start or 0)))
            elif not line.startswith("#") and (found := _SETTING.match(line)):
                settings[found[1].lower()] = found[2]
        if len(extents) > MAX_EXTENTS:
            raise FormatError("vmdk", f"{len(extents)} extents")
        return cls(tuple(extents), settings)

    @property
    def type(self) -> str:
        return self.settings.get("createtype", "")

    @property
    def cid(self) -> int:
        """The identifier of the content, which changes with the first write after opening; a child remembers its parent's."""
        return self._number("cid")

    @property
    def parent_cid(self) -> int:
        return self._number("parentcid")

    @property
    def parent(self) -> str:
        """The parent's name, "" for none."""
        return self.settings.get("parentfilenamehint", "") if self.parent_cid != NO_PARENT else ""

    def _number(self, key: str) -> int:
        try:
            return int(self.settings.get(key, "ffffffff"), 16)
        except ValueError as exc:
            raise FormatError("vmdk", f"{key} is {self.settings[key]!r}") from exc


def _encoding(data: bytes) -> str:
    found = re.search(rb'^\s*encoding\s*=\s*"([\w-]+)"', data, re.IGNORECASE | re.MULTILINE)
    try:
        return codecs.lookup(found[1].decode("ascii")).name if found else "utf-8"
    except LookupError:
        return "utf-8"
