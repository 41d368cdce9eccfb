"""ISZ images that are damaged, hostile, incomplete, or opened without their password."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from helpers import FIXTURES, NoSiblings, context
from imgmount.containers.optical.isz import FORMAT
from imgmount.core.cache import ReadCache
from imgmount.core.format import Context, Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, KeyRequiredError, MissingPartError, UnsupportedError

ISZ = FIXTURES / "containers" / "isz"
PLAIN = (ISZ / "plain" / "three.isz").read_bytes()
BLOCK = 4096


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


@pytest.mark.parametrize(
    ("offset", "new"),
    [
        (0x0C, struct.pack("<I", 0xFFFFFFFF)),
        (0x0C, bytes(4)),
        (0x19, struct.pack("<I", 0xFFFFFFFF)),
        (0x1D, bytes(4)),
        (0x1D, struct.pack("<I", 1 << 31)),
        (0x21, b"\0"),
        (0x21, b"\x09"),
        (0x23, struct.pack("<I", 1 << 31)),
        (0x2B, struct.pack("<I", 1 << 31)),
        (0x27, struct.pack("<I", 0x40)),
    ],
)
def test_impossible_headers_are_refused(offset: int, new: bytes) -> None:
    with pytest.raises(FormatError):
        FORMAT.open(MemoryDevice(patched(PLAIN, offset, new)), context())


def test_damage_costs_its_chunk_alone() -> None:
    clean = FORMAT.open(MemoryDevice(PLAIN), context())
    content = clean.pread(0, clean.size)
    data = int.from_bytes(PLAIN[0x2B:0x2F], "little")
    damaged = FORMAT.open(MemoryDevice(patched(PLAIN, data + 10, bytes(20))), context())
    with pytest.raises(FormatError, match="chunk 0"):
        damaged.pread(0, 1)
    assert damaged.pread(BLOCK, clean.size) == content[BLOCK:]


def test_a_cut_file_is_an_error_wherever_it_is_cut() -> None:
    for end in range(4, len(PLAIN), 613):
        with pytest.raises(ImageError):
            FORMAT.open(MemoryDevice(PLAIN[:end]), context())


def test_a_missing_segment_is_named() -> None:
    first = MemoryDevice((ISZ / "split" / "disc.part01.isz").read_bytes())
    with pytest.raises(MissingPartError, match=r"game\.part02\.isz"):
        FORMAT.open(first, Context(Path("game.part01.isz"), NoSiblings(), ReadCache(), Options()))


def test_passwords() -> None:
    data = MemoryDevice((ISZ / "plain" / "aes128.isz").read_bytes())
    with pytest.raises(KeyRequiredError, match="--password"):
        FORMAT.open(data, context())
    with pytest.raises(KeyRequiredError, match="wrong"):
        FORMAT.open(data, context(password="Secret"))
    with pytest.raises(UnsupportedError, match="encryption 1"):
        FORMAT.open(MemoryDevice(patched(PLAIN, 0x10, b"\1")), context())
