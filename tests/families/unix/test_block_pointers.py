"""Trees of block pointers: runs, holes, levels, and pointers that lead outside."""

from __future__ import annotations

import struct
from array import array

import pytest

from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from imgmount.families.unix.block_pointers import MappedFile, PointerMap, Pointers

BLOCK = 64  # bytes: eight pointers
UNIT = 16


def layout(data: bytes = b"", *, end: int = 1000) -> Pointers:
    device = MemoryDevice(data or bytes(end * UNIT))
    return Pointers(device, "test", width=8, order="big", block_size=BLOCK, first=2, end=end, unit=UNIT)


def test_neighbours_are_units_apart() -> None:
    blocks = PointerMap(layout(), array("Q", [4, 8, 12, 20, 0, 0, 24, 0]), 8)
    assert [blocks.find(block) for block in range(8)] == [
        (3, 4),
        (2, 8),
        (1, 12),
        (1, 20),
        (2, 0),
        (1, 0),
        (1, 24),
        (1, 0),
    ]


def test_the_last_block_need_not_be_whole_but_must_begin_inside() -> None:
    for pointers, found in (
        ([996], (1, 996)),
        ([999], (1, 999)),
        ([992, 996], (2, 992)),
        ([995, 999], (2, 995)),
    ):
        assert PointerMap(layout(), array("Q", pointers), len(pointers)).find(0) == found
    for pointers in ([1000], [1], [996, 1000], [1 << 60]):
        with pytest.raises(FormatError, match="blocks of a file"):
            PointerMap(layout(), array("Q", pointers), len(pointers)).find(0)


def test_levels_of_pointers() -> None:
    data = bytearray(4000 * UNIT)

    def table(unit: int, pointers: dict[int, int]) -> int:
        for index, pointer in pointers.items():
            struct.pack_into(">Q", data, unit * UNIT + index * 8, pointer)
        return unit

    single = table(100, {0: 400, 1: 404, 7: 500})
    double = table(104, {3: table(108, {2: 600})})
    triple = table(112, {7: table(116, {7: table(120, {7: 700})})})
    blocks = PointerMap(layout(bytes(data), end=4000), array("Q", [4, single, double, triple]), 1)
    assert blocks.find(1) == (2, 400)
    assert blocks.find(3) == (5, 0)
    assert blocks.find(8) == (1, 500)
    assert blocks.find(9) == (8, 0)  # the first three tables of the double tree are not there
    assert blocks.find(9 + 3 * 8 + 2) == (1, 600)
    assert blocks.find(9 + 64) == (64, 0)
    assert blocks.find(9 + 64 + 511) == (1, 700)
    with pytest.raises(FormatError, match="past the last"):
        blocks.find(9 + 64 + 512)
    content = MappedFile(MemoryDevice(bytes(data)), BLOCK, (9 + 64 + 512) * BLOCK, blocks.find, UNIT)
    data[600 * UNIT : 600 * UNIT + 5] = b"found"
    content = MappedFile(MemoryDevice(bytes(data)), BLOCK, content.size, blocks.find, UNIT)
    assert content.pread((9 + 26) * BLOCK - 2, 9) == b"\0\0found\0\0"


def test_tables_of_pointers_lie_inside() -> None:
    for place in (1, 1000, 998):
        with pytest.raises(FormatError):
            PointerMap(layout(), array("Q", [place]), 0).find(0)
