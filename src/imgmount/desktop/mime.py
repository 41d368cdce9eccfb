"""``FILE_TYPES`` as the shared MIME database and desktop entries have them: ``imgmount --print mime``...

The format is freedesktop.org's Shared MIME-info Database specification, 2.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final
from xml.sax.saxutils import quoteattr

from imgmount.desktop.filetype import FileType, Mark, Sign
from imgmount.desktop.filetypes import FILE_TYPES

WEAK: Final = 40
NORMAL: Final = 50


def mime_package() -> Iterator[str]:
    """The lines of the XML file."""
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield "<!-- made by imgmount from the formats that it reads -->"
    yield '<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">'
    for kind in FILE_TYPES:
        lines = list(_type(kind))
        if lines:
            yield f"  <mime-type type={quoteattr(kind.name)}>"
            yield from (f"    {line}" for line in lines)
            yield "  </mime-type>"
    yield "</mime-info>"


def _type(kind: FileType) -> Iterator[str]:
    if kind.comment:
        yield f"<comment>{kind.comment}</comment>"
    if not kind.shared:
        yield f"<generic-icon name={quoteattr(kind.icon)}/>"
    if kind.parent:
        yield f"<sub-class-of type={quoteattr(kind.parent)}/>"
    signs = list(kind.all_signs())
    if signs:
        yield f'<magic priority="{kind.priority}">'
        yield from (f"  {line}" for line in _matches(signs))
        yield "</magic>"
    for globs, weight in ((kind.globs, NORMAL), (kind.weak, WEAK)):
        attribute = "" if weight == NORMAL else f' weight="{weight}"'
        yield from (f"<glob{attribute} pattern={quoteattr(pattern)}/>" for pattern in globs)


def _matches(signs: Sequence[Sign]) -> Iterator[str]:
    """Alternatives side by side; what must be there too inside."""
    for first, group in groupby(signs, key=lambda sign: sign[0]):
        further = [sign[1:] for sign in group]
        if all(further):
            yield f"<match {_attributes(first)}>"
            yield from (f"  {line}" for line in _matches(further))
            yield "</match>"
        else:
            yield f"<match {_attributes(first)}/>"


def _attributes(mark: Mark) -> str:
    offset = f"{mark.offset}:{mark.offset + mark.reach}" if mark.reach else str(mark.offset)
    mask = f' mask="0x{mark.mask.hex()}"' if mark.mask else ""
    return f'type="string" offset="{offset}" value={quoteattr(_escaped(mark.data))}{mask}'


def _escaped(data: bytes) -> str:
    """As in C: octal, which has three digits, where text would not do."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != ord("\\") else f"\\{byte:03o}" for byte in data
    )


def opened_types() -> Iterator[str]:
    """The types that a double click is to mount, in one line."""
    yield _line(kind for kind in FILE_TYPES if not kind.shared)


def offered_types() -> Iterator[str]:
    """The types that menus offer to mount: these, and those that another program opens at a double click."""
    yield _line(FILE_TYPES)


def _line(kinds: Iterable[FileType]) -> str:
    return "".join(f"{name};" for kind in kinds for name in kind.names)
