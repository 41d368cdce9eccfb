"""Runs of coded units, decoded straight to their places."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from functools import partial

import pytest

from imgmount.codecs import deflate, libzstd, zstd
from imgmount.codecs.pieces import DecodeAll, Piece, blank
from imgmount.errors import FormatError

UNITS = [bytes(range(number, 256)) * size for number, size in enumerate((90, 1, 400, 33))]


def raw(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def frame(data: bytes) -> bytes:
    packed: bytes = zstd.library().compress(data)
    return packed


Codec = tuple[Callable[[bytes], bytes], DecodeAll]


@pytest.fixture(params=["raw", "zlib", "zstd"])
def codec(request: pytest.FixtureRequest) -> Codec:
    codecs: dict[str, Codec] = {
        "raw": (raw, deflate.inflate_all),
        "zlib": (zlib.compress, partial(deflate.inflate_all, wrapper="zlib")),
        "zstd": (frame, zstd.decode_all),
    }
    return codecs[request.param]


@pytest.fixture(params=[True, False], autouse=True)
def direct(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the C libraries are called directly."""
    if not request.param:
        monkeypatch.setattr(deflate, "_libdeflate", lambda: None)
        monkeypatch.setattr(libzstd, "load", lambda: None)
    return bool(request.param)


def run(encode: Callable[[bytes], bytes]) -> tuple[bytes, list[Piece]]:
    """The units coded, with padding between them, from last to first."""
    data, pieces, at = b"", [], sum(map(len, UNITS))
    for unit in reversed(UNITS):
        at -= len(unit)
        coded = encode(unit) + b"pad"
        pieces.append((len(data), len(coded), at, len(unit)))
        data += coded
    return data, pieces


def test_units_come_to_their_places(codec: Codec) -> None:
    encode, decode_all = codec
    data, pieces = run(encode)
    out = blank(sum(map(len, UNITS)))
    decode_all(data, out, pieces)
    assert out == b"".join(UNITS)


def test_units_of_another_size(codec: Codec) -> None:
    encode, decode_all = codec
    data, [(start, stored, at, size), *_] = run(encode)
    for wrong in (size - 1, size + 1):
        with pytest.raises(FormatError):
            decode_all(data, blank(1 << 20), [(start, stored, at, wrong)])


def test_damage(codec: Codec) -> None:
    encode, decode_all = codec
    data = random.Random(1).randbytes(3000)
    coded = encode(data)
    for cut in (0, 1, len(coded) // 2, len(coded) - 1):
        with pytest.raises(FormatError):
            decode_all(coded[:cut], blank(3000), [(0, cut, 0, 3000)])


@pytest.mark.parametrize("direct", [True], indirect=True)  # nothing else could
def test_nothing_outside_is_read_or_written(codec: Codec) -> None:
    encode, decode_all = codec
    coded = encode(UNITS[0])
    stored, size = len(coded), len(UNITS[0])
    for piece in (
        (-1, stored, 0, size),
        (0, -1, 0, size),
        (1, stored, 0, size),
        (0, stored, -1, size),
        (0, stored, 1, size),
        (0, stored, 0, 0),
        (0, stored, 0, -1),
    ):
        with pytest.raises(FormatError):
            decode_all(coded, blank(size), [piece])
