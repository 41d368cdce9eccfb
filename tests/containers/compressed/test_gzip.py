from __future__ import annotations

import gzip
import zlib

import pytest

from conformance import check_device
from helpers import context, image
from imgmount.chain.open import open_image
from imgmount.containers.compressed.gzip import MAX_COPIES, Header, _Scan
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from packers import disk, opened, problems, readable, run

DATA = disk(2_500_000)


@pytest.mark.parametrize(
    ("tail", "problem"),
    [
        (b"", ""),
        (bytes(70_000), ""),
        (b"garbage", "7 bytes"),
        (bytes(5) + b"\x1f\x8b\x08", "3 bytes"),
        (b"\x1f", "1 bytes"),
    ],
)
def test_what_follows_the_last_member(tail: bytes, problem: str) -> None:
    device = opened(gzip.compress(DATA) + tail, "gzip")
    check_device(device, DATA)
    assert all(problem in found for found in problems(device))
    assert bool(problems(device)) == bool(problem)


def test_zeros_between_members() -> None:
    device = opened(gzip.compress(DATA) + bytes(1000) + gzip.compress(b"second") + gzip.compress(b""), "gzip")
    check_device(device, DATA + b"second")
    assert problems(device) == []


@pytest.mark.parametrize("back", [8, 4])
def test_a_wrong_checksum_or_length_is_a_problem_and_no_obstacle(back: int) -> None:
    coded = bytearray(gzip.compress(DATA))
    coded[-back] ^= 1
    device = opened(bytes(coded), "gzip")
    check_device(device, DATA)
    assert "disagrees" in problems(device)[0]


def test_damage_keeps_the_size_and_costs_what_follows() -> None:
    coded = bytearray(gzip.compress(DATA, 1))
    half = len(coded) // 2
    coded[half : half + 64] = b"\xff" * 64
    device = opened(bytes(coded), "gzip")
    assert device.size == len(DATA)
    with pytest.raises(FormatError, match="gzip"):
        device.pread(len(DATA) - 1, 1)
    assert device.pread(0, len(DATA) // 3) == DATA[: len(DATA) // 3]


def test_a_damaged_bgzf_member_costs_its_chunk() -> None:
    coded = bytearray(run("bgzip -c", DATA))
    coded[len(coded) // 2] ^= 1
    device = opened(bytes(coded), "gzip")
    assert len(DATA) - (512 << 10) <= readable(device, DATA) < len(DATA)
    assert len(problems(device)) == 1


@pytest.mark.parametrize("cut", [0, 1, 9, 10, 11, 12, 15])
def test_a_header_must_be_whole(cut: int) -> None:
    header = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x02\0ab" + b"name\0" + b"comment\0" + b"\0\0"
    assert Header.parse(header + b"data", 0) == Header(len(header), b"ab", "name")
    with pytest.raises(FormatError):
        Header.parse(header[:cut], 0)


def test_reserved_flags_are_not_gzip() -> None:
    with pytest.raises(FormatError):
        Header.parse(b"\x1f\x8b\x08\xe0" + bytes(20), 0)


def test_a_bomb_costs_time_and_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgmount.containers.compressed.gzip.MAX_COPIES", 10)
    size = 100 << 20
    coder = zlib.compressobj(9, zlib.DEFLATED, 31)
    coded = b"".join([*(coder.compress(bytes(1 << 20)) for _ in range(100)), coder.flush()])
    scan = _Scan(MemoryDevice(coded))
    assert scan.size == size
    assert len(scan.copies) <= 10 < MAX_COPIES
    device = opened(coded, "gzip")
    assert device.pread(size - 100, 1000) == bytes(100)


def test_a_member_that_ends_in_a_hole_is_followed_to_its_trailer() -> None:
    pieces = [DATA + bytes(3_456_789), bytes(5 << 20), DATA[:1000]]
    device = opened(b"".join(map(gzip.compress, pieces)), "gzip")
    check_device(device, b"".join(pieces))
    assert problems(device) == []


def bgzf_member(coded: bytes | bytearray, number: int) -> int:
    """Where it begins."""
    start = 0
    for _ in range(number):
        start += int.from_bytes(coded[start + 16 : start + 18], "little") + 1
    return start


@pytest.mark.parametrize("size", [0, 100, 0xFFFF])
def test_a_bgzf_member_that_states_a_wrong_size_costs_nothing(size: int) -> None:
    coded = bytearray(run("bgzip -c", DATA))
    at = bgzf_member(coded, 9) + 16
    coded[at : at + 2] = size.to_bytes(2, "little")
    device = opened(bytes(coded), "gzip")
    check_device(device, DATA)


def test_behind_a_lost_bgzf_member_nothing_is_guessed() -> None:
    coded = bytearray(run("bgzip -c", DATA))
    start = bgzf_member(coded, 9)
    coded[start - 40 : start + 20] = bytes(60)  # the end of one, the header of the next
    device = opened(bytes(coded), "gzip")
    for offset in range(0, device.size, 4096):
        try:
            assert device.pread(offset, 4096) == DATA[offset : offset + 4096]
        except FormatError:
            assert offset >= 8 * 0xFF00 - (512 << 10)
    assert device.pread(0, 4096) == DATA[:4096]
    assert len(problems(device)) >= 2


def test_zeros_behind_a_bgzf_file_without_an_end_are_padding() -> None:
    coded = run("bgzip -c", DATA)
    device = opened(coded[:-28] + bytes(5000), "gzip")
    check_device(device, DATA)
    assert problems(device) == []


def test_a_cut_bgzf_file_ends_in_an_error() -> None:
    coded = run("bgzip -c", DATA)
    device = opened(coded[: len(coded) // 2], "gzip")
    assert device.pread(0, len(DATA) // 4) == DATA[: len(DATA) // 4]
    with pytest.raises(FormatError, match="no member begins here"):
        device.pread(device.size - 1, 1)


def test_many_small_members() -> None:
    pieces = [DATA[start : start + 997] for start in range(0, 300_000, 997)]
    device = opened(b"".join(map(gzip.compress, pieces)), "gzip")
    check_device(device, b"".join(pieces))


def test_it_is_only_likely() -> None:
    from imgmount.containers.compressed.gzip import FORMAT
    from imgmount.core.format import Match

    assert FORMAT.probe(MemoryDevice(gzip.compress(b"x"))) is Match.LIKELY
    with pytest.raises(FormatError):
        FORMAT.open(MemoryDevice(b"\x1f\x8b"), context())


@pytest.mark.parametrize(
    "name",
    [
        "raw-mbr-gpt/balena-io__etcher__etcher-gpt-test.img.gz",
        "hdf-rdb/adflib__ADFlib__a590_WD93028XA_6parts.hdd.gz",
    ],
)
def test_images_of_others(name: str) -> None:
    path = image(name)
    with open_image(path) as found, gzip.open(path) as oracle:
        assert [layer.name for layer in found.layers][:2] == ["file", "gzip"]
        device = found.layers[1].device
        for offset in range(0, device.size, 1 << 20):
            assert device.pread(offset, 1 << 20) == oracle.read(1 << 20)
        assert oracle.read(1) == b""
