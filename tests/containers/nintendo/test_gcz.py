from __future__ import annotations

import struct
import zlib

import pytest

from conformance import check_device
from helpers import context
from imgmount.containers.nintendo.gcz import FORMAT, STORED, GczDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError
from imgmount.jobs.reading import Reader


def gcz(data: bytes, block: int, raw: set[int] = frozenset()) -> bytes:  # type: ignore[assignment]
    places, sums, body = [], [], b""
    for number, at in enumerate(range(0, len(data), block)):
        piece = data[at : at + block].ljust(block, b"\0")
        stored = piece if number in raw else zlib.compress(piece)
        places.append(len(body) | (STORED if number in raw else 0))
        sums.append(zlib.adler32(stored))
        body += stored
    head = struct.pack("<IIQQII", 0xB10BC001, 0, len(body), len(data), block, len(places))
    return head + struct.pack(f"<{len(places)}Q{len(places)}I", *places, *sums) + body


def opened(data: bytes) -> GczDevice:
    device = FORMAT.open(MemoryDevice(data), context())
    assert isinstance(device, GczDevice)
    return device


DATA = b"".join(struct.pack(">I", n) for n in range(100_000))


@pytest.mark.parametrize("block", [0x1000, 0x4000, 0x8000, 0x20000, 0x3000])
@pytest.mark.parametrize("size", [1, 0x8000, len(DATA) - 3])
def test_block_sizes(block: int, size: int) -> None:
    device = opened(gcz(DATA[:size], block, {1, 3}))
    check_device(device, DATA[:size])
    assert list(Reader().unreadable(device, "disc")) == []


def test_a_changed_byte_costs_its_block_only() -> None:
    image = bytearray(gcz(DATA, 0x8000))
    image[-100] ^= 1
    device = opened(bytes(image))
    last = len(DATA) // 0x8000
    edge = last * 0x8000 // device.block_size * device.block_size
    assert device.pread(0, edge) == DATA[:edge]
    with pytest.raises(ChecksumError, match=f"block {last} "):
        device.pread(len(DATA) - 1, 1)
    (lost,) = Reader().unreadable(device, "disc")
    assert lost[:2] == (last * 0x8000, device.size)


@pytest.mark.parametrize(
    ("at", "value"), [(0x18, 0), (0x18, 0xFFFFFFFF), (0x1C, 0), (0x1C, 0xFFFFFFFF), (0x10, 1)]
)
def test_headers_that_lie(at: int, value: int) -> None:
    image = bytearray(gcz(DATA, 0x8000))
    struct.pack_into("<I", image, at, value)
    with pytest.raises(FormatError):
        opened(bytes(image))


def test_places_that_go_back() -> None:
    image = bytearray(gcz(DATA, 0x8000))
    struct.pack_into("<Q", image, 0x20 + 8, 1 << 40)
    device = opened(bytes(image))
    with pytest.raises(FormatError, match="block 0 is said to have"):
        device.pread(0, 1)
    assert device.pread(0x20000, 0x8000) == DATA[0x20000:0x28000]
