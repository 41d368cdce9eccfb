"""Where a partition table and a file system claim one disk: the evidence that decides which is shown.

A disk that was formatted as a whole and divided later keeps the old boot sector; a disk that was divided and
later formatted as a whole may keep the old table. Hybrid discs have both on purpose, for the same files.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice

from imgmount.chain.volume import Volume
from imgmount.core.format import Match
from imgmount.core.node import Directory
from imgmount.errors import ImageError

log = logging.getLogger(__name__)

_LOOKED_AT = 64  # parts, and entries of the root


def table_wins(whole: Volume, parts: Sequence[Volume], sure: Match, *, asked: bool) -> bool:
    """Whether the parts of the table are shown instead of the file system ``whole``; the log says which lost.

    ``sure`` is how certain the table is, ``asked`` whether the user has named it. ``whole`` has a format.
    """
    fmt = whole.known_format
    if asked or fmt is None:
        return True
    if fmt.system_area:
        return False
    held = any(part.known_format is not None for part in parts[:_LOOKED_AT])
    root = _root(whole)
    wins = sure >= Match.LIKELY or root is not True if held else root is False
    loser = f"the {fmt.title} file system of the whole disk" if wins else "the partition table"
    hint = "--partitions none shows it" if wins else "--partitions shows it"
    log.warning("%s looks like what an older use of the disk left: hidden, %s", loser, hint)
    return wins


def _root(volume: Volume) -> bool | None:
    """True for a root directory that makes sense, False for a damaged one, None for an empty one."""
    try:
        listing = volume.filesystem.root.listing()
        if listing.damage is not None:
            return False
        for node in islice(listing.nodes.values(), _LOOKED_AT):
            node.stat()
            if isinstance(node, Directory) and node.listing().damage is not None:
                return False
    except ImageError:
        return False
    return True if listing.nodes else None
