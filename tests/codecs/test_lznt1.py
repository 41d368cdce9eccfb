"""LZNT1: examples by hand, damage, and the library against Python."""

from __future__ import annotations

import random

import pytest

from imgmount.codecs import lznt1
from imgmount.errors import FormatError

DECODERS = (lznt1.decode, lznt1.decode_slowly)


def chunk(body: bytes, *, coded: bool = True) -> bytes:
    return (len(body) - 1 | 0x3000 | coded << 15).to_bytes(2, "little") + body


@pytest.mark.parametrize("decode", DECODERS)
def test_the_example_of_the_specification(decode: type) -> None:
    packed = bytes.fromhex(  # [MS-XCA] 3.3
        "38b08846232000204720410010a24701a045204400084501507900c045200524"
        "138805b4024a44ef0358028c091601484500be009e000401189000"
    )
    text = (
        b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E "
        b"D E A F# F# G A A G F# E D D E F# E D D\0"
    )
    assert decode(packed, len(text)) == text


@pytest.mark.parametrize("decode", DECODERS)
def test_overlapping_matches_and_stored_chunks(decode: type) -> None:
    run = chunk(b"\x02a" + (0xFFC).to_bytes(2, "little"))  # 'a', then 4095 times the byte before
    stored = chunk(bytes(range(256)) * 16, coded=False)
    assert decode(run + stored + b"\0\0", 3 * 4096) == b"a" * 4096 + bytes(range(256)) * 16 + bytes(4096)


@pytest.mark.parametrize("decode", DECODERS)
def test_a_chunk_that_is_short_ends_in_zeros(decode: type) -> None:
    short = chunk(b"\x00abcd")
    assert decode(short + chunk(b"\x00efgh"), 8192) == b"abcd" + bytes(4092) + b"efgh" + bytes(4092)
    assert decode(short, 4) == b"abcd"
    assert decode(b"", 10) == bytes(10)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (chunk(b"\x01\x00\x00"), "begins 1 bytes before"),
        (chunk(b"\x02ab"), "a match that is cut"),
        (chunk(b"\x00abcd")[:-2], "ends at"),
        (chunk(b"\x06a" + b"\xfd\x0f" + b"\xfd\x0f"), "more than 4096 bytes"),
    ],
)
def test_damage(decode: type, data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        decode(data, 8192)


def test_the_library_and_python_agree_on_damaged_data() -> None:
    rng = random.Random(5)
    for _ in range(400):
        packed = b"".join(chunk(rng.randbytes(rng.randrange(1, 60)), coded=True) for _ in range(3))
        size = rng.choice((100, 4096, 10_000))
        found = []
        for decode in DECODERS:
            try:
                found.append(decode(packed, size))
            except FormatError:
                found.append(b"damaged")
        assert found[0] == found[1]
