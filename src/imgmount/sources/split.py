"""Raw images cut into numbered files, of which any part opens the set.

``disk.000``, ``disk.001``..., from 0 or 1, with three digits or more; and ``game.wux.part1``,
``game.wux.part2``..., ``game_part1.wud``... or ``game.part0.iso``..., with as many digits as each number
needs or padded with zeros. Sets whose first file has no number: ``game.wbfs``, ``game.wbf1``...; and as wit
cuts discs ``game.iso``, ``game.iso.1``..., if the content agrees: ``game.iso.1`` is also what a second
download is called.
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
    r"|(?P<disc>.+_part(?=[0-9]+\.wud$)|.+\.part(?=[0-9]+\.(?:iso|gcm)$))(?P<place>[0-9]{1,9})(?P<suffix>\.[a-z]+)",
    re.IGNORECASE,
)
_WBFS: Final = re.compile(r"(?P<first>.+\.wbf)(?:s|[1-9][0-9]{0,3})", re.IGNORECASE)
_WIT: Final = re.compile(r"(?P<first>.+\.(?:iso|gcm|ciso|wdf|wia|gcz))(?:\.[1-9][0-9]{0,3})?", re.IGNORECASE)
HEAD: Final = 0x20
_MAGICS: Final = (  # of GameCube and Wii discs, in every form that wit cuts
    *((0, magic) for magic in (b"CISO", b"WII\1DISC", b"WIA\1", b"\x01\xc0\x0b\xb1")),
    (0x18, b"\x5d\x1c\x9e\xa3"),
    (0x1C, b"\xc2\x33\x9f\x3d"),
)


def open_source(path: Path, siblings: FolderSiblings) -> BlockDevice:
    """The file at ``path``, or the set of numbered files that it belongs to.

    Raises ``MissingPartError`` for a gap.
    """
    name, present = Path(os.path.realpath(path)).name, siblings.names()  # a link is named as its user likes
    names = _part_names(name, present)
    if len(names) < 2:
        names = _wbfs_names(name, present) or _wit_names(name, siblings)
    if len(names) < 2:
        return FileDevice(path)
    return Concat.of([siblings.open(name) for name in names])


def _wbfs_names(name: str, present: Sequence[str]) -> list[str]:
    """``game.wbfs`` and its followers."""
    found = _WBFS.fullmatch(name)
    return _led(found["first"], "s", "", present) if found else []


def _wit_names(name: str, siblings: FolderSiblings) -> list[str]:
    """``game.iso`` and its followers, if it begins there and nowhere else, and all but the last are equally long."""
    found = _WIT.fullmatch(name)
    names = _led(found["first"], "", ".", siblings.names()) if found else []
    files = [siblings.open(part) for part in names] if len(names) > 1 else []
    sizes = [file.size for file in files]
    heads = [file.pread(0, HEAD) for file in files]
    begins = [any(head[at:].startswith(magic) for at, magic in _MAGICS) for head in heads]
    return (
        names
        if begins[:1] == [True]
        and not any(begins[1:])
        and len(set(sizes[:-1])) == 1
        and sizes[-1] <= sizes[0]
        else []
    )


def _led(stem: str, first: str, before: str, present: Sequence[str]) -> list[str]:
    """The file without a number, then those with 1, 2... as far as they are there."""
    folded = {name.lower(): name for name in present}
    wanted = [stem + first]
    while wanted[-1].lower() in folded:
        wanted.append(f"{stem}{before}{len(wanted)}")
    return [folded[name.lower()] for name in wanted[:-1]]


def _part_names(name: str, present: Sequence[str]) -> list[str]:
    """The set's names in order; one name or none where there is no set.

    A set begins at 0 or 1; a number missing before the last one present is an error. Numbers are as wide as
    in ``name``, or wider by need: ``.999`` is followed by ``.1000``, ``.part9`` by ``.part10``.
    """
    stem, own, tail = _parts_of(name)
    if not own or name not in present:
        return []
    found = [_parts_of(other) for other in present]
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


def _parts_of(name: str) -> tuple[str, str, str]:
    """What stands before the number, the number, and what stands behind it; nothing where there is no number."""
    found = _NUMBERED.fullmatch(name)
    if found is None:
        return "", "", ""
    return (
        found["stem"] or found["disc"],
        found["number"] or found["place"],
        found["tail"] or found["suffix"] or "",
    )


def _alike(number: str, other: str) -> bool:
    """Whether two numbers are written in one way: equally wide, or the wider one without a leading zero."""
    narrow, wide = sorted((number, other), key=len)
    return len(narrow) == len(wide) or not wide.startswith("0")
