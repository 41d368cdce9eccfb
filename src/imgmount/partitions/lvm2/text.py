"""The text of LVM2 metadata: sections, settings, lists, strings, numbers and comments.

Source: LVM2, ``lvm.conf(5)``, whose grammar it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from imgmount.errors import FormatError

MAX_DEPTH: Final = 8  # a segment is 4 deep
MAX_VALUES: Final = 50_000  # of some 3000 volumes
MAX_ESCAPES: Final = 10_000  # names and tags have none at all
MAX_NUMBER: Final = (1 << 63) - 1

Value = str | int | list[str | int]
_TOKEN: Final = re.compile(
    r"""(?:\s+|\#[^\n]*)*+                       # blanks and comments
    (?: ([\w.+-]+)                             # a name or a number
    | "([^"\\]*+(?:\\.[^"\\]*+)*+)"            # a string
    | ([{}=\[\],]) | (\Z) )""",
    re.ASCII | re.DOTALL | re.VERBOSE,
)
_NUMBER: Final = re.compile(r"-?\d{1,20}(\.\d+)?", re.ASCII)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class Section(dict[str, "Value | Section"]):
    """Settings and sections by name, in the order of the text. Getters raise ``FormatError``."""

    def number(self, name: str) -> int:
        """A count or a size: not negative, and within 63 bits."""
        value = self.get(name)
        if not isinstance(value, int) or not 0 <= value <= MAX_NUMBER:
            raise FormatError("lvm2", f"the metadata says {name} = {value!r:.40}")
        return value

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str):
            raise FormatError("lvm2", f"the metadata says {name} = {value!r:.40}")
        return value

    def items_of(self, name: str) -> list[str | int]:
        """A list, empty where it is absent."""
        value = self.get(name, [])
        return value if isinstance(value, list) else []

    def sections(self) -> Iterator[tuple[str, Section]]:
        """The sections in this one."""
        return ((name, value) for name, value in self.items() if isinstance(value, Section))

    def section(self, name: str) -> Section:
        """The section of that name, an empty one where it is absent."""
        value = self.get(name)
        return value if isinstance(value, Section) else Section()


class Parser:
    """The text's grammar: ``name = value``, ``name { ... }``, lists, strings, integers and comments."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._values = 0

    def parse(self) -> Section:
        """The whole text. Raises ``FormatError``."""
        if self._text.count("\\") > MAX_ESCAPES:
            raise FormatError("lvm2", f"the metadata has more than {MAX_ESCAPES} escaped characters")
        return self._section(0)

    def _wrong(self) -> FormatError:
        return FormatError("lvm2", f"the metadata cannot be understood at its character {self._at}")

    def _next(self) -> tuple[str, str]:
        """(mark, value): mark is ``w`` for a word, ``s`` for a string, "" at the end, else the character."""
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            raise self._wrong()
        self._at = match.end()
        word, string, mark, _ = match.groups()
        if word is not None:
            return "w", word
        if string is None:
            return mark or "", ""
        return "s", _ESCAPE.sub(r"\1", string) if "\\" in string else string

    def _count(self) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise FormatError("lvm2", f"the metadata has more than {MAX_VALUES} values")

    def _section(self, depth: int) -> Section:
        """Up to the brace that closes it, or the end of the text at depth 0."""
        if depth > MAX_DEPTH:
            raise FormatError("lvm2", f"the metadata is more than {MAX_DEPTH} sections deep")
        section = Section()
        while True:
            mark, name = self._next()
            if mark == ("}" if depth else ""):
                return section
            if mark != "w" or name in section:
                raise self._wrong()
            self._count()
            mark, _ = self._next()
            if mark == "{":
                section[name] = self._section(depth + 1)
            elif mark == "=":
                section[name] = self._value()
            else:
                raise self._wrong()

    def _value(self) -> Value:
        mark, value = self._next()
        return self._list() if mark == "[" else self._scalar(mark, value)

    def _scalar(self, mark: str, value: str) -> str | int:
        self._count()
        if mark == "s":
            return value
        number = _NUMBER.fullmatch(value) if mark == "w" else None
        if number is None:
            raise self._wrong()
        return number[0] if number[1] else int(number[0])  # no fraction matters

    def _list(self) -> list[str | int]:
        items: list[str | int] = []
        mark, value = self._next()
        while mark != "]":
            items.append(self._scalar(mark, value))
            mark, value = self._next()
            if mark == ",":
                mark, value = self._next()
            elif mark != "]":
                raise self._wrong()
        return items
