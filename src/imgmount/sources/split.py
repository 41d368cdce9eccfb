"""Raw images cut into numbered files, of which any part opens the set.

``disk.000``, ``disk.001``..., from 0 or 1, with three digits or more; and ``game.wux.part1``, ``game.wux.part2``...
or ``game_part1.wud``..., with as many digits as each number needs or padded with zeros.
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

_NUMBERED: Final = re.compile(
    r"(?P<stem>.+\.(?:part)?)(?P<number>(?<=\.)[0-9]{3,9}|(?<=\.part)[0-9]{1,9})(?P<tail>)"
    r"|(?P<wii_u>.+_part)(?P<place>[0-9]{1,9})(?P<wud>\.wud)",
    re.IGNORECASE,
)


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
    stem, own, tail = _parts_of(name)
    if not own or name not in present:
        return []
    found = [_parts_of(other) for other in present]
    numbers = [number for before, number, after in found if (before, after) == (stem, tail) and number and _alike(number, own)]
    parts: dict[int, str] = {}
    for number in numbers:
        if parts.setdefault(int(number), number) != number:
            raise ImageError(f"{stem}{number}{tail} and {stem}{parts[int(number)]}{tail} are both the same part")
    if min(parts) > 1:
        return []
    width = min(map(len, numbers))
    for index in range(min(parts), min(parts) + len(parts)):
        if index not in parts:
            raise MissingPartError(f"{stem}{index:0{width}}{tail} is missing: it belongs between the parts beside it")
    return [stem + parts[index] + tail for index in sorted(parts)]


def _parts_of(name: str) -> tuple[str, str, str]:
    """What stands before the number, the number, and what stands behind it; nothing where there is no number."""
    found = _NUMBERED.fullmatch(name)
    if found is None:
        return "", "", ""
    return found["stem"] or found["wii_u"], found["number"] or found["place"], found["tail"] or found["wud"] or ""


def _alike(number: str, other: str) -> bool:
    """Whether two numbers are written in one way: equally wide, or the wider one without a leading zero."""
    narrow, wide = sorted((number, other), key=len)
    return len(narrow) == len(wide) or not wide.startswith("0")
