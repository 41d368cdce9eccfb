"""The text that describes a VMware disk: its kind, its extents in order, its parent."""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

from imgmount.errors import FormatError

MAX_DESCRIPTOR: Final = 1 << 20  # a disk of 16 TiB in files of 2 GiB has one of half a megabyte
MAX_EXTENTS: Final = 16384
NO_PARENT: Final = 0xFFFF_FFFF
# the first line, in the ways it is written; perhaps behind a byte order mark, blank lines and other comments
_FIRST_LINE = re.compile(rb"^[ \t]*+#[ \t]*+disk[ \t_]*+descriptor[ \t_]*+file", re.IGNORECASE | re.MULTILINE)
_VERSION = re.compile(rb"^[ \t]*+version[ \t]*+=", re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(rb"^[ \t]*+createType[ \t]*+=", re.IGNORECASE | re.MULTILINE)
_COMMENTS = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n]++|#[^\r\n]*+)*+")
HEAD: Final = 4096  # bytes in which a descriptor says what it is
# possessive: what has matched is not given back, or a line of blanks takes hours
_EXTENT = re.compile(
    r'(RW|RDONLY|NOACCESS)\s++([0-9]{1,18})\s++(\w++)(?:\s++"([^"]*+)"(?:\s++([0-9]{1,18}))?)?', re.IGNORECASE
)
_SETTING = re.compile(r'([\w.]++)\s*+=\s*+"?+([^"]*+)"?+\s*+$')
_ENCODING = re.compile(rb'^[ \t]*+encoding[ \t]*+=[ \t]*+"([\w-]++)"', re.IGNORECASE | re.MULTILINE)


def is_descriptor(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a descriptor."""
    head = head[:HEAD].replace(b"\r", b"\n")
    comments = _COMMENTS.match(head)
    end = comments.end() if comments else 0
    if _FIRST_LINE.search(head, 0, end):
        return True
    return bool(_VERSION.match(head, end) and _TYPE.search(head))


class ExtentLine(NamedTuple):
    """A line such as ``RW 4192256 SPARSE "disk-s001.vmdk"``.

    ``sectors`` and ``start`` in sectors of 512 bytes.
    """

    access: str
    sectors: int
    kind: str
    name: str
    start: int


class Descriptor(NamedTuple):
    """What the text says. Keys of ``settings`` are in lower case."""

    extents: tuple[ExtentLine, ...]
    settings: dict[str, str]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises ``FormatError``.

        Lines that are neither settings nor extents are ignored, as are further fields of extents.
        """
        data = data.split(b"\0", 1)[0]
        lines = _decode(data).splitlines()
        extents, settings = [], {}
        for line in filter(None, map(str.strip, lines)):
            if found := _EXTENT.match(line):
                access, sectors, kind, name, start = found.groups()
                extents.append(
                    ExtentLine(access.upper(), int(sectors), kind.upper(), name or "", int(start or 0))
                )
            elif not line.startswith("#") and (found := _SETTING.match(line)):
                settings[found[1].lower()] = found[2]
        if len(extents) > MAX_EXTENTS:
            raise FormatError("vmdk", f"{len(extents)} extents: at most {MAX_EXTENTS} are read")
        return cls(tuple(extents), settings)

    @property
    def type(self) -> str:
        return self.settings.get("createtype", "")

    @property
    def cid(self) -> int:
        """The identifier of the content, which changes with the first write after opening.

        A child remembers its parent's.
        """
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
            raise FormatError("vmdk", f"{key} is {self.settings[key]!r}, not a hexadecimal number") from exc


def _decode(data: bytes) -> str:
    """The text in the encoding that it names, by its name on Windows perhaps.

    In UTF-8 where it names none that is known.
    """
    found = _ENCODING.search(data)
    name = found[1].decode("ascii").lower() if found else "utf-8"
    try:
        return data.decode(
            "cp932" if name == "windows-31j" else name.replace("windows-", "cp"), "surrogateescape"
        )
    except (LookupError, UnicodeError):  # also for encodings of Python that do not decode text
        return data.decode("utf-8", "surrogateescape")
