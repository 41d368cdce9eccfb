"""The decoder made of the system's libzstd does what the standard library's does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from imgmount.codecs import libzstd, zstd
from imgmount.errors import UnsupportedError

if libzstd.load() is None:
    pytest.skip("the system has no libzstd", allow_module_level=True)

DATA = bytes(range(256)) * 2000
library = zstd.library()


def packed(**flags: int) -> bytes:
    options = {getattr(library.CompressionParameter, name): value for name, value in flags.items()}
    compressor = library.ZstdCompressor(options=options)
    return bytes(compressor.compress(DATA) + compressor.flush())


def steps(decoder: Any, pieces: list[bytes], limit: int) -> Iterator[tuple[bytes, bool, bool, bytes]]:
    """What a decoder says that is fed as block decoders do it."""
    feed = iter(pieces)
    while not decoder.eof:
        given = next(feed) if decoder.needs_input else b""
        yield decoder.decompress(given, limit), decoder.eof, decoder.needs_input, decoder.unused_data


@pytest.mark.parametrize("limit", [-1, 1 << 20, len(DATA), 70_001, 4096])
@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
@pytest.mark.parametrize("flags", [{}, {"checksum_flag": 1, "content_size_flag": 0}])
def test_it_says_the_same_at_each_step(limit: int, piece: int, flags: dict[str, int]) -> None:
    data = packed(**flags) + b"tail"
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    mine = list(steps(libzstd.ZstdDecompressor(), pieces, limit))
    assert mine == list(steps(library.ZstdDecompressor(), pieces, limit))
    assert b"".join(step[0] for step in mine) == DATA


def test_damage_is_an_error() -> None:
    data = packed(checksum_flag=1)
    for bad in (data[:-1] + bytes([data[-1] ^ 1]), b"not a frame"):
        with pytest.raises(libzstd.ZstdError):
            libzstd.ZstdDecompressor().decompress(bad)


def test_a_frame_that_has_ended_takes_no_more() -> None:
    decoder = libzstd.ZstdDecompressor()
    assert decoder.decompress(packed()) == DATA
    with pytest.raises(EOFError):
        decoder.decompress(b"")


def test_it_takes_the_place_of_a_module_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library.__name__, None)
    monkeypatch.delattr(library.__name__.partition(".")[0] + ".zstd", raising=False)
    assert zstd.library() is libzstd
    monkeypatch.setattr(libzstd, "load", lambda: None)
    with pytest.raises(UnsupportedError, match=r"pip install imgmount\[zstd\]"):
        zstd.library()
