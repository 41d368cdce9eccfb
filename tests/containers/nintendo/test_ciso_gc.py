from __future__ import annotations

import struct

import pytest

from conformance import check_device
from helpers import context
from imgmount import registry
from imgmount.containers.nintendo.ciso_gc import FORMAT, HEADER_SIZE
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError

BLOCK = 0x8000


def ciso(stored: bytes, blocks: bytes, block: int = BLOCK) -> bytes:
    return (b"CISO" + struct.pack("<I", block) + stored).ljust(HEADER_SIZE, b"\0") + blocks


def blocks(*numbers: int) -> bytes:
    return b"".join(bytes([number]) * BLOCK for number in numbers)


def opened(image: bytes) -> BlockDevice:
    return FORMAT.open(MemoryDevice(image), context())


def test_blocks_and_holes() -> None:
    device = opened(ciso(b"\1\0\0\1\1\0\1", blocks(1, 2, 3, 4)))
    check_device(device, blocks(1, 0, 0, 2, 3, 0, 4))
    assert [(run.length // BLOCK, run.device is None) for run in device.extents(0, device.size)] == [
        (1, False), (2, True), (2, False), (1, True), (1, False),
    ]  # fmt: skip


def test_a_truncated_file_costs_what_is_missing() -> None:
    device = opened(ciso(b"\1\1\1", blocks(1, 2, 3)[: 2 * BLOCK + 7]))
    assert device.pread(0, 2 * BLOCK + 7) == blocks(1, 2, 3)[: 2 * BLOCK + 7]
    with pytest.raises(ImageError):
        device.pread(2 * BLOCK, 8)


@pytest.mark.parametrize("size", [0, 0x18, 0x4000, 0x8001, 0x8000_0000])
def test_other_block_sizes_are_not_ours(size: int) -> None:
    image = MemoryDevice(ciso(b"\1", blocks(1), size))
    assert FORMAT.name not in {fmt.name for _, fmt in registry.matches(ContainerFormat, image)}
    with pytest.raises(FormatError):
        FORMAT.open(image, context())


@pytest.mark.parametrize("stored", [b"", b"\2", b"\1\0\xff"])
def test_a_map_is_zeros_and_ones(stored: bytes) -> None:
    with pytest.raises(FormatError, match="map"):
        opened(ciso(stored, blocks(1)))
