"""CHD maps: which hunk is stored how and where.

Source: MAME, src/lib/util/chd.cpp (decompress_v5_map, read_hunk).
"""

from __future__ import annotations

import struct
import sys
from array import array
from enum import IntEnum
from itertools import accumulate
from typing import Final, NamedTuple, Protocol

from imgmount.codecs.crc16 import crc16
from imgmount.containers.optical.chd.header import Header
from imgmount.containers.optical.chd.huffman import Bits, rle_tree
from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.errors import ChecksumError, FormatError

CRC16_START: Final = 0xFFFF  # CRC-16/CCITT-FALSE


class How(IntEnum):
    """How a hunk is stored: by one of up to four codecs, or otherwise.

    The numbers are those of a version 5 map.
    """

    CODEC_0 = 0
    CODEC_1 = 1
    CODEC_2 = 2
    CODEC_3 = 3
    STORED = 4
    SELF = 5  # ``offset`` is another hunk of this file
    PARENT = 6  # ``offset`` counts units of the parent
    MINI = 16  # ``offset`` is eight bytes that repeat


class Entry(NamedTuple):
    """One hunk: ``length`` bytes at ``offset`` of the file unless ``how`` says otherwise.

    ``crc`` is that of its content, None where it is not stored.
    """

    how: int
    offset: int
    length: int
    crc: int | None


class Map(Protocol):
    """The map of a file, whatever its version."""

    wide_crc: bool  # CRC-32 rather than CRC-16
    parent_unit: int  # bytes that references to the parent count

    def entries(self, first: int, count: int) -> list[Entry]:
        """How so many hunks are stored. Raises ``FormatError``."""


# --- version 5, compressed
# -------------------------------------------------------------------------------------------------

# length, first offset, CRC-16, bits of a length, a self and a parent reference
_V5_HEADER: Final = struct.Struct(">I6s2sBBBx")
_V5_ENTRY: Final = struct.Struct(">IHIH")  # how and length, offset in two parts, CRC-16
_TYPE_CODES: Final = 16
_TYPE_WIDTH: Final = 4
# pseudo-types of the packed map
RLE_SMALL, RLE_LARGE, SELF_0, SELF_1, PARENT_SELF, PARENT_0, PARENT_1 = range(7, 14)
MAX_FIELD_BITS: Final = 32


class MapV5:
    """A compressed map, unpacked to the 12 bytes a hunk over which its CRC-16 is taken."""

    wide_crc = False

    def __init__(self, file: BlockDevice, header: Header) -> None:
        packed = file.read_exactly(header.map_offset, _V5_HEADER.size, "chd")
        length, first, crc, length_bits, self_bits, parent_bits = _V5_HEADER.unpack(packed)
        if max(length_bits, self_bits, parent_bits) > MAX_FIELD_BITS:
            raise FormatError("chd", "the fields of the map are wider than 32 bits", offset=header.map_offset)
        if header.map_offset + _V5_HEADER.size + length > file.size:
            raise FormatError(
                "chd", f"a map of {length} bytes ends past the end of the file", offset=header.map_offset
            )
        bits = Bits(file.read_exactly(header.map_offset + _V5_HEADER.size, length, "chd"))
        try:
            types = _types(bits, header.hunks)
            self._raw = _Unpacker(bits, header, (length_bits, self_bits, parent_bits)).run(
                types, int.from_bytes(first, "big")
            )
        except ValueError as exc:
            raise FormatError("chd", "the codes of the map are damaged", offset=header.map_offset) from exc
        if crc16(self._raw, CRC16_START) != int.from_bytes(crc, "big"):
            raise ChecksumError("chd", "the map's CRC-16 is wrong", offset=header.map_offset)
        self.parent_unit = header.unit_bytes

    def entries(self, first: int, count: int) -> list[Entry]:
        raw = self._raw[first * _V5_ENTRY.size : (first + count) * _V5_ENTRY.size]
        return [
            Entry(packed >> 24, high << 32 | low, packed & 0xFFFFFF, crc)
            for packed, high, low, crc in _V5_ENTRY.iter_unpack(raw)
        ]


def _types(bits: Bits, hunks: int) -> list[tuple[int, int]]:
    """Runs (type, hunks) that cover exactly ``hunks``."""
    tree = rle_tree(bits, _TYPE_CODES, _TYPE_WIDTH)
    runs: list[tuple[int, int]] = []
    last = done = 0
    while done < hunks:
        kind = tree.decode(bits)
        count = 1
        if kind == RLE_SMALL:
            count = 3 + tree.decode(bits)
        elif kind == RLE_LARGE:
            count = 3 + 16 + (tree.decode(bits) << 4)
            count += tree.decode(bits)
        else:
            last = kind
        count = min(count, hunks - done)
        runs.append((last, count))
        done += count
    return runs


class _Unpacker:
    """The second half of a packed map.

    It has a length and a CRC for each coded hunk, and a number for each reference.
    """

    def __init__(self, bits: Bits, header: Header, widths: tuple[int, int, int]) -> None:
        self._bits = bits
        self._header = header
        self._length_bits, self._self_bits, self._parent_bits = widths
        self._hows = bytearray()
        self._lengths = array("I")
        self._offsets = array("Q")
        self._crcs = array("H")
        self._units = header.hunk_bytes // header.unit_bytes

    def run(self, runs: list[tuple[int, int]], offset: int) -> bytes:
        """The map, 12 bytes a hunk. ``offset`` is where the first hunk is stored."""
        last_self = last_parent = 0
        for kind, count in runs:
            if kind <= How.STORED:
                offset = self._stored(kind, count, offset)
            elif kind == How.SELF:
                last_self = self._numbers(How.SELF, count, self._self_bits)
            elif kind == How.PARENT:
                last_parent = self._numbers(How.PARENT, count, self._parent_bits)
            elif kind in (SELF_0, SELF_1):
                step = kind - SELF_0
                last_self = self._progression(How.SELF, count, last_self + step, step)
            elif kind == PARENT_SELF:
                last_parent = self._progression(How.PARENT, count, len(self._hows) * self._units, self._units)
            elif kind in (PARENT_0, PARENT_1):
                step = (kind - PARENT_0) * self._units
                last_parent = self._progression(How.PARENT, count, last_parent + step, step)
            else:
                raise ValueError(f"hunk type {kind}")
        return self._pack()

    def _stored(self, kind: int, count: int, offset: int) -> int:
        if kind == How.STORED:
            lengths = [self._header.hunk_bytes] * count
            crcs = self._bits.many(count, 16)
        else:
            values = self._bits.many(count, self._length_bits + 16)
            lengths = [value >> 16 & 0xFFFFFF for value in values]
            crcs = [value & 0xFFFF for value in values]
        self._lengths.extend(lengths)
        self._crcs.extend(crcs)
        ends = list(accumulate(lengths, initial=offset))
        end = ends.pop()
        self._offsets.extend(ends)
        self._hows += bytes([kind]) * count
        self._check(end)
        return end

    def _numbers(self, how: How, count: int, width: int) -> int:
        self._offsets.extend(self._bits.many(count, width))
        self._references(how, count)
        return self._offsets[-1]

    def _progression(self, how: How, count: int, first: int, step: int) -> int:
        last = first + (count - 1) * step
        self._check(last)
        self._offsets.extend(range(first, last + step, step) if step else [first] * count)
        self._references(how, count)
        return last

    def _references(self, how: How, count: int) -> None:
        self._lengths.frombytes(bytes(self._lengths.itemsize * count))
        self._crcs.frombytes(bytes(self._crcs.itemsize * count))
        self._hows += bytes([how]) * count
        self._check(0)

    def _check(self, number: int) -> None:
        if self._bits.overrun:
            raise ValueError("the data ends early")
        if number >> 48:
            raise ValueError(f"{number:#x} does not fit")

    def _pack(self) -> bytes:
        raw = bytearray(_V5_ENTRY.size * len(self._hows))
        raw[0::12] = self._hows
        for values, skip, at, width in (
            (self._lengths, 1, 1, 4),
            (self._offsets, 2, 4, 8),
            (self._crcs, 0, 10, 2),
        ):
            big = _big_endian(values)
            for byte in range(skip, width):
                raw[at + byte - skip :: 12] = big[byte::width]
        return bytes(raw)


def _big_endian(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        return values.tobytes()
    return table(values.tobytes(), values.itemsize, "big").tobytes()  # type: ignore[arg-type]


# --- versions 3 and 4
# ------------------------------------------------------------------------------------------------------

_V34_ENTRY: Final = struct.Struct(">QIHBB")  # offset, CRC-32, length low and high, flags
NO_CRC: Final = 0x10
_V34_TYPES: Final = {1: How.CODEC_0, 2: How.STORED, 3: How.MINI, 4: How.SELF, 5: How.PARENT}


class MapV34:
    """Sixteen bytes a hunk, as stored."""

    wide_crc = True

    def __init__(self, file: BlockDevice, header: Header) -> None:
        self._raw = file.read_exactly(header.map_offset, header.hunks * _V34_ENTRY.size, "chd")
        self.parent_unit = header.hunk_bytes
        self._at = header.map_offset
        self._hunk_bytes = header.hunk_bytes

    def entries(self, first: int, count: int) -> list[Entry]:
        return [self._entry(hunk) for hunk in range(first, first + count)]

    def _entry(self, hunk: int) -> Entry:
        at = hunk * _V34_ENTRY.size
        offset, crc, low, high, flags = _V34_ENTRY.unpack_from(self._raw, at)
        how = _V34_TYPES.get(flags & 15)
        if how is None:
            raise FormatError(
                "chd",
                f"hunk {hunk} is of type {flags & 15}, which no version 3 or 4 has",
                offset=self._at + at,
            )
        length = self._hunk_bytes if how == How.STORED else high << 16 | low
        return Entry(how, offset, length, None if flags & NO_CRC else crc)


# --- versions 1 and 2
# ------------------------------------------------------------------------------------------------------

LENGTH_SHIFT: Final = 44


class MapV12:
    """A word a hunk: 20 bits of length, 44 of offset. A hunk as long as it should be is not compressed."""

    wide_crc = True

    def __init__(self, file: BlockDevice, header: Header) -> None:
        self.parent_unit = header.hunk_bytes
        self._words = table(file.read_exactly(header.map_offset, header.hunks * 8, "chd"), 8, "big")
        self._hunk_bytes = header.hunk_bytes

    def entries(self, first: int, count: int) -> list[Entry]:
        return [self._entry(hunk) for hunk in range(first, first + count)]

    def _entry(self, hunk: int) -> Entry:
        word = self._words[hunk]
        length = word >> LENGTH_SHIFT
        how = How.STORED if length == self._hunk_bytes else How.CODEC_0
        return Entry(how, word & ((1 << LENGTH_SHIFT) - 1), length, None)


def read_map(file: BlockDevice, header: Header) -> Map:
    """The map of a file that has one with hunks of several kinds.

    Raises ``FormatError``, ``ChecksumError``.
    """
    kinds: dict[int, type[MapV12 | MapV34 | MapV5]] = {1: MapV12, 2: MapV12, 3: MapV34, 4: MapV34, 5: MapV5}
    return kinds[header.version](file, header)
