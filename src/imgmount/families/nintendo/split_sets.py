"""Discs cut into files as tools of the Wii and the Wii U name them.

``game_part1.wud``..., ``game.part0.iso``...; sets whose first file has no number, ``game.wbfs``,
``game.wbf1``...; and as wit cuts discs, ``game.iso``, ``game.iso.1``..., if the content agrees, because a
second download has such a name too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from imgmount.sources.siblings import FolderSiblings
from imgmount.sources.split import part_names

_PARTS: Final = re.compile(
    r"(?P<stem>.+_part(?=[0-9]+\.wud$)|.+\.part(?=[0-9]+\.(?:iso|gcm)$))"
    r"(?P<number>[0-9]{1,9})(?P<tail>\.[a-z]+)",
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


def numbered_parts(name: str, siblings: FolderSiblings) -> Sequence[str]:
    """``game_part1.wud``, ``game.part0.iso`` and their followers."""
    return part_names(name, siblings.names(), _PARTS)


def wbfs_parts(name: str, siblings: FolderSiblings) -> Sequence[str]:
    """``game.wbfs`` and its followers."""
    found = _WBFS.fullmatch(name)
    return _led(found["first"], "s", "", siblings.names()) if found else []


def wit_parts(name: str, siblings: FolderSiblings) -> Sequence[str]:
    """``game.iso`` and its followers, if only the first begins a disc and all but the last are as long."""
    found = _WIT.fullmatch(name)
    names = _led(found["first"], "", ".", siblings.names()) if found else []
    if len(names) < 2:
        return []
    files = [siblings.open(part) for part in names]
    sizes = [file.size for file in files]
    first, *others = (file.pread(0, HEAD) for file in files)
    alike = len(set(sizes[:-1])) == 1 and sizes[-1] <= sizes[0]
    return names if alike and _begins_a_disc(first) and not any(map(_begins_a_disc, others)) else []


def _begins_a_disc(head: bytes) -> bool:
    return any(head[at:].startswith(magic) for at, magic in _MAGICS)


def _led(stem: str, first: str, before: str, present: Sequence[str]) -> list[str]:
    """The file without a number, then those with 1, 2... as far as they are there."""
    folded = {name.lower(): name for name in present}
    wanted = [stem + first]
    while wanted[-1].lower() in folded:
        wanted.append(f"{stem}{before}{len(wanted)}")
    return [folded[name.lower()] for name in wanted[:-1]]


RULES: Final = (numbered_parts, wbfs_parts, wit_parts)
