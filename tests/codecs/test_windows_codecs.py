"""XPRESS, LZX and LZMS: what libwim compresses, decoded by it and, but for LZMS, without it."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_void_p, create_string_buffer
from functools import cache

import pytest

from imgmount.codecs import libwim, lzms, lzx, xpress
from imgmount.codecs.huffman import code
from imgmount.codecs.libwim import Kind
from imgmount.core.cache import Content
from imgmount.errors import FormatError, UnsupportedError

RNG = random.Random(1987)


def prose(size: int) -> bytes:
    words = [RNG.randbytes(RNG.randrange(2, 9)) for _ in range(40)]
    return b" ".join(RNG.choice(words) for _ in range(size // 4 + 1))[:size]


def calls(size: int) -> bytes:
    """Machine code: what the x86 filters change, with targets of every kind."""
    targets = (0, 5, 11_999_999, 12_000_000, 0xFFFF_FFFF, 0xFFFF_0000, 0x8000_0000, 0xE8E8_E8E8)
    pieces = (
        b"\xe8" + struct.pack("<I", RNG.choice((*targets, RNG.randrange(1 << 24)))) for _ in range(size)
    )
    return b"".join(piece + RNG.randbytes(RNG.randrange(4)) for piece in pieces)[:size]


CONTENT = {
    "prose": prose(70000),
    "calls": calls(33000),
    "zeros": bytes(70000),
    "runs": b"".join(bytes([RNG.randrange(256)]) * RNG.choice((1, 2, 3, 18, 300, 9000)) for _ in range(99)),
    "pairs": b"ab" * 35000,
    "noise with words": b"".join(RNG.randbytes(9) + b"the words come again" for _ in range(2500)),
}


@cache
def compressor(kind: Kind, largest: int, level: int) -> c_void_p:
    if (library := libwim.library()) is None:
        pytest.skip("libwim is not installed")
    library.wimlib_create_compressor.argtypes = [c_int, c_size_t, c_uint, POINTER(c_void_p)]
    library.wimlib_compress.argtypes = [c_char_p, c_size_t, c_char_p, c_size_t, c_void_p]
    library.wimlib_compress.restype = c_size_t
    handle = c_void_p()
    assert library.wimlib_create_compressor(kind, largest, level, byref(handle)) == 0
    return handle


def compressed(kind: Kind, data: bytes, largest: int, level: int = 50) -> bytes:
    """What libwim makes of a chunk; it must get smaller."""
    handle = compressor(kind, largest, level)
    buffer = create_string_buffer(len(data))
    size = libwim.library().wimlib_compress(data, len(data), buffer, len(data) - 1, handle)
    assert size
    return buffer.raw[:size]


@pytest.mark.parametrize("level", [20, 100])
@pytest.mark.parametrize("size", [4096, 8192, 16384, 32768, 65536, 1001])
@pytest.mark.parametrize("name", CONTENT)
def test_xpress(name: str, size: int, level: int) -> None:
    data = CONTENT[name][:size]
    coded = compressed(Kind.XPRESS, data, 65536, level)
    assert xpress.decompress(coded, len(data)) == data
    assert xpress.decode(coded, len(data)) == data


@pytest.mark.parametrize("window", [1 << 15, 1 << 16, 1 << 17, 1 << 20, 1 << 21])
@pytest.mark.parametrize("size", [32768, 65536, 70000, 999])
@pytest.mark.parametrize("name", CONTENT)
def test_lzx(name: str, size: int, window: int) -> None:
    data = CONTENT[name][: min(size, window)]
    coded = compressed(Kind.LZX, data, window)
    assert lzx.decompress(coded, len(data), window) == data
    assert lzx.decode(coded, len(data), window) == data


@pytest.mark.parametrize("name", CONTENT)
def test_lzms(name: str) -> None:
    data = CONTENT[name]
    assert lzms.decompress(compressed(Kind.LZMS, data, 1 << 20), len(data), 1 << 20) == data


def test_an_lzx_block_that_is_stored() -> None:
    """wimlib writes none, Microsoft does.

    R0 to R2 and the bytes begin at the next word, and what follows at an even one.
    """
    content = bytes(range(1, 102))

    def block(data: bytes, held: int, bits: int) -> bytes:
        word = (held << 20 | 0b0110 << 16 | len(data)) << (
            32 - 20 - bits
        )  # kind 3, no default size, 16 bits of size
        return struct.pack("<HH", word >> 16 & 0xFFFF, word & 0xFFFF) + struct.pack("<III", 1, 2, 3) + data

    coded = block(content[:51], 0, 0) + b"\0" + block(content[51:], 0, 0)
    assert lzx.decode(coded, 101, 1 << 15) == content
    if libwim.library() is not None:
        assert lzx.decompress(coded, 101, 1 << 15) == content
    with pytest.raises(FormatError):
        lzx.decode(coded[:-1], 101, 1 << 15)
    with pytest.raises(FormatError):
        lzx.decode(coded, 102, 1 << 15)


@pytest.mark.parametrize("kind", [Kind.XPRESS, Kind.LZX])
def test_damage_is_told_and_never_decoded_in_two_ways(kind: Kind) -> None:
    data = CONTENT["noise with words"][:4096]
    coded = compressed(kind, data, 1 << 15 if kind is Kind.LZX else 1 << 16)
    for _ in range(150):
        bad = bytearray(coded)
        bad[RNG.randrange(len(bad))] ^= 1 << RNG.randrange(8)
        outcomes = []
        for decode in decoders(kind):
            try:
                outcomes.append(bytes(decode(bytes(bad), len(data))))
            except FormatError:
                continue
        assert len(set(outcomes)) <= 1
    for cut in (0, 1, 100, 256, len(coded) // 2, len(coded) - 9):
        with pytest.raises(FormatError):
            decoders(kind)[0](coded[:cut], len(data))


Decoder = Callable[[bytes, int], Content]


def decoders(kind: Kind) -> tuple[Decoder, Decoder]:
    if kind is Kind.XPRESS:
        return xpress.decode, xpress.decompress
    return lambda data, size: lzx.decode(data, size, 1 << 15), lambda data, size: lzx.decompress(
        data, size, 1 << 15
    )


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    data = CONTENT["prose"][:32768]
    small, large = compressed(Kind.XPRESS, data, 65536), compressed(Kind.LZX, data, 32768)
    monkeypatch.setattr(libwim, "library", lambda: None)
    assert xpress.decompress(small, 32768) == data
    assert lzx.decompress(large, 32768, 32768) == data
    with pytest.raises(UnsupportedError, match="apt install libwim15"):
        lzms.decompress(b"any", 3, 1 << 15)


def test_sizes_that_no_chunk_has() -> None:
    with pytest.raises(FormatError):
        xpress.decompress(bytes(300), 65537)
    with pytest.raises(FormatError):
        lzx.decompress(b"", 40000, 1 << 15)
    with pytest.raises(FormatError):
        lzx.decompress(b"", 40000, 1 << 22)


@pytest.mark.parametrize("lengths", [[1, 1, 1], [2, 2, 2], [15] * 512, [1]])
def test_codes_that_are_not_complete(lengths: list[int]) -> None:
    with pytest.raises(FormatError):
        code(lengths, "any")
    assert code([0, 0], "any").table == []
