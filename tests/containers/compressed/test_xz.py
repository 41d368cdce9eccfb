from __future__ import annotations

import lzma

import pytest

from conformance import check_device
from imgmount.containers.compressed.xz import UnindexedXzDevice
from imgmount.core.block_decoder import GRAIN
from packers import disk, opened, problems, readable, run

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
    assert readable(device, DATA) == len(DATA) - 7 * (64 << 10)  # what was asked of the first 400,000 bytes
    assert len(problems(device)) == 1


@pytest.mark.parametrize("back", [1, 5, 9, 13, 17, 20])
def test_an_index_that_is_wrong_is_not_used(back: int) -> None:
    coded = bytearray(lzma.compress(DATA))
    coded[-back] ^= 1
    device = opened(bytes(coded), "xz")
    assert isinstance(device, UnindexedXzDevice)
    assert readable(device, DATA) == device.size > len(DATA) - GRAIN
    assert problems(device)


def test_an_empty_stream() -> None:
    device = opened(lzma.compress(b""), "xz")
    assert device.size == 0
    assert problems(device) == []
