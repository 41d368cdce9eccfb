"""Raw images cut into numbered files, of which any part opens the set.

``disk.000``, ``disk.001``..., from 0 or 1, with three digits or more; ``disk.img.part1``,
``disk.img.part2``..., with or without leading zeros. A family of formats may know other rules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.slices import Concat
from imgmount.errors import ImageError, MissingPartError
from imgmount.sources.file import FileDevice
from imgmount.sources.siblings import FolderSiblings

# What stands before a part's number, the number, and what stands behind it.
NUMBERED: Final = re.compile(
    r"(?P<stem>.+\.(?:part)?)(?P<number>(?<=\.)[0-9]{3,9}|(?<=\.part)[0-9]{1,9})(?P<tail>)", re.IGNORECASE
)

# The names of the set that a file belongs to, in order; one name or none where there is no set.
SetRule = Callable[[str, FolderSiblings], Sequence[str]]


def open_source(path: Path, siblings: FolderSiblings, rules: Sequence[SetRule] = ()) -> BlockDevice:
    """The file at ``path``, or the set of files that it belongs to, by number or by one of ``rules``.

    Raises ``MissingPartError`` for a gap.
    """
    name = Path(os.path.realpath(path)).name  # a link may have any name, so its target counts too
    for rule in (_numbered, *rules):
        names = rule(name, siblings)
        if len(names) > 1:
            return Concat.of([siblings.open(one) for one in names])
    return FileDevice(path)


def _numbered(name: str, siblings: FolderSiblings) -> Sequence[str]:
    return part_names(name, siblings.names(), NUMBERED)


def part_names(name: str, present: Sequence[str], pattern: re.Pattern[str]) -> list[str]:
    """The set's names in order; one name or none where there is no set.

    A set begins at 0 or 1; a number missing before the last one present is an error. Numbers are as wide as
    in ``name``, or wider if they must be: ``.999`` is followed by ``.1000``, ``.part9`` by ``.part10``.
    """
    stem, own, tail = _parts_of(name, pattern)
    if not own or name not in present:
        return []
    found = [_parts_of(other, pattern) for other in present]
    numbers = [
        number
        for before, number, after in found
        if (before, after) == (stem, tail) and number and _alike(number, own)
    ]
    parts: dict[int, str] = {}
    for number in numbers:
        if parts.setdefault(int(number), number) != number:
            raise ImageError(
                f"{stem}{number}{tail} and {stem}{parts[int(number)]}{tail} are both the same part"
            )
    if min(parts) > 1:
        return []
    width = min(map(len, numbers))
    for index in range(min(parts), min(parts) + len(parts)):
        if index not in parts:
            raise MissingPartError(
                f"{stem}{index:0{width}}{tail} is missing: it belongs between the parts beside it"
            )
    return [stem + parts[index] + tail for index in sorted(parts)]


def _parts_of(name: str, pattern: re.Pattern[str]) -> tuple[str, str, str]:
    """(before, number, behind) of a name; three empty strings where it has no number."""
    found = pattern.fullmatch(name)
    if found is None:
        return "", "", ""
    return found["stem"], found["number"], found["tail"]


def _alike(number: str, other: str) -> bool:
    """Whether two numbers are written in one way: equally wide, or the wider one without a leading zero."""
    narrow, wide = sorted((number, other), key=len)
    return len(narrow) == len(wide) or not wide.startswith("0")
