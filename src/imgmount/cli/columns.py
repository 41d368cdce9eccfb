"""Names in columns, as ls(1) lays them out on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from unicodedata import combining, east_asian_width

GAP: Final = 2


def in_columns(names: Sequence[str], width: int) -> Iterator[str]:
    """Lines of at most ``width``, if every name fits; read downwards, with as few lines as can be."""
    sizes = [_width(name) for name in names]
    rows, widths = next(_layouts(sizes, width), (len(names), [0]))
    for row in range(rows):
        cells = zip(names[row::rows], sizes[row::rows], widths, strict=False)
        yield "".join(name + " " * (room - size) for name, size, room in cells).rstrip(" ")


def _layouts(sizes: Sequence[int], width: int) -> Iterator[tuple[int, list[int]]]:
    """(number of lines, width of each column) of layouts that fit, the one with the fewest lines first."""
    if not sizes:
        return
    most = min(len(sizes), max(1, width // (min(sizes) + GAP)))
    for columns in range(most, 1, -1):
        rows = -(-len(sizes) // columns)
        widths = [max(sizes[at : at + rows]) + GAP for at in range(0, len(sizes), rows)]
        if sum(widths) - GAP <= width:
            yield rows, widths


def _width(name: str) -> int:
    """The columns that a terminal needs for ``name``."""
    if name.isascii():
        return len(name)
    return sum(0 if combining(char) else 1 + (east_asian_width(char) in "WF") for char in name)
