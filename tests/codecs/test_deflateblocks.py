"""Deflate taken apart into blocks: zlib's own streams, whose block ends have to be found, damaged and hostile ones."""

from __future__ import annotations

import random
import zlib

import pytest

from imgmount.codecs import deflateblocks
from imgmount.codecs.deflateblocks import MAX_BLOCKS, inflate_exchanged
from imgmount.errors import FormatError

RNG = random.Random(1951)
WORDS = [RNG.randbytes(RNG.randrange(3, 9)) for _ in range(300)]
DATA = (
    b"".join(RNG.choices(WORDS, k=12000))
    + RNG.randbytes(40000)
    + bytes(20000)
    + b"".join(RNG.choices(WORDS, k=3000))
)
AS_USUAL = bytes((0, 1, 2))


def deflated(level: int, memory: int, strategy: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, memory, strategy)
    return (
        packer.compress(DATA[:70000])
        + packer.flush(zlib.Z_SYNC_FLUSH)
        + packer.compress(DATA[70000:])
        + packer.flush()
    )


@pytest.mark.parametrize("strategy", [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE])
@pytest.mark.parametrize("memory", [1, 9])
def test_streams_of_many_blocks(strategy: int, memory: int) -> None:
    for level in (1, 6, 9):
        assert inflate_exchanged(deflated(level, memory, strategy), len(DATA), AS_USUAL) == DATA


@pytest.mark.parametrize("span", [1, 3, 50])
def test_blocks_that_are_larger_than_what_is_looked_at_first(
    span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deflateblocks, "SPAN", span)
    short = b"".join(RNG.choices(WORDS, k=200))
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED):
        for cut in range(0, len(short), 7):
            packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
            coded = packer.compress(short[:cut]) + packer.flush(
                zlib.Z_PARTIAL_FLUSH if cut % 2 else zlib.Z_BLOCK
            )
            coded += packer.compress(short[cut:]) + packer.flush()
            assert inflate_exchanged(coded, len(short), AS_USUAL) == short


def test_what_is_not_as_long_as_it_should_be_is_an_error() -> None:
    coded = deflated(9, 9, zlib.Z_DEFAULT_STRATEGY)
    for size in (0, 1, len(DATA) - 1, len(DATA) + 1):
        with pytest.raises(FormatError):
            inflate_exchanged(coded, size, AS_USUAL)
    for end in range(0, len(coded) - 1, 997):
        with pytest.raises(FormatError):
            inflate_exchanged(coded[:end], len(DATA), AS_USUAL)


def test_damage_is_an_error_or_other_content() -> None:
    coded = zlib.compress(DATA[:5000])[2:-4]
    for at in range(0, 8 * len(coded), 5):
        changed = bytearray(coded)
        changed[at >> 3] ^= 1 << (at & 7)
        try:
            assert len(inflate_exchanged(bytes(changed), 5000, AS_USUAL)) == 5000
        except FormatError:
            continue


def test_blocks_without_content_end_somewhere() -> None:
    empty = "0" + "10" + "0000000"  # a fixed block that ends at once
    bits = empty * (MAX_BLOCKS + 10)
    coded = int(bits[::-1], 2).to_bytes(len(bits) // 8 + 1, "little")
    with pytest.raises(FormatError, match="0 bytes where 9 should be"):
        inflate_exchanged(coded, 9, AS_USUAL)
