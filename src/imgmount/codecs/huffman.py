"""Canonical Huffman codes as one table that is looked up with the next bits of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from imgmount.errors import FormatError

LENGTH_BITS: Final = 5  # of an entry: the length of the code word; its symbol is above
LENGTH_MASK: Final = (1 << LENGTH_BITS) - 1


class Code(NamedTuple):
    """``table[next width bits]`` is ``symbol << LENGTH_BITS | length``.

    A code without symbols has an empty table.
    """

    table: list[int]
    width: int


def code(lengths: Sequence[int], fmt: str) -> Code:
    """The code whose words have these ``lengths`` (0: no word).

    Raises ``FormatError`` if it is not complete.
    """
    width = max(lengths)
    if not width:
        return Code([], 0)
    if sum(1 << width - length for length in lengths if length) != 1 << width:
        raise FormatError(fmt, "the lengths of a Huffman code do not add up")
    table: list[int] = []
    for length in range(1, width + 1):
        span = 1 << width - length
        for symbol in [symbol for symbol, own in enumerate(lengths) if own == length]:
            table += [symbol << LENGTH_BITS | length] * span
    return Code(table, width)
