from __future__ import annotations

import struct

import pytest

from conformance import check_device
from helpers import FIXTURES, context
from imgmount.containers.compressed.zstd import FORMAT, parse_frame_header
from imgmount.core.cache import ReadCache
from imgmount.core.format import Match
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, UnsupportedError
from packers import disk, noise, opened, problems, readable, run

DATA = disk(1_500_000)
SEEKABLE = FIXTURES / "containers/zstd/seekable/disk.img.zst"


@pytest.mark.parametrize(
    "back", [1, 5, 9, 17, 105], ids=["magic", "descriptor", "count", "last stored size", "a stored size"]
)
def test_a_seek_table_that_contradicts_the_file_is_not_used(back: int) -> None:
    coded = bytearray(SEEKABLE.read_bytes())
    sound = opened(bytes(coded), "zstd")
    assert "seek table" in getattr(sound, "info")()["frames"]  # noqa: B009
    coded[-back] ^= 0x40
    device = opened(bytes(coded), "zstd")
    assert "seek table" not in getattr(device, "info")()["frames"]  # noqa: B009
    check_device(device, sound.pread(0, sound.size))


@pytest.mark.parametrize("error", [0, 1])
def test_a_seek_table_must_agree_with_the_frames_sizes(error: int) -> None:
    frames = [
        run("zstd -q -c --stream-size=500000", DATA[start : start + 500_000])
        for start in range(0, len(DATA), 500_000)
    ]
    entries = b"".join(struct.pack("<II", len(frame), 500_000 - error) for frame in frames)
    table = entries + struct.pack("<IBI", len(frames), 0, 0x8F92EAB1)
    device = opened(b"".join(frames) + struct.pack("<II", 0x184D2A5E, len(table)) + table, "zstd")
    check_device(device, DATA)
    assert ("seek table" in getattr(device, "info")()["frames"]) == (not error)  # noqa: B009


def test_a_window_of_two_gigabytes_is_refused() -> None:
    frame = struct.pack("<IBB", 0xFD2FB528, 0, 21 << 3) + struct.pack("<I", (1 << 24 | 1 << 1 | 1))[:3] + b"x"
    device = FORMAT.open(MemoryDevice(frame), context())
    with pytest.raises(FormatError, match="damaged"):
        device.pread(0, 1)
    assert problems(device)


def test_a_dictionary_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="zstd: dictionary"):
        parse_frame_header(b"\x28\xb5\x2f\xfd\x23\1\0\0\0\5" + bytes(10), 0)


@pytest.mark.parametrize("claim", [1, len(DATA) - 1, len(DATA) + 1, 1 << 40, 1 << 61])
def test_a_wrong_size_is_an_error_and_no_memory(claim: int) -> None:
    coded = run("zstd -q -c --no-check --no-content-size", DATA)
    frame = coded[:4] + bytes([coded[4] | 0xC0]) + coded[5:6] + claim.to_bytes(8, "little") + coded[6:]
    device = opened(frame, "zstd")
    assert device.size == claim
    with pytest.raises(FormatError, match="zstd"):
        device.pread(claim - 1, 1)


def test_skippable_frames_alone_are_not_zstd() -> None:
    skippable = struct.pack("<II", 0x184D2A51, 3) + b"abc"
    assert FORMAT.probe(MemoryDevice(skippable * 3)) is Match.NO
    assert FORMAT.probe(MemoryDevice(skippable * 200)) is Match.NO
    check_device(opened(skippable * 3 + run("zstd -q -c", DATA) + skippable, "zstd"), DATA)


def test_trailing_garbage_is_a_problem_and_no_obstacle() -> None:
    device = opened(run("zstd -q -c", DATA) + b"garbage!", "zstd")
    check_device(device, DATA)
    assert "ignored" in problems(device)[0]


@pytest.mark.parametrize("capacity", [1 << 20, 64 << 20], ids=["bit by bit", "whole"])
def test_what_precedes_damage_in_a_large_frame_is_served(capacity: int) -> None:
    data = noise(6 << 20)
    coded = bytearray(run(f"zstd -q -c --stream-size={len(data)}", data))
    at, number = coded.index(b"\x28\xb5\x2f\xfd") + parse_frame_header(bytes(coded[:18]), 0).size, 0
    while number < 24:
        at, number = at + 3 + (int.from_bytes(coded[at : at + 3], "little") >> 3), number + 1
    coded[at + 3 : at + 8] = b"\xff" * 5  # literals of an impossible size
    device = opened(bytes(coded), "zstd", ReadCache(capacity))
    served = readable(device, data)
    assert 24 * (128 << 10) - (96 << 10) <= served <= 24 * (128 << 10)
    assert device.pread(0, served) == data[:served]
    with pytest.raises(FormatError, match="damaged"):
        device.pread(len(data) - 1, 1)
    (problem,) = problems(device)
    assert problem.endswith("to 0x600000: zstd: the compressed data is damaged")


def test_behind_a_damaged_frame_of_unknown_size_nothing_is_placed() -> None:
    first, second = run("zstd -q -c", DATA), run("zstd -q -c", b"second" * 5000)
    coded = bytearray(first + second)
    at = parse_frame_header(first[:18], 0).size
    at += 3 + (int.from_bytes(first[at : at + 3], "little") >> 3)  # the second block
    coded[at + 3 : at + 8] = b"\xff" * 5  # literals of an impossible size
    device = opened(bytes(coded), "zstd")
    served = readable(device, DATA)
    assert 0 < served <= 128 << 10
    assert device.size > served
    for offset in range(128 << 10, device.size, 4096):
        with pytest.raises(FormatError, match="damaged"):
            device.pread(offset, 1)


@pytest.mark.parametrize("stated", [True, False], ids=["size stated", "size unknown"])
def test_a_damaged_header_of_a_block_costs_what_follows_it(stated: bool) -> None:
    data = noise(2 << 20)
    coded = bytearray(run(f"zstd -q -c --stream-size={len(data)}" if stated else "zstd -q -c", data))
    at, number = parse_frame_header(bytes(coded[:18]), 0).size, 0
    while number < 8:
        at, number = at + 3 + (int.from_bytes(coded[at : at + 3], "little") >> 3), number + 1
    coded[at] |= 6  # type 3
    device = opened(bytes(coded), "zstd", ReadCache(1 << 20))
    assert device.size == len(data) if stated else device.size >= 900_000
    served = readable(device, data[: device.size])
    assert served >= 900_000
    assert device.pread(0, served) == data[:served]
    assert any("type 3" in line for line in problems(device))


@pytest.mark.parametrize("size", [f"--stream-size={len(DATA)}", ""], ids=["size stated", "size unknown"])
def test_a_frame_whose_checksum_disagrees_is_not_served(size: str) -> None:
    coded = bytearray(run(f"zstd -q -c {size}", DATA))
    coded[-2] ^= 1
    device = opened(bytes(coded), "zstd")
    with pytest.raises(FormatError, match="disagrees with the checksum"):
        device.pread(0, 1)
    found = problems(device)
    assert found
    assert all("disagrees with the checksum" in line for line in found)
