"""LZBITMAP. Nobody but Apple writes it: this writer is ours, and another decoder reads the same from it."""

from __future__ import annotations

import contextlib
import importlib
import random
from collections.abc import Callable

import pytest

from families.apple.lzbitmap_writer import stream
from imgmount.codecs import lzbitmap
from imgmount.errors import FormatError

TEXT = b"a line of text that comes again and again, a line of text; " * 60


SAMPLES = [TEXT, bytes(9001), random.Random(5).randbytes(5000) + TEXT, b"x", b""]
IDS = ["text", "zeros", "mixed", "one", "none"]


def decoders() -> list[Callable[[bytes], bytes]]:
    try:
        return [importlib.import_module("dissect.util.compression.lzbitmap").decompress]
    except ImportError:
        return []


@pytest.mark.parametrize("data", SAMPLES, ids=IDS)
def test_streams_decode_here_and_elsewhere(data: bytes) -> None:
    coded = stream(data)
    assert lzbitmap.decode(coded, len(data)) == data
    for decode in decoders():
        assert decode(coded) == data


def test_damage_is_a_format_error_wherever_it_is() -> None:
    coded = stream(SAMPLES[2], 1000)
    rng = random.Random(7)
    for _ in range(600):
        damaged = bytearray(coded)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with contextlib.suppress(FormatError):
            assert len(lzbitmap.decode(bytes(damaged), len(SAMPLES[2]))) == len(SAMPLES[2])
    for end in range(0, len(coded) - 6, 37):
        with pytest.raises(FormatError):
            lzbitmap.decode(coded[:end], len(SAMPLES[2]))
