"""Compressed files of HFS+ and APFS: every type, stored chunks, and headers that lie."""

from __future__ import annotations

import contextlib
import random
import struct

import pytest

from conformance import check_device
from families.apple.compressed import CHUNK, IN_FORK, INLINE, compressed, header, offsets_fork
from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.apple import decmpfs

pytest.importorskip("lzfse")
NOISE = random.Random(3).randbytes(CHUNK)
LONG = b"text that comes again, and again; " * 9000 + NOISE + bytes(1000)
SHORT = b"a short text, a short text, a short text"


def opened(attribute: bytes, fork: bytes = b"", cache: ReadCache | None = None) -> BlockDevice:
    cache = ReadCache(1 << 20) if cache is None else cache
    return decmpfs.content(decmpfs.parse(attribute), MemoryDevice(fork) if fork else None, cache)


@pytest.mark.parametrize("kind", INLINE)
@pytest.mark.parametrize("data", [SHORT, NOISE[:900], b""], ids=["text", "noise", "none"])
def test_small_files_are_in_their_attribute(kind: int, data: bytes) -> None:
    attribute, _ = compressed(kind, data)
    device = opened(attribute)
    assert (device.size, device.pread(0, 5000)) == (len(data), data)
    assert device.pread(3, 4) == data[3:7]


@pytest.mark.parametrize("kind", IN_FORK)
@pytest.mark.parametrize("data", [LONG, NOISE, SHORT, b""], ids=["long", "noise", "short", "none"])
def test_large_files_are_in_their_fork(kind: int, data: bytes) -> None:
    attribute, fork = compressed(kind, data)
    device = opened(attribute, fork)
    assert (device.size, device.pread(0, len(data) + 1)) == (len(data), data)


@pytest.mark.parametrize("kind", IN_FORK)
def test_eight_threads_read_the_same_bytes(kind: int) -> None:
    check_device(opened(*compressed(kind, LONG)), LONG)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(5, "generation store"), (0x8000_0001, "dataless"), (6, "not a known way"), (99, "0x63")],
)
def test_what_is_not_there_is_refused_by_name(kind: int, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        opened(header(kind, 100) + bytes(100), bytes(1000))


@pytest.mark.parametrize("kind", IN_FORK)
@pytest.mark.parametrize("size", [1 << 61, 1 << 40, 200 << 20, 1, len(LONG) + CHUNK])
def test_sizes_are_compared_with_the_chunks_first(kind: int, size: int) -> None:
    _, fork = compressed(kind, LONG)
    with pytest.raises(FormatError, match="decmpfs: "):
        opened(header(kind, size), fork)


def test_sizes_inside_an_attribute_are_small() -> None:
    with pytest.raises(FormatError, match="inside an attribute"):
        opened(header(3, 1 << 40) + b"x")
    for raw in (b"", b"fpmc", b"cmpf" + bytes(12), header(3, 1 << 63)):
        with pytest.raises(FormatError, match="decmpfs: "):
            decmpfs.parse(raw)


def test_a_damaged_chunk_costs_itself_alone() -> None:
    attribute, fork = compressed(8, LONG)
    places = struct.unpack_from("<4I", fork)
    broken = bytearray(fork)
    broken[places[1] : places[2]] = b"\x0e" * (places[2] - places[1])
    device = opened(attribute, bytes(broken))
    assert device.pread(0, CHUNK) == LONG[:CHUNK]
    assert device.pread(2 * CHUNK, CHUNK) == LONG[2 * CHUNK : 3 * CHUNK]
    with pytest.raises(ImageError):
        device.pread(CHUNK, 10)


def test_offsets_outside_the_fork_are_told() -> None:
    fork = bytearray(offsets_fork([b"\xcc" + NOISE, b"\xcc" + NOISE]))
    fork[4:8] = struct.pack("<I", 1 << 31)
    device = opened(header(10, 2 * CHUNK), bytes(fork))
    for at in (0, CHUNK):
        with pytest.raises(FormatError, match="chunk"):
            device.pread(at, 10)
    with pytest.raises(FormatError, match="without the resource fork"):
        opened(header(10, 10))


def test_random_damage_is_never_anything_but_an_image_error() -> None:
    rng = random.Random(11)
    for kind in (*INLINE, *IN_FORK):
        attribute, fork = compressed(kind, LONG if kind in IN_FORK else SHORT)
        for _ in range(60):
            parts = [bytearray(attribute), bytearray(fork)]
            for part in parts:
                for _ in range(2 if part else 0):
                    part[rng.randrange(min(len(part), 400))] = rng.randrange(256)
            with contextlib.suppress(ImageError):
                device = opened(bytes(parts[0]), bytes(parts[1]))
                assert len(device.pread(0, 1 << 20)) == min(device.size, 1 << 20)
