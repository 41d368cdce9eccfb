"""ADC, KenCode, DART's codecs, and checksums by any polynomial."""

from __future__ import annotations

import contextlib
import random
import zlib

import pytest

from helpers import image
from imgmount.codecs import adc, dart, kencode
from imgmount.codecs.bits import BitReader
from imgmount.codecs.crc32 import extend_by_zeros
from imgmount.codecs.crcs import ShiftedCrc
from imgmount.errors import FormatError


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x83abcd", b"abcd"),
        (b"\x80a\x3c\0", b"a" * 19),  # a copy of what it makes itself
        (b"\x82abc\x04\x02", b"abcabca"),
        (b"\x83abcd\x43\0\x03", b"abcdabcdabc"),
        (b"\x80x" * 300 + b"\x01\x2b", b"x" * 303),
    ],
)
def test_adc(data: bytes, expected: bytes) -> None:
    assert adc.decode(data + b"ignored", len(expected)) == expected


@pytest.mark.parametrize("data", [b"", b"\x85ab", b"\0", b"\x40\0", b"\0\0", b"\x80a\x40\0\1"])
def test_adc_that_is_damaged(data: bytes) -> None:
    with pytest.raises(FormatError):
        adc.decode(data, 100)


def test_adc_too_long() -> None:
    with pytest.raises(FormatError, match="4 bytes or more, not 3"):
        adc.decode(b"\x83abcd", 3)


def from_bits(text: str) -> bytes:
    text = text.replace(" ", "")
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def test_kencode_worked_example() -> None:
    """ClassicMac, codecs/kencode.md, 2."""
    assert kencode.decode(from_bits("00 101 01100001 01100010 01100011 00 1001"), 6) == b"abcabc"


def test_kencode_that_is_damaged() -> None:
    with pytest.raises(FormatError, match="a match 1 bytes back, 0 are there"):
        kencode.decode(from_bits("01 0"), 10)
    with pytest.raises(FormatError, match="ends after"):
        kencode.decode(b"", 100)


def test_dart_rle() -> None:
    assert dart.decode_rle(b"\0\2abcd\xff\xfdxy", 10) == b"abcdxyxyxy"
    for damaged in (b"", b"\0\5ab", b"\xff\xfe", b"\xff\xf0ab", b"\x80\0ab"):
        with pytest.raises(FormatError):
            dart.decode_rle(damaged, 10)


def test_dart_lzh_of_a_real_image() -> None:
    data = image("dart/danifunker__rusty-backup__lzh_chunk0.bin").read_bytes()
    block = dart.decode_lzh(data, 20960)
    assert len(block) == 20960
    assert block[1024:1026] == b"BD"
    with pytest.raises(FormatError, match="ends after"):
        dart.decode_lzh(data[:100], 20960)


def test_codecs_survive_noise() -> None:
    rng = random.Random(7)
    for _ in range(300):
        noise = rng.randbytes(rng.randrange(200))
        for decode in (adc.decode, kencode.decode, dart.decode_rle, dart.decode_lzh):
            with contextlib.suppress(FormatError):
                assert len(decode(noise, 1000)) == 1000


def test_checksums() -> None:
    crc28 = ShiftedCrc(0x04C11DB7)  # values of Disk Copy 6.3.3 and of the ClassicMac project
    assert crc28.update(b"123456789", 0xFFFFFFFF) == 0x03B0D416
    assert crc28.update(bytes(819200), 0xFFFFFFFF) == crc28.zeros(819200, 0xFFFFFFFF) == 0x0321EDEE
    for count in (0, 1, 7, 512, 100_003):
        assert extend_by_zeros(zlib.crc32(b"abc"), count) == zlib.crc32(bytes(count), zlib.crc32(b"abc"))
    assert extend_by_zeros(5, 1 << 60) != 5


def test_bits() -> None:
    bits = BitReader(b"\xa5\x0f")
    assert [bits.take(count) for count in (1, 3, 4, 0, 8)] == [1, 2, 5, 0, 15]
    assert bits.beyond == 0
    assert bits.take(32) == 0
    assert bits.beyond == 32
