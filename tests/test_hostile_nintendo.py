"""Discs that lie, through the real command: bounded memory and time of the processor, one line, no traceback."""

from __future__ import annotations

import bz2
import lzma
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from hashlib import sha1
from itertools import islice
from pathlib import Path
from typing import IO

import pytest

import test_hostile
from fixture import Fixture, all_fixtures
from helpers import SRC
from imgmount.chain.open import open_image
from imgmount.core.format import Options
from imgmount.core.node import File, Node
from imgmount.errors import ImgMountError
from imgmount.jobs.describe import describe
from imgmount.vfs.tree import View, build_vfs
from test_hostile import check, limit_memory, run

MAX_SECONDS = 3  # of the processor, the interpreter's start among them

Maker = Callable[[IO[bytes]], object]


def be(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def le(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def put(file: IO[bytes], *pieces: tuple[int, bytes], size: int = 0) -> None:
    """``pieces`` at their places, the rest a hole."""
    for place, data in pieces:
        file.seek(place)
        file.write(data)
    file.truncate(max(size, file.seek(0, 2)))


def gamecube(
    fst: bytes, fst_size: int = 0, places: tuple[int, int] = (0, 0x3000)
) -> tuple[tuple[int, bytes], ...]:
    header = b"GBAD01".ljust(0x1C, b"\0") + be(0xC2339F3D)
    return (0, header), (0x420, be(*places, fst_size or len(fst))), (places[1], fst)


def node(kind: int, name: int, first: int, last: int) -> bytes:
    return be(kind << 24 | name, first, last)


def flat(nodes: int, names: bytes) -> bytes:
    """A table of files: a root with ``nodes`` - 1 files that all have the same name."""
    return node(1, 0, 0, nodes) + node(0, 0, 0, 1) * (nodes - 1) + names


def nested(depth: int) -> bytes:
    return node(1, 0, 0, depth) + b"".join(node(1, 0, n, depth) for n in range(1, depth)) + b"d\0"


def gcm_of_many_files(file: IO[bytes]) -> None:
    put(file, *gamecube(flat(1 << 15, b"a\0")))


def gcm_of_a_million_files(file: IO[bytes]) -> None:
    put(file, *gamecube(flat(1 << 20, b"a\0")))


def gcm_whose_names_never_end(file: IO[bytes]) -> None:
    fst = flat(1 << 15, b"")
    put(file, *gamecube(fst + b"x" * (8 << 20)))


def gcm_of_the_largest_table(file: IO[bytes]) -> None:
    put(file, *gamecube(flat(1, b"")[:8] + be(0xFFFF_FFFF), 0xFFFF_FFFF), size=5 << 30)


def gcm_nested_deeply(file: IO[bytes]) -> None:
    put(file, *gamecube(nested(3000)))


def gcm_with_a_loop(file: IO[bytes]) -> None:
    put(file, *gamecube(node(1, 0, 0, 3) + node(1, 0, 0, 3) + node(1, 0, 0, 1) + b"a\0"))


def gcm_with_paths_for_names(file: IO[bytes]) -> None:
    names = b"../../etc/passwd\0..\0/\0.\0\0"
    starts = (0, 17, 20, 22, 24)
    put(file, *gamecube(node(1, 0, 0, 6) + b"".join(node(0, at, 0, 1) for at in starts) + names))


def gcm_whose_files_overlap(file: IO[bytes]) -> None:
    put(
        file,
        *gamecube(
            node(1, 0, 0, 4) + b"".join(node(0, 0, 0, size) for size in (9, 0x3010, 0xFFFF_FFFF)) + b"a\0"
        ),
    )


def wii_of_many_partitions(file: IO[bytes]) -> None:
    header = b"RBAD01".ljust(0x18, b"\0") + be(0x5D1C9EA3)
    table = be(0x60000 >> 2, 0) * 128
    part = be(0xFFFFFF, 0x2C0 >> 2, 0xFFFFFF, 0x2C0 >> 2, 0x8000 >> 2, 0x20000 >> 2, 0xFFFF_FFFF)
    put(file, (0, header), (0x40000, be(128, 0x50000 >> 2)), (0x50000, table), (0x602A4, part), size=20 << 30)


def wii_of_partitions_past_the_end(file: IO[bytes]) -> None:
    header = b"RBAD01".ljust(0x18, b"\0") + be(0x5D1C9EA3)
    put(file, (0, header), (0x40000, be(0xFFFF_FFFF, 0xFFFF_FFFF) * 4), size=0x60000)


def gcz(block: int, blocks: int, places: bytes, data: bytes) -> bytes:
    return (
        b"\x01\xc0\x0b\xb1"
        + struct.pack("<IQQII", 1, len(data), block * blocks, block, blocks)
        + places
        + data
    )


def gcz_bomb(file: IO[bytes]) -> None:
    """Eight blocks of the largest size in a few KiB each, all of them the same."""
    packed = zlib.compress(bytes(16 << 20), 9)
    places = struct.pack("<8Q", *(n * len(packed) for n in range(8))) + le(*[zlib.adler32(packed)] * 8)
    put(file, (0, gcz(16 << 20, 8, places, packed * 8)))


def gcz_of_many_blocks(file: IO[bytes]) -> None:
    put(file, (0, gcz(1 << 12, 1 << 21, b"", b"")), size=64 << 20)


def gcz_past_the_end(file: IO[bytes]) -> None:
    put(file, (0, gcz(1 << 15, 4, struct.pack("<4Q", 0, 1 << 60, 5, 1 << 62) + le(0, 0, 0, 0), bytes(100))))


def wux_of_many_sectors(file: IO[bytes]) -> None:
    count = 1 << 21
    put(file, (0, b"WUX0\x2e\xd0\x99\x10" + struct.pack("<IIQQ", 0x8000, 0, count << 15, 0)), size=9 << 20)


def wux_that_goes_back_and_forth(file: IO[bytes]) -> None:
    count = 1 << 20
    header = b"WUX0\x2e\xd0\x99\x10" + struct.pack("<IIQQ", 0x100, 0, count << 8, 0)
    put(file, (0, header + le(1, 0) * (count // 2)), size=(5 << 20))


def wdf_of_many_pieces(file: IO[bytes]) -> None:
    count = 1 << 18
    header = b"WII\1DISC" + struct.pack(">II8xQQ4xIQ", 2, 0x38, 1 << 33, 0, count, 0x38)
    pieces = b"".join(struct.pack(">QQQ", n * 0x8000, 0x38, 8) for n in range(count))
    put(file, (0, header + b"WII\1DISC" + pieces))


def wbfs_of_many_discs(file: IO[bytes]) -> None:
    header = b"WBFS" + be(1 << 24) + bytes([16, 27, 1, 0]) + b"\1" * 1000
    disc = b"RBAD01".ljust(0x100, b"\0") + struct.pack(">H", 60000) * 70
    put(file, (0, header), *((0x10000 * (n + 1), disc) for n in range(1000)), size=70 << 20)


def wbfs_of_large_discs(file: IO[bytes]) -> None:
    put(file, (0, b"WBFS" + be(1 << 24) + bytes([16, 15, 1, 0]) + b"\1" * 0xFF00), size=64 << 30)


def ciso_past_the_end(file: IO[bytes]) -> None:
    put(file, (0, b"CISO" + le(1 << 30) + b"\1" * 0x7FF8), size=0x9000)


def wia(
    fmt: bytes, compression: int, chunk: int, groups: int, *, extra: bytes = b"", stored: bytes = b""
) -> bytes:
    """A disc of 8 GiB in one raw range, all groups of it the same ``stored``."""
    raws = struct.pack(">QQII", 0x80, 8 << 30, 0, groups)
    width = 12 if fmt == b"RVZ\1" else 8
    tables = 0x200
    place = tables + len(raws) + width * groups
    place += -place % 4
    flag = 0x8000_0000 if width == 12 else 0
    entry = be(place >> 2, len(stored) | flag, *[0] * (width == 12))
    second = struct.pack(
        ">IIiI128sIIQ20sIQIIQIB7s", 1, compression, 5, chunk, b"GBAD01".ljust(128, b"\0"), 0, 0x30, 0, b"",
        1, tables, len(raws), groups, tables + len(raws), width * groups, len(extra), extra,
    )  # fmt: skip
    first = struct.pack(
        ">4sIII20sQQ", fmt, 0x0100_0000, 0x0100_0000, len(second), sha1(second).digest(), 8 << 30, place
    )
    return (
        (first + sha1(first).digest() + second).ljust(tables, b"\0")
        + raws
        + (entry * groups).ljust(place - tables - len(raws), b"\0")
        + stored
    )


def wia_of_the_largest_chunks(file: IO[bytes]) -> None:
    put(file, (0, wia(b"WIA\1", 0, 200 << 20, 41)), size=300 << 20)


def wia_whose_groups_lie_past_the_end(file: IO[bytes]) -> None:
    put(file, (0, wia(b"WIA\1", 0, 2 << 20, 4096, stored=b"x")[:-1].replace(be(0x8100), be(0xFFFF_FFFF))))


def wia_with_few_groups(file: IO[bytes]) -> None:
    put(file, (0, wia(b"WIA\1", 0, 2 << 20, 3)))


def wia_bomb(file: IO[bytes]) -> None:
    """Chunks of the largest size, each in a few hundred bytes."""
    put(file, (0, wia(b"WIA\1", 2, 200 << 20, 41, stored=bz2.compress(bytes(200 << 20)))))


def rvz_bomb(file: IO[bytes]) -> None:
    packed = lzma.compress(
        bytes(32 << 20), lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    )
    put(file, (0, wia(b"RVZ\1", 4, 32 << 20, 256, extra=b"\x28", stored=packed)))


def rvz_that_packs_a_bomb(file: IO[bytes]) -> None:
    """Groups of which the pack stream is as large as it may be, and makes nothing."""
    data = wia(b"RVZ\1", 2, 32 << 20, 256, stored=bz2.compress(bytes(32 << 20)))
    head = len(data[:0x200]) + 24
    entries = [(place, data[place : place + 8] + be(32 << 20)) for place in range(head, head + 12 * 256, 12)]
    put(file, (0, data), *entries)


def rvz_of_many_groups(file: IO[bytes]) -> None:
    put(file, (0, wia(b"RVZ\1", 0, 0x8000, 1 << 21)))


def zar_of_the_largest_tables(file: IO[bytes]) -> None:
    size = 64 << 20
    parts = (0, 1, 0, 16 << 20, 0, 16 << 20, 0, (16 << 20) - 16, 0, 0, 0, 0)
    footer = struct.pack(">12Q32sQII", *parts, b"", size, 0x61BF3A01, 0x169F52D6)
    put(file, (0, be(0, 1, (1 << 20) - 2, 0)), (size - 0x90, footer))


def zar_of_many_files(file: IO[bytes]) -> None:
    nodes = 1 << 16
    tree = be(0, 1, nodes - 1, 0) + be(0x8000_0000, 0, 0, 0) * (nodes - 1)
    parts = (0, 0, 0, 0, len(tree), 2, 0, len(tree), 0, 0, 0, 0)
    size = len(tree) + 2 + 0x90
    put(file, (0, tree + b"\1a" + struct.pack(">12Q32sQII", *parts, b"", size, 0x61BF3A01, 0x169F52D6)))


def nfs_of_wild_ranges(file: IO[bytes]) -> None:
    put(file, (0, b"EGGS" + be(1, 0, 0, 61) + be(0, 0xFFFF_FFFF) * 61), size=0x400)


def tgc_of_a_large_table(file: IO[bytes]) -> None:
    fst = be(1 << 24, 0, (16 << 20) // 12)
    head = b"\xae\x0f\x38\xa2" + be(
        0, 0x8000, 0, 0x10000, 16 << 20, 16 << 20, 0x9000, 0x100, 0x20000, 0, 0, 0, 0
    )
    put(file, (0, head), (0x10000, fst), size=18 << 20)


MAKERS: list[Maker] = [
    gcm_of_many_files, gcm_of_a_million_files, gcm_whose_names_never_end, gcm_of_the_largest_table, gcm_nested_deeply,
    gcm_with_a_loop, gcm_with_paths_for_names, gcm_whose_files_overlap, wii_of_many_partitions, wii_of_partitions_past_the_end,
    gcz_bomb, gcz_of_many_blocks, gcz_past_the_end, wux_of_many_sectors, wux_that_goes_back_and_forth, wdf_of_many_pieces,
    wbfs_of_many_discs, wbfs_of_large_discs, ciso_past_the_end, wia_of_the_largest_chunks, wia_whose_groups_lie_past_the_end,
    wia_with_few_groups, wia_bomb, rvz_bomb, rvz_that_packs_a_bomb, rvz_of_many_groups, zar_of_the_largest_tables,
    zar_of_many_files, nfs_of_wild_ranges, tgc_of_a_large_table,
]  # fmt: skip


def limit() -> None:
    limit_memory()
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))


@pytest.fixture
def lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Maker) -> Path:
    monkeypatch.setattr(test_hostile, "limit_memory", limit)
    with (tmp_path / "image").open("wb") as file:
        make(file)
    return tmp_path / "image"


@pytest.mark.parametrize("command", [("info",), ("ls", "-lR"), ("ls", "-l", "--raw")], ids=" ".join)
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.replace("_", " "))
def test_a_disc_that_lies(lie: Path, command: tuple[str, ...]) -> None:
    done = run(*command, lie)
    check(done, {0, 2})
    if done.returncode:
        assert str(lie) in done.stderr or "/files/" in done.stderr


READ: list[Maker] = [
    gcz_bomb, gcz_past_the_end, wux_that_goes_back_and_forth, ciso_past_the_end, wia_of_the_largest_chunks,
    wia_whose_groups_lie_past_the_end, wia_with_few_groups, wia_bomb, rvz_of_many_groups, rvz_bomb, rvz_that_packs_a_bomb,
]  # fmt: skip


@pytest.mark.parametrize("make", READ, ids=lambda make: make.__name__.replace("_", " "))
def test_reading_a_disc_that_lies(lie: Path) -> None:
    """The first bytes of its raw view, and some in the middle."""
    code = f"""
from imgmount.chain.open import open_image
from imgmount.errors import ImageError
try:
    with open_image({str(lie)!r}) as image:
        for offset in (0, 1 << 20, image.disk.size // 2, image.disk.size - 1):
            try:
                image.disk.pread(offset, 1 << 17)
            except ImageError as exc:
                print(exc)
except ImageError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": SRC}, preexec_fn=limit,
    )  # fmt: skip
    assert not done.stderr
    assert not done.returncode


FORMATS = {
    "wux",
    "wia",
    "gcz",
    "ciso_gc",
    "wbfs",
    "wdf",
    "tgc",
    "nfs",
    "wii",
    "wiiu",
    "gcfst",
    "wiiufst",
    "nus",
    "zar",
}
FIXTURES_OF_DISCS = [fixture for fixture in all_fixtures() if fixture.format in FORMATS]
FLIPS = 12


def test_all_formats_have_fixtures() -> None:
    assert {fixture.format for fixture in FIXTURES_OF_DISCS} == FORMATS


@pytest.mark.parametrize("fixture", FIXTURES_OF_DISCS, ids=str)
def test_discs_cut_and_flipped(fixture: Fixture, tmp_path: Path) -> None:
    """Only our own errors, of one line, may come out of what is read of a damaged disc; and soon."""
    path = fixture.image_path(tmp_path)
    if path.parent != tmp_path:
        shutil.copytree(path.parent, tmp_path, dirs_exist_ok=True)
        path = tmp_path / path.name
    size = path.stat().st_size
    rng = random.Random(str(fixture))
    for _ in range(FLIPS):
        start = rng.choice((0, 0, 0x40000, 0x50000, 0x18000, max(0, size - 0x400), rng.randrange(size)))
        places = [min(size - 1, start + rng.randrange(0x400)) for _ in range(8)]
        with path.open("r+b") as file:
            kept = [(place, file.seek(place), file.read(1)) for place in places]
            for place in places:
                file.seek(place)
                file.write(rng.choice((b"\0", b"\xff", b"\x7f", rng.randbytes(1))))
        began = time.process_time()
        look(path, Options(**fixture.facts.get("options", {})))
        assert time.process_time() - began < MAX_SECONDS
        with path.open("r+b") as file:
            for place, _, byte in reversed(kept):
                file.seek(place)
                file.write(byte)
    for end in sorted((rng.randrange(1, size) for _ in range(FLIPS // 4)), reverse=True):
        os.truncate(path, end)
        look(path, Options(**fixture.facts.get("options", {})))


def look(path: Path, options: Options) -> None:
    """Read some of everything."""
    try:
        with open_image(path, options) as image:
            describe(image)
            for volume in image.volumes:
                if volume.filesystem is not None:
                    list(islice(volume.check(), 20))
            for _, node in islice(build_vfs(image, View.ALL).walk(), 1000):
                read_some(node)
    except (ImgMountError, OSError) as exc:
        one_line(exc)


def read_some(node: Node) -> None:
    try:
        node.stat()
        if isinstance(node, File):
            device = node.open()
            device.pread(0, 1 << 16)
            device.pread(device.size // 2, 1)
    except (ImgMountError, OSError) as exc:
        one_line(exc)


def one_line(exc: Exception) -> None:
    assert "\n" not in str(exc)
