"""Deleted files of NTFS: their paths, their content as long as it is there, and what TSK says of them."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path
from stat import S_ISDIR

import pytest

from filesystems.ntfs_images import attribute_at, load, patched, place, volume
from helpers import tool
from imgmount.core.node import Directory, File, Node
from imgmount.errors import FormatError
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.deleted import deleted as find_deleted

CLUSTER = 4096


def deleted(data: bytes) -> dict[str, Node]:
    return dict(find_deleted(volume(data)))


def read(node: Node, offset: int, size: int) -> bytes:
    assert isinstance(node, File)
    return node.open().pread(offset, size)


def content(node: Node) -> bytes:
    return read(node, 0, node.stat().size)


def lines(size: int, word: bytes) -> bytes:
    return b"".join(b"%08d %s\n" % (number, word) for number in range(size // 10 + 1))[:size]


def test_paths_and_contents() -> None:
    found = deleted(load("deleted"))
    assert {path: content(node) for path, node in found.items() if isinstance(node, File)} == {
        "kept/small.txt": b"resident\n",
        "kept/large.txt": lines(20_000, b"large"),
        "kept/again.txt": lines(30_000, b"again"),
        "gone/too/deep.txt": lines(9_000, b"deep"),
    }
    folders = {path: node.stat() for path, node in found.items() if isinstance(node, Directory)}
    assert folders.keys() == {"gone", "gone/too"}
    assert all(S_ISDIR(stat.mode) and stat.birth_ns for stat in folders.values())


def test_the_sleuth_kit_agrees(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(load("deleted"))
    listing = subprocess.run([tool("fls"), "-rdp", disk], check=True, capture_output=True, text=True).stdout
    theirs = {match[2]: int(match[1]) for match in re.finditer(r"\* (\d+)-1\d\d-\d+:\t(.*)", listing)}
    ours = deleted(load("deleted"))
    assert {path: node.id for path, node in ours.items()} == theirs
    for path, node in ours.items():
        assert isinstance(node, Directory) or (
            content(node)
            == subprocess.run(
                [tool("icat"), "-r", disk, str(node.id)], check=True, capture_output=True
            ).stdout
        ), path


def test_a_cluster_that_is_used_again_is_refused() -> None:
    data = load("deleted")
    number = deleted(data)["kept/large.txt"].id
    opened = volume(data)
    found = opened.stream(opened.mft.record(number), records.DATA)
    assert found is not None
    (run,) = opened.content(found).extents(CLUSTER, 1)
    used = run.offset // CLUSTER
    bitmap = opened.stream(opened.mft.record(6), records.DATA)
    assert bitmap is not None
    (bits,) = opened.content(bitmap).extents(used // 8, 1)
    changed = patched(data, (bits.offset, bytes([data[bits.offset] | 1 << used % 8])))
    with pytest.raises(FormatError, match=f"cluster {used} of a deleted file is in use by another"):
        content(deleted(changed)["kept/large.txt"])
    assert read(deleted(changed)["kept/large.txt"], 0, CLUSTER) == lines(20_000, b"large")[:CLUSTER]
    assert (
        read(deleted(changed)["kept/large.txt"], 2 * CLUSTER, 99)
        == lines(20_000, b"large")[2 * CLUSTER :][:99]
    )
    assert content(deleted(changed)["kept/again.txt"]) == lines(30_000, b"again")


def test_a_folder_that_is_used_again_is_not_named() -> None:
    data = load("deleted")
    name = attribute_at(data, place(data, deleted(data)["gone/too/deep.txt"].id), records.NAME_ATTRIBUTE)
    folder = int.from_bytes(data[name + 24 : name + 30], "little")
    sequence = place(data, folder) + 16
    changed = patched(data, (sequence, struct.pack("<H", 77)))
    assert f"(lost folder {folder})/deep.txt" in deleted(changed)


def test_a_node_keeps_to_its_file() -> None:
    opened = volume(load("deleted"))
    node = dict(find_deleted(opened))["kept/small.txt"]
    assert node.stat().size == 9
    assert node.stat().nlink == 1
    assert node.xattrs()["user.ntfs.attributes"] == b"0x00000020"
