"""Raw images cut into numbered files, of which any part opens the set.

``disk.000``, ``disk.001``..., from 0 or 1, with three digits or more; and ``game.wux.part1``, ``game.wux.part2``...,
with as many digits as each number needs or padded with zeros.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.slices import Concat
from imgmount.errors import ImageError, MissingPartError
from imgmount.sources.file import FileDevice
from imgmount.sources.siblings import FolderSiblings

_NUMBERED: Final = re.compile(r"(?P<stem>.+\.(?:part)?)(?P<number>(?<=\.)[0-9]{3,9}|(?<=\.part)[0-9]{1,9})", re.IGNORECASE)


def open_source(path: Path, siblings: FolderSiblings) -> BlockDevice:
    """The file at ``path``, or the set of numbered files that it belongs to. Raises ``MissingPartError`` for a gap."""
    names = _part_names(Path(os.path.realpath(path)).name, siblings.names())  # a link is named as its user likes
    if len(names) < 2:
        return FileDevice(path)
    return Concat.of([siblings.open(name) for name in names])


def _part_names(name: str, present: Sequence[str]) -> list[str]:
    """The set's names in order; one name or none where there is no set.

    A set begins at 0 or 1; a number missing before the last one present is an error. Numbers are as wide as in ``name``,
    or wider by need: ``.999`` is followed by ``.1000``, ``.part9`` by ``.part10``.
    """
    found = _NUMBERED.fullmatch(name)
    if found is None or name not in present:
        return []
    stem = found["stem"]
    numbers = [number for other in present if (number := _number(other, stem)) and _alike(number, found["number"])]
    parts: dict[int, str] = {}
    for number in numbers:
        if parts.setdefault(int(number), number) != number:
            raise ImageError(f"{stem}{number} and {stem}{parts[int(number)]} are both the same part")
    if min(parts) > 1:
        return []
    width = min(map(len, numbers))
    for index in range(min(parts), min(parts) + len(parts)):
        if index not in parts:
            raise MissingPartError(f"{stem}{index:0{width}} is missing: it belongs between the parts beside it")
    return [stem + parts[index] for index in sorted(parts)]


def _number(name: str, stem: str) -> str:
    found = _NUMBERED.fullmatch(name)
    return found["number"] if found and found["stem"] == stem else ""


def _alike(number: str, other: str) -> bool:
    """Whether two numbers are written in one way: equally wide, or the wider one without a leading zero."""
    narrow, wide = sorted((number, other), key=len)
    return len(narrow) == len(wide) or not wide.startswith("0")
