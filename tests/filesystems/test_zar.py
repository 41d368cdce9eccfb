from __future__ import annotations

import struct

import pytest

from conformance import tree
from helpers import FIXTURES, context, wrong
from imgmount.core.format import own_check
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from imgmount.filesystems.zar import FOOTER_SIZE, FORMAT, IS_FILE, ZarVolume, probe

FIXTURE = FIXTURES / "filesystems/zar/wua/game.wua"


def archive(nodes: list[tuple[int, int, int, int]], names: bytes = b"\1a\1b") -> ZarVolume:
    parts = [
        b"",
        struct.pack(">Q16H", 0, *[0] * 16),
        names,
        b"".join(struct.pack(">4I", *node) for node in nodes),
        b"",
        b"",
    ]
    places, at = [], 0
    for part in parts:
        places += [at, len(part)]
        at += len(part)
    footer = struct.pack(">12Q32sQII", *places, bytes(32), at + FOOTER_SIZE, 0x61BF3A01, 0x169F52D6)
    return ZarVolume(MemoryDevice(b"".join(parts) + footer), context())


ROOT = 0x7FFF_FFFF


@pytest.mark.parametrize(
    "nodes",
    [
        [(ROOT, 0, 1, 0)],  # the root in itself
        [(ROOT, 1, 1, 0), (0, 1, 1, 0)],
        [(ROOT, 1, 1, 0), (0, 0, 2, 0)],
        [(ROOT, 1, 9, 0), (0, 2, 0, 0)],
        [(ROOT, 1, 2, 0), (0, 3, 1, 0), (2, 3, 1, 0), (IS_FILE, 0, 0, 0)],  # one file in two directories
        [(ROOT, 1, 1, 0), (IS_FILE | 99, 0, 0, 0)],
    ],
)
def test_loops_and_lies(nodes: list[tuple[int, int, int, int]]) -> None:
    with pytest.raises(FormatError):
        list(tree(archive(nodes).root))


def test_an_empty_directory() -> None:
    assert [path for path, _ in tree(archive([(ROOT, 1, 1, 0), (0, 0, 0, 0)]).root)] == ["a"]


def test_verify_reads_the_whole_archive() -> None:
    data = FIXTURE.read_bytes()
    assert wrong(own_check(FORMAT.open(MemoryDevice(data), context()))) == []
    bad = data[:100] + bytes([data[100] ^ 1]) + data[101:]
    (problem,) = wrong(own_check(FORMAT.open(MemoryDevice(bad), context())))
    assert problem.startswith("SHA-256 is ")


def test_a_truncated_archive_is_none() -> None:
    data = FIXTURE.read_bytes()
    assert probe(MemoryDevice(data))
    assert not probe(MemoryDevice(data[10:]))
