"""ECM files that are damaged or hostile; the codes of CD sectors against a table-driven calculation."""

from __future__ import annotations

import lzma
import random
import struct

import pytest

from helpers import FIXTURES, context, wrong
from imgmount.codecs import cdrom
from imgmount.containers.optical.ecm import FORMAT, EcmDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError

ECM = lzma.decompress((FIXTURES / "containers" / "ecm" / "plain" / "disc.bin.ecm.xz").read_bytes())
END = b"\xfc\xff\xff\xff\x3f"


def opened(data: bytes) -> EcmDevice:
    device = FORMAT.open(MemoryDevice(data), context())
    assert isinstance(device, EcmDevice)
    return device


def test_the_whole_image_has_the_edc_that_the_file_ends_with() -> None:
    assert wrong(opened(ECM).verify()) == []
    assert len(wrong(opened(ECM[:-1] + bytes([ECM[-1] ^ 1])).verify())) == 1
    assert len(wrong(opened(ECM[:500] + b"?" + ECM[501:]).verify())) == 1


@pytest.mark.parametrize(
    "records",
    [
        b"",
        END,
        END + bytes(4),
        b"\x80" * 20,
        b"\xfc\xff\xff\xff\x7f" + bytes(20),
        b"\xfd\xff\xff\xff\x1f" + bytes(3000),
        b"\x05" + bytes(2051 * 2 - 1),
        b"\x00x" * 100,
    ],
    ids=[
        "nothing",
        "no checksum",
        "empty",
        "endless number",
        "number too large",
        "count",
        "cut sector",
        "no end",
    ],
)
def test_impossible_records_are_refused(records: bytes) -> None:
    with pytest.raises(FormatError):
        opened(b"ECM\0" + records)


def test_a_cut_file_is_an_error_wherever_it_is_cut() -> None:
    for end in range(4, len(ECM), 997):
        with pytest.raises(ImageError):
            opened(ECM[:end])


def edc(data: bytes, state: int = 0) -> int:
    for value in data:
        state ^= value
        for _ in range(8):
            state = state >> 1 ^ (0xD8018001 if state & 1 else 0)
    return state


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 31, 100, 2056, 2064, 2332, 9000])
def test_edc_is_the_crc_of_ecma_130(size: int) -> None:
    rng = random.Random(size)
    data, start = rng.randbytes(size), rng.getrandbits(32)
    assert cdrom.edc(data) == edc(data)
    if size >= 4:
        assert cdrom.edc(data, start) == edc(data, start)
    assert cdrom.edc(data[: size // 2] + data[size // 2 :]) == cdrom.edc(data)


def times(a: int, b: int) -> int:
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


@pytest.mark.parametrize("count", [1, 3])
def test_every_code_word_of_a_sector_sums_to_nothing_plain_and_weighted(count: int) -> None:
    rng = random.Random(count)
    sectors = [rng.randbytes(2064) for _ in range(count)]
    for sector, codes in zip(sectors, cdrom.parity(sectors), strict=True):
        field = sector + codes
        assert len(field) == 2340
        words = [[field[n + 86 * m] for m in range(26)] for n in range(86)]
        for n in range(52):
            diagonal = [field[(n // 2 * 86 + n % 2 + 88 * m) % 2236] for m in range(43)]
            words.append([*diagonal, field[2236 + n], field[2288 + n]])
        for word in words:
            plain = weighted = 0
            for value in word:
                plain ^= value
                weighted = times(weighted, 2) ^ value
            assert (plain, weighted) == (0, 0)


def test_a_start_value_works_for_short_data_too() -> None:
    assert cdrom.edc(b"ab", 0x01020304) == edc(b"ab", 0x01020304)
    assert struct.pack("<I", cdrom.edc(b"\x01")) == struct.pack("<I", edc(b"\x01"))
