"""Deleted files of UDF: what is left of a name, and when it is not believed."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conformance import manifest
from helpers import tool
from imgmount.core.node import Directory, File, Node
from imgmount.errors import FormatError
from imgmount.filesystems.udf.deleted import deleted
from imgmount.filesystems.udf.volume import UdfFilesystem
from udf_discs import BLOCK, MAKER, START, fixture_bytes, in_memory, opened, retag, udfclient

BITMAP = 5  # its block; the root is at 1, a folder at 2, what is deleted from 10 on
CONTENT = bytes(range(256)) * 10
GONE, FOLDER = MAKER.DELETED, MAKER.DIRECTORY


def disc(free: set[int] | None = None, *, unique: int | None = None) -> bytearray:
    """Deleted: ``one`` at 10 with blocks 20 and 21, ``erased`` without an address, ``folder/embedded`` at 11, ``cut`` at 12."""
    made = MAKER.Disc(700, end=700)
    root = made.names(
        [("one", 10, GONE), ("erased", 0, GONE), ("folder", 2, FOLDER), ("cut", 12, GONE), ("alive", 13)], 1
    )
    made.entry(1, 4, len(root), root, MAKER.EMBEDDED)
    inner = made.names([("embedded ж", 11, GONE)], 1)
    made.entry(2, 4, len(inner), inner, MAKER.EMBEDDED)
    made.unique = (
        9 if unique is None else unique
    )  # ``names`` says that the number of a file is the block of its entry
    made.entry(10, 5, len(CONTENT), MAKER.short_ad(len(CONTENT), 20))
    made.entry(11, 5, 3, b"abc", MAKER.EMBEDDED, extended=True)
    made.entry(12, 5, 0, links=0)
    made.entry(13, 5, 0)
    made.write(20, CONTENT)
    made.file_set(0, 1)
    made.volume()
    bits = sum(1 << block for block in (free if free is not None else {10, 11, 12, 20, 21}))
    raw = bits.to_bytes(64, "little")
    made.write(BITMAP, MAKER.tag(264, BITMAP, struct.pack("<II", 512, len(raw)) + raw))
    for block in (35, 51):
        struct.pack_into("<II", made.data, block * BLOCK + 56 + 8, BLOCK, BITMAP)
        retag(made.data, block * BLOCK)
    data: bytearray = made.data
    erased = data.index(b"\x08erased") - 38
    data[erased + 20 : erased + 30] = bytes(10)  # length, block and partition of the ICB
    retag(data, erased)
    retag(data, (START + 1) * BLOCK)
    return data


def found(data: bytes | bytearray) -> dict[str, Node]:
    return dict(deleted(in_memory(data)))


def read(node: Node) -> bytes:
    assert isinstance(node, File)
    with node.open() as content:
        return content.pread(0, content.size)


def test_what_is_deleted_is_not_in_the_tree_and_can_be_asked_for() -> None:
    assert set(manifest(in_memory(disc()).root)) == {"folder", "alive"}
    nodes = found(disc())
    assert set(nodes) == {"one", "erased", "folder/embedded ж", "cut"}
    assert read(nodes["one"]) == CONTENT
    assert read(nodes["folder/embedded ж"]) == b"abc"


@pytest.mark.parametrize(
    ("name", "reason"), [("erased", "no longer says where it was"), ("cut", "no longer lists its blocks")]
)
def test_a_name_alone_says_why_there_is_no_more(name: str, reason: str) -> None:
    node = found(disc())[name]
    with pytest.raises(FormatError, match=reason):
        node.stat()
    with pytest.raises(FormatError, match=reason):
        read(node)


def test_blocks_in_use_are_not_given_out() -> None:
    node = found(disc({10, 11, 20}))["one"]
    assert node.stat().size == len(CONTENT)
    with pytest.raises(FormatError, match="block 21 of a deleted file has been used again"):
        read(node)
    with pytest.raises(FormatError, match="block 10 of a deleted file has been used again"):
        found(disc({11, 20, 21}))["one"].stat()
    assert read(found(disc({11}))["folder/embedded ж"]) == b"abc"


def test_a_file_entry_of_another_file_is_not_believed() -> None:
    with pytest.raises(FormatError, match="file entry of a deleted file has been used again"):
        found(disc(unique=500))["one"].stat()


def test_without_a_bitmap_nobody_can_tell() -> None:
    data = disc()
    for block in (35, 51):
        data[block * BLOCK + 56 : block * BLOCK + 96] = bytes(40)
        retag(data, block * BLOCK)
    with pytest.raises(FormatError, match="block 10 of a deleted file has been used again"):
        found(data)["one"].stat()


def test_a_damaged_bitmap_is_an_error_of_the_file_alone() -> None:
    data = disc()
    data[(START + BITMAP) * BLOCK + 30] ^= 1
    nodes = found(data)
    with pytest.raises(FormatError, match="the CRC of descriptor 264 is wrong"):
        nodes["one"].stat()
    assert len(nodes) == 4


def test_what_was_deleted_from_a_write_once_disc_is_there_for_ever(tmp_path: Path) -> None:
    nodes = found(fixture_bytes("vat200", tmp_path))
    assert all(isinstance(node, File | Directory) for node in nodes.values())


def test_udfclient_deletes_and_the_names_are_left(tmp_path: Path) -> None:
    path = tmp_path / "image"
    command = [
        tool("mkudffs"),
        "--new-file",
        "--media-type=hd",
        "--udfrev=2.01",
        "--label=DEL",
        "-b",
        "2048",
        str(path),
        "60000",
    ]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "a.bin").write_bytes(CONTENT)
    (tmp_path / "b.bin").write_bytes(CONTENT[:700])
    name = next(
        line.split()[-1]
        for line in udfclient(path, "ls").splitlines()
        if ":DEL:" in line and line.startswith("d")
    )
    udfclient(path, f"cd /{name}\nput a.bin\nput b.bin\nrm a.bin\nsync", "-W")
    volume: UdfFilesystem = opened(path)
    files: dict[str, Any] = dict(manifest(volume.root))
    assert {name for name in files if name.endswith(".bin")} == {"b.bin"}
    nodes = dict(deleted(volume))
    assert set(nodes) == {"a.bin"}
    with pytest.raises(FormatError, match="no longer says where it was"):
        nodes["a.bin"].stat()
