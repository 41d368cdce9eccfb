"""MAME's canonical Huffman codes: the longest codes count up from zero.

Source: MAME, src/lib/util/huffman.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SMALL_CODES: Final = 24
SMALL_BITS: Final = 6
BATCH: Final = 64  # numbers taken from one long integer: the shorter it is the less a shift costs
RUN_ESCAPE: Final = 7  # a run count that goes on in a wider field


class Bits:
    """A stream of bits, most significant first, followed by zeros for ever (as MAME's readers see it)."""

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def peek(self, count: int) -> int:
        """The next ``count`` bits, 0 to 57."""
        first, skip = divmod(self.position, 8)
        window = int.from_bytes(self._data[first : first + 8].ljust(8, b"\0"), "big")
        return window >> (64 - skip - count) & ((1 << count) - 1)

    def read(self, count: int) -> int:
        """The next ``count`` bits, 0 to 57, taken."""
        value = self.peek(count)
        self.position += count
        return value

    def many(self, count: int, width: int) -> list[int]:
        """The next ``count`` numbers of ``width`` bits, taken.

        Raises ``ValueError`` where the stream ends before them.
        """
        found: list[int] = []
        while count and not self.overrun:
            batch = min(count, BATCH)
            total = batch * width
            first, skip = divmod(self.position, 8)
            size = -(-(skip + total) // 8)
            window = int.from_bytes(self._data[first : first + size].ljust(size, b"\0"), "big") >> (
                8 * size - skip - total
            )
            mask = (1 << width) - 1
            found += (
                [window >> shift & mask for shift in range(total - width, -1, -width)]
                if width
                else [0] * batch
            )
            self.position += total
            count -= batch
        if self.overrun:
            raise ValueError("the data ends early")
        return found

    @property
    def overrun(self) -> bool:
        """Whether more was taken than there is."""
        return self.position > 8 * len(self._data)


class Huffman:
    """A decoding table: ``table[peek(bits)]`` is ``symbol << 5 | length``.

    Raises ``ValueError`` for lengths that are no code.
    """

    __slots__ = ("bits", "table")

    def __init__(self, lengths: Sequence[int]) -> None:
        self.bits = max(1, *lengths)
        starts = _first_codes(lengths, self.bits)
        self.table = [0] * (1 << self.bits)
        for symbol, length in enumerate(lengths):
            if length:
                code, span = starts[length], 1 << (self.bits - length)
                starts[length] += 1
                self.table[code * span : (code + 1) * span] = [symbol << 5 | length] * span
        if len(self.table) != 1 << self.bits:
            raise ValueError("too many codes")

    def decode(self, bits: Bits) -> int:
        """The next symbol. Raises ``ValueError`` where no code fits or the stream is used up."""
        entry = self.table[bits.peek(self.bits)]
        bits.position += entry & 31
        if not entry & 31 or bits.overrun:
            raise ValueError("not a code")
        return entry >> 5


def _first_codes(lengths: Sequence[int], longest: int) -> list[int]:
    counts = [0] * (longest + 1)
    for length in lengths:
        counts[length] += 1
    start = 0
    for length in range(longest, 0, -1):
        end = start + counts[length]
        if length > 1 and end & 1:
            raise ValueError("incomplete code")
        counts[length], start = start, end >> 1
    return counts


def rle_tree(bits: Bits, codes: int, width: int) -> Huffman:
    """A table written as lengths of ``width`` bits, where 1 escapes a run."""
    lengths: list[int] = []
    while len(lengths) < codes:
        length = bits.read(width)
        if length != 1:
            lengths.append(length)
        elif (length := bits.read(width)) == 1:
            lengths.append(1)
        else:
            lengths += [length] * (bits.read(width) + 3)
    if len(lengths) != codes or bits.overrun:
        raise ValueError("bad tree")
    return Huffman(lengths)


def huffman_tree(bits: Bits, codes: int) -> Huffman:
    """A table whose lengths are themselves Huffman coded."""
    small = [bits.read(3)]
    start = bits.read(3) + 1
    small += [0] * (start - 1)
    while len(small) < SMALL_CODES:
        length = bits.read(3)
        if length == RUN_ESCAPE:
            break
        small.append(length)
    tree = Huffman([*small, *[0] * (SMALL_CODES - len(small))])
    if tree.bits > SMALL_BITS:
        raise ValueError("bad small tree")
    full_bits = (codes - 9).bit_length()
    lengths: list[int] = []
    while len(lengths) < codes:
        if value := tree.decode(bits):
            lengths.append(value - 1)
            continue
        count = bits.read(3) + 2
        if count == RUN_ESCAPE + 2:
            count += bits.read(full_bits)
        lengths += [lengths[-1] if lengths else 0] * count
    return Huffman(lengths[:codes])


def decode_bytes(data: bytes, size: int) -> bytes:
    """``size`` bytes coded by one table of 256 that stands before them: CHD's codec ``huff``.

    Raises ``ValueError``.
    """
    bits = Bits(data)
    tree = huffman_tree(bits, 256)
    table, width, mask = tree.table, tree.bits, (1 << tree.bits) - 1
    position = bits.position
    out = bytearray()
    chunk = 1 << 8  # bytes a window: shifting a short integer costs little
    while len(out) < size:
        first = position >> 3
        if first > len(data):
            raise ValueError("data ends early")
        window = int.from_bytes(data[first : first + chunk + 4].ljust(chunk + 4, b"\0"), "big")
        left = 8 * (chunk + 4) - (position & 7) - width
        stop = max(left - 8 * chunk + 16, 0)
        before = left
        while left >= stop and len(out) < size:
            entry = table[window >> left & mask]
            if not entry & 31:
                raise ValueError("not a code")
            left -= entry & 31
            out.append(entry >> 5)
        position += before - left
    if position > 8 * len(data):
        raise ValueError("data ends early")
    return bytes(out)
