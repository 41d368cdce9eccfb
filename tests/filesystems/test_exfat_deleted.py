"""Deleted files of exFAT: what they were before, and what TSK says of them."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from conformance import tree
from counting_device import CountingDevice
from filesystems.deleted_files import check_damage_ends_where_it_is, content
from filesystems.test_exfat import images as images  # noqa: PLC0414  a fixture
from filesystems.test_exfat import volume
from helpers import tool
from imgmount.core.device import BlockDevice
from imgmount.core.node import Directory, File, Node
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from imgmount.filesystems.exfat import FORMAT, records

GONE = (
    "chained.bin",
    "row.bin",
    "valid.bin",
    "valid-row.bin",
    "empty",
    "deep",
    "deep/a",
    "deep/a/b",
    "deep/a/b/file",
)


def deleted(data: bytes | bytearray) -> dict[str, Node]:
    assert FORMAT.deleted is not None
    return dict(FORMAT.deleted(volume(data)))


def without(data: bytes, *paths: str, links: bool) -> bytearray:
    """The volume after ``paths`` were deleted, by a driver that leaves the links of clusters or one that does not."""
    opened, changed = volume(data), bytearray(data)
    nodes = dict(tree(opened.root))
    _, first, _ = records.place(records.critical(opened._root_bytes, records.BITMAP) or b"")
    for path in paths:
        at = nodes[path].id
        for entry in range(at, at + 32 * (data[at + 1] + 1), 32):
            changed[entry] &= 0x7F
        flags, _, start, length = records.stream_of(data[at + 32 : at + 64])
        count = -(-length // opened.boot.cluster_size)
        chain = opened.fat.straight(start, count) if flags & 2 else opened.fat.chain(start, count)
        for begin, many in zip(chain.firsts, chain.counts, strict=True):
            for cluster in range(begin, begin + many):
                changed[opened.place(first) + (cluster - 2) // 8] &= ~(1 << (cluster - 2) % 8)
                if not links:
                    link = opened.boot.fat_offset + 4 * cluster
                    changed[link : link + 4] = bytes(4)
    return changed


def contents(opened: BlockDevice | bytes) -> dict[str, bytes]:
    return {path: content(node) for path, node in tree(volume(opened).root) if isinstance(node, File)}


@pytest.mark.parametrize("links", [True, False])
def test_the_sleuth_kit_agrees_and_content_is_what_it_was(
    links: bool, images: dict[str, bytes], tmp_path: Path
) -> None:
    before, data = contents(images["clusters4k"]), without(images["clusters4k"], *GONE, links=links)
    disk = tmp_path / "disk"
    disk.write_bytes(data)
    listing = subprocess.run([tool("fls"), "-rdp", disk], check=True, capture_output=True, text=True).stdout
    theirs = {match[3]: match for match in re.finditer(r"(.)/. \* (\d+):\t(.*)", listing)}
    ours = deleted(data)
    assert ours.keys() == theirs.keys() == {*GONE, "deleted.txt"}
    guesses = set()
    for path, node in ours.items():
        assert isinstance(node, Directory) == (theirs[path][1] == "d"), path
        if node.guess:
            guesses.add(path)
        elif path in before:
            assert content(node) == before[path], path
    assert guesses == (set() if links else {"chained.bin", "valid.bin"})
    command = [tool("icat"), "-r", disk, theirs["row.bin"][2]]
    assert subprocess.run(command, check=True, capture_output=True).stdout == before["row.bin"]


def test_a_cluster_that_is_used_again_is_refused(images: dict[str, bytes]) -> None:
    data = without(images["clusters4k"], "row.bin", links=True)
    before = contents(images["clusters4k"])["row.bin"]
    opened = volume(data)
    node = dict(FORMAT.deleted(opened))["row.bin"]  # type: ignore[misc]
    _, bitmap, _ = records.place(records.critical(opened._root_bytes, records.BITMAP) or b"")
    second = records.stream_of(bytes(data[node.id + 32 : node.id + 64]))[2] + 1
    data[opened.place(bitmap) + (second - 2) // 8] |= 1 << (second - 2) % 8
    found = deleted(data)["row.bin"]
    assert isinstance(found, File)
    assert found.open().pread(0, 4096) == before[:4096]
    assert found.open().pread(8192, 4096) == before[8192:12288]
    with pytest.raises(FormatError, match=f"cluster {second} of a deleted file is in use by another"):
        found.open().pread(4000, 100)


def test_a_set_that_was_used_again_in_part_is_no_file(images: dict[str, bytes]) -> None:
    data = without(images["clusters4k"], "row.bin", links=True)
    at = deleted(data)["row.bin"].id
    for place, value in ((at + 64, 0xC1), (at + 40, data[at + 40] ^ 1)):
        changed = bytearray(data)
        changed[place] = value
        assert "row.bin" not in deleted(changed)


def test_a_lost_bitmap_is_told_by_reading(images: dict[str, bytes]) -> None:
    data = without(images["clusters4k"], "row.bin", links=True)
    at = volume(data).place(volume(data).boot.root)
    bitmap = next(at + n for n in range(0, 4096, 32) if data[at + n] == records.BITMAP)
    data[bitmap + 24 : bitmap + 32] = b"\xff" * 8
    with pytest.raises(FormatError, match="bytes of the bitmap of clusters"):
        content(deleted(data)["row.bin"])


def test_random_damage_ends_where_it_is(images: dict[str, bytes]) -> None:
    data = without(images["clusters4k"], *GONE, links=True)
    values = (0, 1, 5, 0x40, 0x85, 0xFF)
    check_damage_ends_where_it_is(data, deleted, random.Random(5), rounds=30, changes=80, values=values)


def test_a_folder_whose_files_were_left_as_they_were_is_deleted_with_them(images: dict[str, bytes]) -> None:
    data = without(images["clusters4k"], "many", links=True)
    found = deleted(data)
    assert sum(path.startswith("many/entry number ") for path in found) == 150


def test_deleted_folders_that_overlap_end(images: dict[str, bytes]) -> None:
    """Each of many folders claims all that follows: what is looked through is bounded by the volume."""
    data = images["clusters4k"]
    opened = volume(data)
    at = dict(tree(opened.root))["many"].id
    made = bytearray()
    for first in range(2, 40):
        entries = bytearray(data[at : at + 128])
        entries[33] |= records.NO_CHAIN
        entries[52:56] = first.to_bytes(4, "little")
        entries[40:48] = entries[56:64] = (4096 * (opened.boot.end - first)).to_bytes(8, "little")
        entries = entries[: 32 * (entries[1] + 1)]
        entries[2:4] = records.set_checksum(bytes(entries)).to_bytes(2, "little")
        entries[::32] = bytes(kind & 0x7F for kind in entries[::32])
        made += entries
    changed = bytearray(data)
    place = opened.place(opened.boot.root)
    end = next(n for n in range(place, place + 4096, 32) if not data[n])
    changed[end : place + 4096] = made[: place + 4096 - end]
    _, bitmap, length = records.place(records.critical(opened._root_bytes, records.BITMAP) or b"")
    changed[opened.place(bitmap) : opened.place(bitmap) + length] = bytes(length)
    device = CountingDevice(MemoryDevice(bytes(changed)))
    assert FORMAT.deleted is not None
    found = list(FORMAT.deleted(volume(device)))
    assert sum(name == "many" for name, _ in found) > 15
    assert device.bytes < 4 * device.size
