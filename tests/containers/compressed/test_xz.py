from __future__ import annotations

import lzma
import random
from zlib import crc32

import pytest

from conformance import check_device
from imgmount.containers.compressed.xz import XzDevice
from imgmount.containers.compressed.xz_block import ChunkEnds
from imgmount.core.cache import ReadCache
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, UnsupportedError
from imgmount.jobs.reading import GRAIN, Reader
from packers import disk, noise, opened, problems, readable, run

DATA = disk(1_500_000)


@pytest.mark.parametrize("check", ["none", "crc32", "crc64", "sha256"])
def test_checks(check: str) -> None:
    device = opened(run(f"xz -0 -c --check={check} --block-size=400000", DATA), "xz")
    check_device(device, DATA)
    assert getattr(device, "info")()["check"].lower().replace("-", "") == check  # noqa: B009


@pytest.mark.parametrize("check", ["crc32", "crc64", "sha256"])
def test_a_wrong_check_costs_its_block(check: str) -> None:
    coded = bytearray(run(f"xz -0 -c --check={check} --block-size=400000", DATA))
    first = coded.index(b"\x02\x00\x21\x01") if b"\x02\x00\x21\x01" in coded else 13
    coded[first + 5000] ^= 1
    device = opened(bytes(coded), "xz")
    assert list(ChunkEnds(MemoryDevice(bytes(coded)), 24, len(coded))) == [400_000]
    assert readable(device, DATA) == len(DATA) - 7 * (64 << 10)  # what was asked of the first 400,000 bytes
    assert len(problems(device)) == 1


@pytest.mark.parametrize("back", [1, 5, 9, 13, 17, 20])
def test_an_index_that_is_wrong_is_not_used(back: int) -> None:
    coded = bytearray(lzma.compress(DATA))
    coded[-back] ^= 1
    device = opened(bytes(coded), "xz")
    assert readable(device, DATA) == device.size == len(DATA)
    assert "found without the index" in problems(device)[0]


def test_blocks_are_followed_without_an_index() -> None:
    coded = run("xz -0 -c --check=sha256 --block-size=400000", DATA)
    device = opened(coded[:-50], "xz")
    assert isinstance(device, XzDevice)
    assert device.info()["blocks"] == "4"
    check_device(device, DATA)


@pytest.mark.parametrize("capacity", [1 << 20, 64 << 20], ids=["bit by bit", "whole"])
def test_what_precedes_damage_in_a_large_block_is_served(capacity: int) -> None:
    """Up to the LZMA2 chunk that holds the damage: from there on the decoder may run on and give wrong bytes."""
    data = noise(6 << 20)
    coded = run("xz -0 -c", data)
    chunks = ChunkEnds(MemoryDevice(coded), 24, len(coded))
    ends = [(decoded, chunks.stored) for decoded in chunks]
    assert ends[-1][0] == len(data)
    for number in (0, 1, len(ends) // 2, len(ends) - 1):
        place = (ends[number - 1][1] if number else 24) + 1000
        proven = ends[number - 1][0] if number else 0
        damaged = bytearray(coded)
        damaged[place] ^= 0x20
        device = opened(bytes(damaged), "xz", ReadCache(capacity))
        assert device.size == len(data)
        assert device.pread(0, proven) == data[:proven]
        with pytest.raises(FormatError, match="damaged"):
            device.pread(proven, 1)
        with pytest.raises(FormatError, match="damaged"):
            device.pread(len(data) - 1, 1)
        assert device.pread(0, proven) == data[:proven]
        (lost,) = Reader().unreadable(device, "disk")
        assert 0 <= proven - lost.start < GRAIN
        assert lost[1:3] == (len(data), "xz: the compressed data is damaged")


def test_a_block_whose_checksum_disagrees_is_not_served() -> None:
    """A flip in data that LZMA2 only copies meets nothing but the checksum at the end: nobody knows where it is."""
    data = random.Random(1).randbytes(300_000)
    coded = bytearray(run("xz -0 -c", data))
    coded[len(coded) // 2] ^= 1
    device = opened(bytes(coded), "xz")
    with pytest.raises(FormatError, match="disagrees with the checksum"):
        device.pread(0, 1)


def test_a_dictionary_that_is_too_large_is_refused_by_name() -> None:
    coded = bytearray(run("xz -0 -c", DATA))
    coded[16] = 40  # the dictionary's size code: 4 GiB
    coded[20:24] = crc32(coded[12:20]).to_bytes(4, "little")
    with pytest.raises(
        UnsupportedError, match="a dictionary of 4294967295: decoders are given 256 MiB at most"
    ):
        opened(bytes(coded), "xz").pread(0, 1)


def test_an_empty_stream() -> None:
    device = opened(lzma.compress(b""), "xz")
    assert device.size == 0
    assert problems(device) == []
