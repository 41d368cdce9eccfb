"""DAA images that are damaged, hostile, incomplete, or use what is not read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from helpers import FIXTURES, NoSiblings, context
from imgmount.containers.optical.daa import FORMAT
from imgmount.core.cache import ReadCache
from imgmount.core.format import Context, Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, ImageError, MissingPartError, UnsupportedError

DAA = FIXTURES / "containers" / "daa"
PLAIN = (DAA / "plain" / "deflate.daa").read_bytes()
PACKED = (DAA / "plain" / "lzma.daa").read_bytes()
CHUNK = 1 << 14


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    """Changed, and the header's CRC-32 made right."""
    data = data[:offset] + new + data[offset + len(new) :]
    return data[:72] + struct.pack("<I", zlib.crc32(data[:72])) + data[76:]


@pytest.mark.parametrize("data", [PLAIN, PACKED], ids=["0x100", "0x110"])
@pytest.mark.parametrize(
    ("offset", "new"),
    [
        (0x10, struct.pack("<I", 0xFFFFFFFF)),
        (0x10, struct.pack("<I", 4)),
        (0x18, struct.pack("<I", 0x00FFFFFF)),
        (0x24, bytes(4)),
        (0x28, struct.pack("<Q", 0)),
        (0x28, struct.pack("<Q", 1 << 60)),
        (0x28, struct.pack("<Q", 1 << 30)),
    ],
)
def test_impossible_headers_are_refused(data: bytes, offset: int, new: bytes) -> None:
    with pytest.raises(FormatError):
        FORMAT.open(MemoryDevice(patched(data, offset, new)), context())


def test_a_header_with_a_wrong_checksum_is_refused() -> None:
    with pytest.raises(ChecksumError):
        FORMAT.open(MemoryDevice(PLAIN[:0x28] + b"\1" + PLAIN[0x29:]), context())


def test_damage_costs_its_chunk_alone() -> None:
    clean = FORMAT.open(MemoryDevice(PLAIN), context())
    content = clean.pread(0, clean.size)
    (data,) = struct.unpack_from("<I", PLAIN, 0x18)
    damaged = FORMAT.open(MemoryDevice(PLAIN[: data + 9] + bytes(40) + PLAIN[data + 49 :]), context())
    with pytest.raises(FormatError, match="chunk 0"):
        damaged.pread(0, 1)
    assert damaged.pread(CHUNK, clean.size) == content[CHUNK:]


@pytest.mark.parametrize("data", [PLAIN, PACKED], ids=["0x100", "0x110"])
def test_a_cut_file_is_an_error_wherever_it_is_cut(data: bytes) -> None:
    for end in [*range(4, 120, 7), *range(120, len(data), 1013)]:
        with pytest.raises(ImageError):
            FORMAT.open(MemoryDevice(data[:end]), context())


@pytest.mark.parametrize(
    ("offset", "new", "reason"),
    [
        (0x14, struct.pack("<I", 0x120), "version 0x120"),
        (0x24, struct.pack("<I", 1 | 0x4000), "packed chunk table"),
        (0, b"DAA VOL\0", "volume"),
    ],
)
def test_what_is_not_read_is_refused_by_name(offset: int, new: bytes, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        FORMAT.open(MemoryDevice(patched(PACKED, offset, new)), context())


def test_encryption_is_refused_by_name() -> None:
    volumes = (DAA / "volumes" / "y.daa").read_bytes()
    with pytest.raises(UnsupportedError, match="encrypted images"):
        FORMAT.open(MemoryDevice(volumes[:76] + b"\3" + volumes[77:]), context())


def test_block_types_that_are_exchanged_otherwise_are_an_error() -> None:
    data = (DAA / "plain" / "types2.daa").read_bytes()
    (flags,) = struct.unpack_from("<I", data, 0x24)
    for other in (1, 2, 3):
        disk = FORMAT.open(
            MemoryDevice(patched(data, 0x24, struct.pack("<I", flags ^ other << 23))), context()
        )
        with pytest.raises(FormatError, match="chunk 0: "):
            disk.pread(0, 1)


def test_a_missing_volume_is_named() -> None:
    first = MemoryDevice((DAA / "volumes" / "x.part01.daa").read_bytes())
    with pytest.raises(MissingPartError, match=r"game\.part02\.daa"):
        FORMAT.open(first, Context(Path("game.part01.daa"), NoSiblings(), ReadCache(), Options()))
