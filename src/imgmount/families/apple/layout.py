"""Which run a byte of the disk belongs to: tables are unordered, may overlap, and leave holes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from imgmount.families.apple.runs import Run

HOLE: Final = -1


def flatten(runs: Sequence[Run], sectors: int) -> tuple[array[int], array[int]]:
    """(first sector, index into ``runs`` or HOLE) of each piece of a disk, in order; the first begins at 0.

    Of runs that overlap the one that begins later is shown; of those that begin together, the one
    that is listed later.
    """
    order = sorted(range(len(runs)), key=lambda index: runs[index].first)
    starts, owners = array("Q"), array("q")
    active: list[int] = []
    at = 0

    def fill(upto: int) -> None:
        nonlocal at
        while at < upto:
            while active and runs[active[-1]].first + runs[active[-1]].sectors <= at:
                active.pop()
            owner, stop = HOLE, upto
            if active:
                owner = active[-1]
                stop = min(upto, runs[owner].first + runs[owner].sectors)
            if not owners or owners[-1] != owner:
                starts.append(at)
                owners.append(owner)
            at = stop

    for index in order:
        fill(min(runs[index].first, sectors))
        active.append(index)
    fill(sectors)
    return starts, owners


def end_of(runs: Sequence[Run]) -> int:
    """The sector behind the last one that a run covers."""
    return max((run.first + run.sectors for run in runs), default=0)
