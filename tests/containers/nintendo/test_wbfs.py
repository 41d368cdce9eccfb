from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import pytest

from conformance import check_device
from helpers import context
from imgmount.chain.open import open_image
from imgmount.containers.nintendo.wbfs import FORMAT, probe
from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError
from imgmount.families.nintendo.wbfs import WII_SECTORS
from imgmount.partitions.wbfs import FORMAT as PARTITIONS

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
    return bytes(image) + b"".join(bytes([n & 0xFF]) * SECTOR for n in range(first, first + sectors))


def opened(image: bytes, **options: object) -> BlockDevice:
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
    image = MemoryDevice(wbfs([n], [n + 1, n + 2]))
    assert not probe(image)  # a file with one disc is a container, with several it is divided
    assert probe(MemoryDevice(wbfs([n])))
    parts = PARTITIONS.open(image, context())
    assert [(part.index, part.kind, part.name) for part in parts] == [
        (1, "disc", "RIMP00 Disc 0"),
        (3, "disc", "RIMP01 Disc 1"),
    ]
    check_device(parts[0].device, fill(n))
    check_device(parts[1].device, fill(n + 1, n + 2))


def wii_discs(count: int, partitions: int) -> bytes:
    """Discs that are all stored in the same sectors: a Wii disc with a table of partitions, of which nothing is there."""
    n = first_free(*[[1]] * count)
    disc = [n + sector // 2 for sector in range(8)]
    image = bytearray(wbfs(*[disc] * count))
    head = (b"RIMP01".ljust(0x18, b"\0") + struct.pack(">I", 0x5D1C9EA3)).ljust(0x100, b"\0")
    image[n * SECTOR : n * SECTOR + len(head)] = head
    table = struct.pack(">II", partitions, 0x40020 >> 2).ljust(0x20, b"\0")
    table += struct.pack(">II", 0x50000 >> 2, 0) * partitions
    for sector in range(n, n + 4):
        image[sector * SECTOR : sector * SECTOR + len(table)] = (
            table if sector > n else image[n * SECTOR :][: len(table)]
        )
    return bytes(image)


def test_a_disk_with_many_discs(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(wii_discs(100, 2))
    with open_image(tmp_path / "disk") as image:
        discs = [volume for volume in image.volumes if not volume.outer]
        assert len(discs) == 100
        assert {volume.table for volume in discs} == {"wii"}
        assert len(image.volumes) == 300


def test_many_discs_with_many_partitions_are_not_all_read(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(wii_discs(100, 128))
    with open_image(tmp_path / "disk") as image:
        assert len(image.volumes) == 100 + 7 * 128
        assert str(image.volumes[-1].problem) == "more than 16 tables in partitions"


def test_a_damaged_disc_costs_itself() -> None:
    n = first_free([1], [1])
    image = bytearray(wbfs([n], [n + 1]))
    info = -(-(0x100 + 2 * COUNT) // HD) * HD
    image[HD + 2 * info + 0x100 : HD + 2 * info + 0x102] = b"\0\0"
    good, bad = PARTITIONS.open(MemoryDevice(bytes(image)), context())
    check_device(good.device, fill(n))
    assert (bad.index, str(bad.fault)) == (
        3,
        f"wbfs: the disc in slot 2 has no sectors, at {HD + 2 * info:#x}",
    )


def test_parts_beside_it(tmp_path: Path) -> None:
    n = first_free([1])
    image = wbfs([n, n + 1, n + 2])
    cuts = [0, (n + 1) * SECTOR - 10, (n + 2) * SECTOR + 5, len(image)]
    for name, (start, end) in zip(("game.wbfs", "game.wbf1", "GAME.WBF2"), pairwise(cuts), strict=True):
        (tmp_path / name).write_bytes(image[start:end])
    with open_image(tmp_path / "game.wbf1") as opened:
        assert str(opened) == "file > wbfs"
        check_device(opened.disk, fill(n, n + 1, n + 2))


@pytest.mark.parametrize(("at", "value"), [(8, 0), (8, 40), (9, 14), (9, 30), (12, 0)])
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
