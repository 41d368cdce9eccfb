from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from conformance import check_device
from helpers import context
from imgmount.containers.wbfs import FORMAT, WII_SECTORS, WbfsDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MountError

HD, SHIFT = 0x200, 16
SECTOR = 1 << SHIFT
COUNT = WII_SECTORS >> SHIFT - 15


def wbfs(*discs: list[int], sectors: int = 8) -> bytes:
    """Discs of sectors, sector n filled with n. Slots 0, 2, 4... are used."""
    info = -(-(0x100 + 2 * COUNT) // HD) * HD
    head = struct.pack(">4sIBBBx", b"WBFS", 0, 9, SHIFT, 1)
    slots = b"".join(b"\1\0" for _ in discs)
    image = bytearray((head + slots).ljust(HD, b"\0"))
    for number, disc in enumerate(discs):
        image[HD + 2 * number * info :] = b""
        image.extend(bytes(HD + 2 * number * info - len(image)))
        copy = (b"RIMP0%d" % number).ljust(0x20, b"\0") + b"Disc %d" % number
        image.extend((copy.ljust(0x100, b"\0") + struct.pack(f">{len(disc)}H", *disc)).ljust(info, b"\0"))
    first = -(-len(image) // SECTOR)
    image.extend(bytes(first * SECTOR - len(image)))
    return bytes(image) + b"".join(bytes([n]) * SECTOR for n in range(first, first + sectors))


def opened(image: bytes, **options: object) -> WbfsDevice:
    return FORMAT.open(MemoryDevice(image), context(None, **options))


def fill(*numbers: int) -> bytes:
    return b"".join(bytes([n]) * SECTOR for n in numbers)


def first_free(*discs: list[int]) -> int:
    return len(wbfs(*discs, sectors=0)) // SECTOR


def test_holes_runs_and_the_end() -> None:
    n = first_free([1])
    disc = [n, n + 1, 0, 0, n + 5, n + 2, 0]
    check_device(opened(wbfs(disc)), fill(n, n + 1, 0, 0, n + 5, n + 2))


def test_several_discs() -> None:
    n = first_free([1], [1])
    image = wbfs([n], [n + 1, n + 2])
    assert opened(image).pread(0, 1) == bytes([n])
    assert "2, this is number 0" in opened(image).info()["discs"]
    second = opened(image, extra={"disc": "1"})
    check_device(second, fill(n + 1, n + 2))
    assert second.info()["disc"] == "RIMP01 Disc 1"
    for wrong in ("2", "-1", "x"):
        with pytest.raises(MountError, match="0 to 1"):
            opened(image, extra={"disc": wrong})


def test_parts_beside_it() -> None:
    n = first_free([1])
    image = wbfs([n, n + 1, n + 2])
    cuts = [0, (n + 1) * SECTOR - 10, (n + 2) * SECTOR + 5, len(image)]
    parts = [image[start:end] for start, end in pairwise(cuts)]
    given = replace(context({"game.wbf1": parts[1], "GAME.WBF2": parts[2]}), path=Path("game.wbfs"))
    check_device(FORMAT.open(MemoryDevice(parts[0]), given), fill(n, n + 1, n + 2))


@pytest.mark.parametrize(("at", "value"), [(8, 0), (8, 40), (9, 15), (9, 30), (12, 0)])
def test_headers_that_lie(at: int, value: int) -> None:
    image = bytearray(wbfs([3]))
    image[at] = value
    with pytest.raises(FormatError):
        opened(bytes(image))


def test_a_sector_past_the_end_costs_itself() -> None:
    n = first_free([1])
    device = opened(wbfs([n, 0xFFFF, n + 1]))
    assert device.pread(2 * SECTOR, SECTOR) == fill(n + 1)
    with pytest.raises(ImageError):
        device.pread(SECTOR, 1)
