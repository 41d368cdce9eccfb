"""Containers that lie, with right checksums: loops, wrong levels, wild counts. All ends, in our own errors."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import partial

import pytest

from conformance import survive
from filesystems.apfs_containers import (
    BLOCK,
    COMPRESSED,
    blocks_of,
    container,
    folder,
    image,
    item,
    many,
    opened,
    problems,
    sealed,
    writer,
)
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.apfs.btree import Node, pair_order, tree_order
from imgmount.filesystems.apfs.objects import fletcher64

NODE = 32  # where a node's own header is
OMAP, FILES, SNAPSHOTS = 0x0B, 0x0E, 0x10


@pytest.fixture(scope="module")
def data() -> bytes:
    rng = random.Random(5)
    items = [
        item("a", b"hello", xattrs={"com.example.large": rng.randbytes(5000)}),
        folder("d"),
        item("d/frag", rng.randbytes(40_000), scatter=2),
        item("link", mode=0o120755, link="a"),
        item("z", xattrs={"com.apple.decmpfs": b"fpmc" + bytes(12)}, bsd_flags=COMPRESSED),
        *many(300),
    ]
    return bytes(image(*items, snapshots=[("old", many(200))]))


def root_of(data: bytes, subtype: int) -> int:
    return blocks_of(data, 2, subtype)[-1]


def children(data: bytes, block: int) -> list[int]:
    """Where the numbers of the children of a root are."""
    at = block * BLOCK
    flags, _, count, start = struct.unpack_from("<HHIH", data, at + NODE)
    width = 4 if flags & 4 else 8
    places = []
    for number in range(count):
        entry = at + 56 + start + number * width
        (value,) = struct.unpack_from("<H", data, entry + (2 if flags & 4 else 4))
        places.append(at + BLOCK - 40 - value)
    return places


def patched(data: bytes | bytearray, block: int, at: int, value: bytes) -> bytearray:
    found = bytearray(data)
    found[at : at + len(value)] = value
    sealed(found, block)
    return found


@pytest.mark.parametrize("subtype", [FILES, OMAP])
def test_trees_that_hold_themselves(data: bytes, subtype: int) -> None:
    block = root_of(data, subtype)
    if subtype == FILES:
        own = int.from_bytes(data[block * BLOCK + 8 : block * BLOCK + 16], "little")
    else:
        data = bytes(container(writer().Volume("V", many(9000))).build())  # an object map of two levels
        block = next(b for b in blocks_of(data, 2, OMAP) if data[b * BLOCK + NODE + 2])
        own = block
    for place in children(data, block):
        looped = patched(data, block, place, own.to_bytes(8, "little"))
        survive(partial(opened, looped))
        try:
            told = problems(opened(looped))
        except FormatError as exc:
            told = [str(exc)]
        assert any("under one of level" in problem for problem in told)


def test_children_that_are_all_the_same(data: bytes) -> None:
    block = root_of(data, FILES)
    first, *others = children(data, block)
    same = bytearray(data)
    for place in others:
        same[place : place + 8] = data[first : first + 8]
    sealed(same, block)
    assert survive(partial(opened, same)) < 1000
    listing = opened(same).root.listing()
    assert isinstance(listing.damage, FormatError)


@pytest.mark.parametrize("level", [0, 1, 2, 17, 0xFFFF])
def test_nodes_of_wrong_levels(data: bytes, level: int) -> None:
    for block in (*blocks_of(data, 3, FILES)[:3], *blocks_of(data, 2)):
        if data[block * BLOCK + NODE + 2] != level:
            survive(
                partial(opened, patched(data, block, block * BLOCK + NODE + 2, level.to_bytes(2, "little")))
            )


@pytest.mark.parametrize("count", [0, 1, 500, 0xFFFF, 0xFFFF_FFFF])
def test_nodes_of_wild_counts(data: bytes, count: int) -> None:
    for block in (*blocks_of(data, 3, FILES)[:2], *blocks_of(data, 2)):
        survive(partial(opened, patched(data, block, block * BLOCK + NODE + 4, count.to_bytes(4, "little"))))


@pytest.mark.parametrize("at", range(0x20, 0x38, 2))
def test_headers_of_nodes_that_are_all_ones(data: bytes, at: int) -> None:
    for block in (*blocks_of(data, 3, FILES)[:2], *blocks_of(data, 2)):
        survive(partial(opened, patched(data, block, block * BLOCK + at, b"\xff\xff")))


def test_an_order_that_is_none(data: bytes) -> None:
    block = blocks_of(data, 3, FILES)[0]
    (first,) = struct.unpack_from("<H", data, block * BLOCK + 0x2A)
    swapped = patched(data, block, block * BLOCK + 56 + first + 7, b"\xff")
    with pytest.raises(FormatError, match="out of order"):
        Node(bytes(swapped[block * BLOCK : (block + 1) * BLOCK]), tree_order, (8, 8))


@pytest.mark.parametrize("kind", [1, 0x0B, 0x0D])
def test_every_field_of_every_header(kind: int) -> None:
    data = bytes(image(item("a", b"hello"), folder("d"), item("d/b", b"x"), snapshots=[("old", [item("c")])]))
    end = {1: 0x580, 0x0B: 0x60, 0x0D: 0x420}[kind]
    for block in blocks_of(data, kind)[-1:]:
        for at in range(0x20, end, 4):
            if 0x120 <= at < 0x2C0 or (0xC0 <= at < 0x3D8 and kind == 1):
                continue  # by whom it was changed; the places of other volumes
            for value in (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\1\0\0\x80"):
                survive(partial(opened, patched(data, block, block * BLOCK + at, value)))


def noisy(data: bytes, rng: random.Random, blocks: list[int]) -> bytearray:
    """Some bytes of some nodes changed, with right checksums."""
    found = bytearray(data)
    for block in rng.sample(blocks, 2):
        for _ in range(rng.randrange(1, 4)):
            found[block * BLOCK + rng.choice((rng.randrange(32, 700), rng.randrange(32, BLOCK)))] = (
                rng.choice((0, 255, rng.randrange(256)))
            )
        sealed(found, block)
    return found


def test_noise_in_trees_ends_in_our_own_errors(data: bytes) -> None:
    rng = random.Random(8)
    blocks = blocks_of(data, 3) + blocks_of(data, 2)
    for _ in range(60):
        survive(partial(opened, noisy(data, rng, blocks)))


def test_noise_anywhere(data: bytes) -> None:
    rng = random.Random(9)
    for _ in range(40):
        found = bytearray(data)
        for _ in range(rng.randrange(1, 20)):
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
        survive(partial(opened, found))


@pytest.mark.parametrize("size", [0, 100, 4095, 4096, 8192, 40_000, 300_000])
def test_images_that_are_cut(data: bytes, size: int) -> None:
    survive(partial(opened, data[:size]))


def test_a_directory_in_two_places_is_listed_once() -> None:
    items = [folder("a"), folder("a/b"), folder("a/b/c"), item("a/b/c/x", b"x")]
    data = image(*items)
    (block,) = blocks_of(data, 2, FILES)
    start = block * BLOCK
    node = Node(bytes(data[start : start + BLOCK]), tree_order, (8, 8))
    for index in range(len(node.orders)):
        record = node.record(index)
        if record.key[12:] == b"c\0":  # the folder c is its own grandparent
            at = start + data[start : start + BLOCK].index(record.value)
            looped = patched(data, block, at, (16).to_bytes(8, "little"))
            assert survive(partial(opened, looped)) < 20
            return
    raise AssertionError


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (struct.pack("<QQQ", 1, 70, 0), "whole blocks"),
        (struct.pack("<QQQ", 0, 70, 0), ""),
        (struct.pack("<QQQ", 4096, 2**48, 0), "whole blocks"),
        (struct.pack("<QQQ", 4096, 2**40, 0), "outside"),
        (struct.pack("<QQQ", 2**55, 70, 0), ""),
    ],
)
def test_extents_that_lie(value: bytes, what: str) -> None:
    content = b"marked" * 900
    data = image(item("file", content, scatter=1))
    (block,) = blocks_of(data, 2, FILES)
    start = block * BLOCK
    node = Node(bytes(data[start : start + BLOCK]), tree_order, (8, 8))
    record = next(r for r in map(node.record, range(len(node.orders))) if r.order >> 64 & 15 == 8)
    at = start + data[start : start + BLOCK].index(record.value)
    filesystem = opened(patched(data, block, at, value))
    node_of_file = dict(filesystem.root.entries())["file"]
    opener: Callable[[], object] = lambda: node_of_file.open().pread(0, 6000)  # type: ignore[attr-defined]  # noqa: E731
    if what:
        with pytest.raises(ImageError, match=what):
            opener()
    else:
        opener()
    assert problems(filesystem) or not struct.unpack("<QQQ", value)[0]
    survive(partial(opened, patched(data, block, at, value)))


def test_the_checksum_is_the_one_of_the_reference() -> None:
    rng = random.Random(3)
    for size in (64, 4096, 65536, 1 << 20):
        for block in (rng.randbytes(size), bytes(size), b"\xff" * size):
            assert fletcher64(block) == writer().fletcher(block)


def test_keys_too_short_for_their_kind(data: bytes) -> None:
    block = blocks_of(data, 2, OMAP)[0]
    raw = data[block * BLOCK : (block + 1) * BLOCK]
    assert Node(raw, pair_order, (16, 16)).orders
    for at in range(56, 72):
        with_ones = raw[:at] + b"\xff\x0f" + raw[at + 2 :]
        try:
            node = Node(with_ones, pair_order, (16, 16))
        except FormatError:
            continue
        for index in range(len(node.orders)):
            try:
                node.record(index)
            except FormatError:
                continue
