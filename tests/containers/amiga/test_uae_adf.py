"""Extended ADF: damaged and foreign tracks, impossible tables. What is right: see the fixture."""

from __future__ import annotations

import lzma
import random
from struct import pack, pack_into

import pytest

from helpers import FIXTURES, context
from imgmount.codecs.mfm import sectors
from imgmount.containers.amiga.uae_adf import FORMAT, UaeAdfDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError

IMAGE = lzma.decompress((FIXTURES / "containers/uae_adf/mixed/disk.adf.xz").read_bytes())
TRACK = 11 * 512
DATA = 12 + 160 * 12  # where track 0 begins: raw MFM


def opened(data: bytes) -> UaeAdfDevice:
    device = FORMAT.open(MemoryDevice(data), context())
    assert isinstance(device, UaeAdfDevice)
    return device


def test_it_says_what_it_has() -> None:
    device = opened(IMAGE)
    assert device.info() == {"tracks": "160 of 11 sectors, 8 raw MFM"}
    assert list(device.verify()) == []


def test_a_damaged_raw_sector_costs_its_track() -> None:
    data = bytearray(IMAGE)
    data[DATA + 300] ^= 0x10
    device = opened(bytes(data))
    with pytest.raises(FormatError, match=r"sectors \[\d+\] of raw track 0"):
        device.pread(0, 1)
    assert device.pread(TRACK, 100) == opened(IMAGE).pread(TRACK, 100)
    assert len(list(device.verify())) == 1


def test_a_foreign_raw_track_is_refused_by_name() -> None:
    data = bytearray(IMAGE)
    size = int.from_bytes(data[16:20], "big")
    data[DATA : DATA + size] = random.Random(1).randbytes(size)
    with pytest.raises(UnsupportedError, match="track 0 is raw MFM without"):
        opened(bytes(data)).pread(0, 1)
    pack_into(">H", data, 14, 7)
    with pytest.raises(UnsupportedError, match="type 7"):
        opened(bytes(data)).pread(0, 1)


def test_unformatted_tracks_are_zeros_and_a_short_table_is_a_short_disk() -> None:
    head = (
        pack(">8sHH", b"UAE-1ADF", 0, 2) + pack(">HHII", 0, 0, 0, 0) + pack(">HHII", 0, 0, TRACK, 8 * TRACK)
    )
    device = opened(head + b"x" * TRACK)
    assert device.size == 160 * TRACK
    assert device.pread(0, 3 * TRACK) == bytes(TRACK) + b"x" * TRACK + bytes(TRACK)


def test_high_density() -> None:
    device = opened(
        pack(">8sHH", b"UAE-1ADF", 0, 1) + pack(">HHII", 0, 0, 2 * TRACK, 16 * TRACK) + b"x" * 2 * TRACK
    )
    assert device.size == 320 * TRACK
    assert device.pread(0, 2 * TRACK) == b"x" * 2 * TRACK


@pytest.mark.parametrize("count", [0, 169, 0xFFFF])
def test_impossible_tables_are_refused(count: int) -> None:
    with pytest.raises(FormatError):
        opened(pack(">8sHH", b"UAE-1ADF", 0, count) + bytes(400))


def test_truncation_and_more_bits_than_bytes() -> None:
    for cut in (0, 11, 12, 500, DATA - 1):
        with pytest.raises(FormatError):
            opened(IMAGE[:cut])
    with pytest.raises(ImageError):
        opened(IMAGE[: DATA + 99]).pread(0, 1)
    with pytest.raises(FormatError, match="size of track 0 1073741824 is not from 0 to 1 MiB"):
        opened(IMAGE[:16] + (1 << 30).to_bytes(4, "big") + IMAGE[20:])
    with pytest.raises(FormatError, match="number of bits of track 0 4294967295 is not from 0 to"):
        opened(IMAGE[:20] + b"\xff\xff\xff\xff" + IMAGE[24:])


def test_any_bits_are_sectors_or_nothing() -> None:
    rng = random.Random(3)
    for size in (0, 1, 4, 500, 3000):
        assert sectors(b"\x44\x89\x44\x89" + rng.randbytes(size), 8 * (size + 4), 0) == {}
    assert sectors(b"", 0, 0) == {}
