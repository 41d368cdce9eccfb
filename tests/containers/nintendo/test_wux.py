from __future__ import annotations

import struct

import pytest

from conformance import check_device
from helpers import FIXTURES, context
from imgmount.containers.nintendo.wux import FORMAT, HEADER_SIZE
from imgmount.core.device import BlockDevice
from imgmount.core.holes import allocated
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError

FIXTURE = FIXTURES / "containers/wux/plain/game.wux"
SECTOR = 0x8000


def wux(index: list[int], stored: bytes, size: int | None = None, sector: int = SECTOR) -> bytes:
    size = len(index) * sector if size is None else size
    head = struct.pack("<4sIIIQQ", b"WUX0", 0x1099D02E, sector, 0, size, 0) + struct.pack(
        f"<{len(index)}I", *index
    )
    return head.ljust(-(-len(head) // sector) * sector, b"\0") + stored if sector else head


def opened(data: bytes) -> BlockDevice:
    device: BlockDevice = FORMAT.open(MemoryDevice(data), context())
    return device


def sectors(count: int, size: int = SECTOR) -> bytes:
    return b"".join(bytes([number + 1]) * size for number in range(count))


def test_an_index_past_the_end_costs_that_sector_only() -> None:
    stored = sectors(3)
    device = opened(wux([0, 1, 7, 0xFFFF_FFFF, 2], stored))
    for good, number in ((0, 0), (1, 1), (4, 2)):
        assert device.pread(good * SECTOR, SECTOR) == stored[number * SECTOR :][:SECTOR]
    for bad in (2, 3):
        with pytest.raises(ImageError):
            device.pread(bad * SECTOR + 5, 1)
        with pytest.raises(ImageError):
            device.pread(bad * SECTOR - 1, 2)


def test_a_run_that_leaves_the_file_costs_what_is_outside_only() -> None:
    device = opened(wux([0, 1, 2], sectors(3)[: 2 * SECTOR + 100]))
    assert device.pread(0, 2 * SECTOR + 100) == sectors(3)[: 2 * SECTOR + 100]
    with pytest.raises(ImageError):
        device.pread(2 * SECTOR + 100, 1)


@pytest.mark.parametrize("place", range(20))
def test_truncated(place: int) -> None:
    data = FIXTURE.read_bytes()
    whole = opened(data)
    expected = whole.pread(0, whole.size)
    kept = data[: len(data) * place // 20]
    try:
        device = opened(kept)
    except FormatError:
        assert len(kept) < HEADER_SIZE + 4 * -(-whole.size // SECTOR)
        return
    assert device.size == whole.size
    for offset in range(0, device.size, SECTOR):
        try:
            sector = device.pread(offset, SECTOR)
        except ImageError:
            continue
        assert sector == expected[offset : offset + SECTOR]


@pytest.mark.parametrize("size", [0, 1, 0x80, 0x8001, 0x9000, 0x1000_0000, 0x8000_0000, 0xFFFF_FFFF])
def test_a_bad_sector_size(size: int) -> None:
    head = struct.pack("<4sIIIQQ", b"WUX0", 0x1099D02E, size, 0, SECTOR, 0)
    with pytest.raises(FormatError, match="sector size"):
        opened(head.ljust(1 << 16, b"\0"))


@pytest.mark.parametrize("size", [0, 1 << 63, (1 << 64) - 1, SECTOR * ((1 << 24) + 1)])
def test_a_bad_disc_size(size: int) -> None:
    with pytest.raises(FormatError, match=f"disc size {size} is not from 1 to"):
        opened(wux([0], sectors(1), size))


@pytest.mark.parametrize("sector", [0x100, 0x1000, 0x8000, 0x10000])
@pytest.mark.parametrize("short", [0, 1, 0xFF])
def test_sector_sizes_and_a_last_sector_in_part(sector: int, short: int) -> None:
    index = [3, 0, 1, 2, 2, 0, 3]
    stored = sectors(4, sector)
    disc = b"".join(stored[number * sector : (number + 1) * sector] for number in index)
    check_device(opened(wux(index, stored, len(disc) - short, sector)), disc[: len(disc) - short])


def test_equal_runs_are_one_extent() -> None:
    device = opened(wux([4, 5, 6, 0, 1], sectors(7)))
    assert [run.length // SECTOR for run in device.extents(0, device.size)] == [3, 2]


def test_empty_sectors_are_one_hole() -> None:
    stored = sectors(2) + bytes(SECTOR) + sectors(1)
    device = opened(wux([0, 2, 2, 2, 1, 3, 3, 2], stored))
    expected = b"".join(stored[number * SECTOR :][:SECTOR] for number in (0, 2, 2, 2, 1, 3, 3, 2))
    check_device(device, expected)
    runs = [(run.length // SECTOR, run.device is None) for run in device.extents(0, device.size)]
    assert runs == [(1, False), (3, True), (1, False), (1, False), (1, False), (1, False)]
    assert allocated(device) == 5 * SECTOR


def test_a_repeated_sector_past_the_end_is_no_hole() -> None:
    device = opened(wux([9, 9, 0], sectors(1)))
    with pytest.raises(ImageError):
        device.pread(0, 1)
    assert device.pread(2 * SECTOR, SECTOR) == sectors(1)
