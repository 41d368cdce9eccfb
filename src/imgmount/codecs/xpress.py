"""XPRESS with Huffman codes: chunks of 64 KiB at most, as WIM and the compressed files of NTFS have them.

libwim decodes it; without it Python does, some hundred times slower. Source: [MS-XCA] 2.2 (LZ77+Huffman).
"""

from __future__ import annotations

from typing import Final

from imgmount.codecs import libwim
from imgmount.codecs.huffman import LENGTH_BITS, LENGTH_MASK, code
from imgmount.codecs.match import copy
from imgmount.core.cache import Content
from imgmount.errors import FormatError

MAX_SIZE: Final = 1 << 16
LENGTHS: Final = 256  # bytes of code lengths before the stream, two in each
MIN_MATCH: Final = 3
PADDING: Final = 4  # what may be looked at, but not used, behind the data
LONG: Final = 15  # a length that goes on in a byte,
LONGER: Final = 255  # and in a word where that is full


def decompress(data: bytes, size: int) -> Content:
    """The ``size`` bytes of one chunk. Raises ``FormatError``."""
    if size > MAX_SIZE:
        raise FormatError("xpress", f"a chunk of {size} bytes, at most {MAX_SIZE} are possible")
    if libwim.library() is not None:
        return libwim.decompress(libwim.Kind.XPRESS, data, size, MAX_SIZE)
    libwim.tell_that_it_is_slow()
    return decode(data, size)


def decode(data: bytes, size: int) -> Content:
    """The same in Python. Raises ``FormatError``."""
    if len(data) < LENGTHS:
        raise FormatError("xpress", f"{len(data)} bytes, the code lengths alone are {LENGTHS}")
    lengths = [half for byte in data[:LENGTHS] for half in (byte & 15, byte >> 4)]
    try:
        out = _expand(bytes(data) + bytes(PADDING), lengths, size)
    except IndexError as exc:
        raise FormatError("xpress", f"the data ends before its {size} bytes are decoded") from exc
    if len(out) != size:
        raise FormatError("xpress", f"the last match goes on to byte {len(out)} of {size}")
    return out


def _expand(data: bytes, lengths: list[int], size: int) -> bytearray:
    """Bits come in little-endian words, highest first.

    A word is taken when fewer than 16 bits are left of the others.
    """
    table, width = code(lengths, "xpress")
    mask = (1 << width) - 1
    out = bytearray()
    at, held, left = LENGTHS, 0, 0  # the next byte, the bits at hand, how many
    while len(out) < size:
        if left < 16:
            held = (held << 16 | data[at] | data[at + 1] << 8) & 0xFFFF_FFFF
            left += 16
            at += 2
        entry = table[held >> left - width & mask]
        left -= entry & LENGTH_MASK
        symbol = entry >> LENGTH_BITS
        if symbol < 256:
            out.append(symbol)
            continue
        if left < 16:
            held = (held << 16 | data[at] | data[at + 1] << 8) & 0xFFFF_FFFF
            left += 16
            at += 2
        bits, length = symbol >> 4 & 15, symbol & 15
        left -= bits
        distance = 1 << bits | held >> left & (1 << bits) - 1
        if length == LONG:
            length, at = length + data[at], at + 1
            if length == LONG + LONGER:
                length, at = data[at] | data[at + 1] << 8, at + 2
        copy(out, distance, length + MIN_MATCH, "xpress")
    if at - left // 16 * 2 > len(data) - PADDING:
        raise IndexError
    return out
