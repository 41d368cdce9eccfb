"""Every compressed format alike: forwards with a small cache, in threads, cut short, bits flipped."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from conformance import check_device
from fixture import Fixture, all_fixtures
from imgmount.chain.open import open_image
from imgmount.core.cache import ReadCache
from imgmount.errors import ImageError
from packers import disk, opened, problems, readable, run

PACKERS = {
    "gzip": "gzip -c",
    "bgzip": "bgzip -c",
    "bzip2": "bzip2 -1 -c",
    "xz": "xz -0 -c",
    "xz blocks": "xz -0 -c --block-size=300000",
    "lzma": "xz --format=lzma -0 -c",
    "zstd": "zstd -q -c --no-content-size",
}
FORMATS = {"bgzip": "gzip", "xz blocks": "xz"}
SIZE = 3_000_001


def packed(name: str, data: bytes) -> tuple[bytes, str]:
    return run(PACKERS[name], data), FORMATS.get(name, name)


@pytest.mark.parametrize("fixture", [one for one in all_fixtures() if one.facts.get("packed")], ids=str)
@pytest.mark.parametrize("ahead", [0, 2])
def test_a_small_cache_gives_the_same_bytes(fixture: Fixture, tmp_path: Path, ahead: int) -> None:
    path = fixture.image_path(tmp_path)
    with open_image(path) as image:
        expected = image.disk.pread(0, image.disk.size)
    cache = ReadCache(2 << 20)
    with open_image(path, cache=cache) as image:
        if ahead:
            cache.start(ahead)
        check_device(image.disk, expected)


@pytest.mark.parametrize("name", PACKERS)
def test_a_sound_image_has_no_problems(name: str) -> None:
    data = disk(SIZE)
    device = opened(*packed(name, data))
    assert readable(device, data) == device.size == SIZE
    assert problems(device) == []


@pytest.mark.parametrize("name", PACKERS)
def test_a_truncated_image_serves_what_decodes(name: str) -> None:
    data = disk(SIZE)
    coded, fmt = packed(name, data)
    for tenth in range(1, 10):
        device = opened(coded[: len(coded) * tenth // 10], fmt)
        assert readable(device, data) <= SIZE
        assert problems(device)
    assert readable(device, data) > SIZE // 3


@pytest.mark.parametrize("name", PACKERS)
def test_an_image_cut_in_its_header_is_an_image_error_or_unknown(name: str) -> None:
    coded, fmt = packed(name, disk(100_000))
    for size in range(4, 40):
        try:
            device = opened(coded[:size], fmt)
        except (ImageError, AssertionError):
            continue
        assert readable(device, disk(100_000)) < 1000


@pytest.mark.parametrize("name", PACKERS)
def test_a_flipped_bit_gives_an_error_and_no_wrong_byte(name: str) -> None:
    data = disk(SIZE)
    coded, fmt = packed(name, data)
    rng = random.Random(7)
    for _ in range(12):
        place = rng.randrange(len(coded) // 8, len(coded) * 7 // 8)
        damaged = bytearray(coded)
        damaged[place] ^= 1 << rng.randrange(8)
        device = opened(bytes(damaged), fmt)
        if name in ("gzip", "lzma", "zstd"):  # the checksum, if there is one, comes after all that it covers
            assert name == "lzma" or problems(device)
            continue
        assert readable(device, data) < SIZE
        assert problems(device)
