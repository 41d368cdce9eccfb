"""Deleted files of FAT: names, contents as long as they are free, and what TSK says of them."""

from __future__ import annotations

import os
import random
import re
import subprocess
from pathlib import Path

import pytest

from fatvolumes import fixture_images, long_name, record, small, volume
from filesystems.deleted_files import check_damage_ends_where_it_is, content
from helpers import tool
from imgmount.core.node import Directory, File, Node
from imgmount.errors import FormatError
from imgmount.filesystems.fat import FORMAT

END = 0xFFFF


def deleted(data: bytes | bytearray) -> dict[str, Node]:
    assert FORMAT.deleted is not None
    return dict(FORMAT.deleted(volume(data)))


def gone(name: bytes, attributes: int = 0, cluster: int = 0, size: int = 0) -> bytes:
    return b"\xe5" + record(name, attributes, cluster, size)[1:]


def numbered(size: int, word: str) -> bytes:
    return b"".join(b"%08d %s\n" % (n, word.encode()) for n in range(size // 10 + 1))[:size]


@pytest.mark.parametrize(("bits", "kib"), [(12, 1440), (16, 20_000), (32, 40_000)])
def test_the_sleuth_kit_agrees(bits: int, kib: int, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    subprocess.run(
        [tool("mkfs.vfat"), "-F", str(bits), "-C", disk, str(kib)], check=True, capture_output=True
    )

    def mtools(name: str, *arguments: str) -> None:
        command = [tool(name), "-i", str(disk), *arguments]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"MTOOLS_SKIP_CHECK": "1"})

    mtools("mmd", "::dir", "::dir/inner", "::A long folder name")
    names = [
        "SHORT.TXT", "A much longer name than thirteen.txt", "dir/file.bin", "dir/inner/Überlänge.dat",
        "A long folder name/thirteenchars", "keep.txt", "empty", "dir/inner/.hidden",
    ]  # fmt: skip
    for number, name in enumerate(names):
        (tmp_path / "content").write_bytes(b"" if name == "empty" else numbered(9000 + 700 * number, name))
        mtools("mcopy", str(tmp_path / "content"), f"::{name}")
    mtools("mdel", "::SHORT.TXT", "::A much longer name than thirteen.txt", "::dir/file.bin", "::empty")
    mtools("mdeltree", "::dir/inner", "::A long folder name")

    listing = subprocess.run([tool("fls"), "-rdp", disk], check=True, capture_output=True, text=True).stdout
    theirs = {match[3]: match for match in re.finditer(r"(.)/. \* (\d+):\t(.*)", listing)}
    ours = deleted(disk.read_bytes())
    assert ours.keys() == theirs.keys()
    assert "dir/inner/Überlänge.dat".replace("inner", "_nner") in ours
    for path, node in ours.items():
        assert isinstance(node, Directory) == (theirs[path][1] == "d"), path
        if isinstance(node, File):
            command = [tool("icat"), "-r", disk, theirs[path][2]]
            assert content(node) == subprocess.run(command, check=True, capture_output=True).stdout, path
            assert ("follow each other" in node.guess) is (path != "_mpty")


def test_a_cluster_that_is_used_again_is_refused_and_what_precedes_it_is_not() -> None:
    disk = small(gone(b"OLD     BIN", cluster=5, size=1500), {7: END}, {5: b"a" * 512, 6: b"b" * 512})
    device = volume(disk)
    found = deleted(disk)["_LD.BIN"]
    assert isinstance(found, File)
    old = found.open()
    assert old.pread(0, 1024) == b"a" * 512 + b"b" * 512
    with pytest.raises(FormatError, match="cluster 7 of a deleted file is in use by another"):
        old.pread(1000, 100)
    assert [run.offset for run in old.extents(0, 512)] == [device.offset(5)]  # zero copy


def test_a_file_that_is_said_to_leave_the_volume_is_refused() -> None:
    disk = small(gone(b"LARGE      ", cluster=4000, size=1 << 31) + gone(b"NOWHERE    ", cluster=0, size=9))
    for node in deleted(disk).values():
        with pytest.raises(FormatError, match="do not fit in clusters 2 to 5001"):
            content(node)


@pytest.mark.parametrize(
    ("name", "short", "found"),
    [
        ("Name with spaces.txt", b"NAMEWI~1TXT", "Name with spaces.txt"),
        (".profile", b"PROFIL~1   ", ".profile"),
        ("über.txt", b"\x9aBER~1  TXT", "über.txt"),
        ("+plus", b"_PLUS~1    ", "+plus"),
        ("Other", b"NAMEWI~1TXT", "_AMEWI~1.TXT"),  # that letter makes another short name
        ("x" * 13, b"XXXXXX~1   ", "x" * 13),
    ],
)
def test_long_names_belong_to_records_whose_first_letter_they_give(
    name: str, short: bytes, found: str
) -> None:
    pieces = bytearray(long_name(name, short))
    pieces[::32] = b"\xe5" * (len(pieces) // 32)
    ((path, node),) = deleted(small(bytes(pieces) + gone(short))).items()
    assert path == found
    assert ("first letter" in node.guess) is found.startswith("_")
    assert ("may have been longer" in node.guess) is (len(found) == 13)


def test_pieces_of_another_file_are_no_part_of_a_name() -> None:
    pieces = bytearray(long_name("one name of two pieces", b"ONENAM~1   "))
    pieces[::32] = b"\xe5" * 2
    pieces[13] ^= 1
    assert list(deleted(small(bytes(pieces) + gone(b"ONENAM~1   ")))) == ["one name of t"]
    pieces[45] ^= 1
    assert list(deleted(small(bytes(pieces) + gone(b"ONENAM~1   ")))) == ["_NENAM~1"]


def test_formatted_space_holds_no_files() -> None:
    assert deleted(small(b"\xe5" * 2048)) == {}


def test_deleted_folders_end_where_they_no_longer_look_like_one() -> None:
    dots = record(b".          ", 0x10, 5) + record(b"..         ", 0x10)
    full = dots + b"".join(record(b"F%-10d" % number) for number in range(14))
    more = b"".join(record(b"G%-10d" % number) for number in range(16))
    clusters = {5: full, 6: more, 7: b"text of another file" * 25}
    root = gone(b"FOLDER     ", 0x10, 5)
    assert len(deleted(small(root, {}, clusters))) == 1 + 14 + 16
    assert len(deleted(small(root, {6: END}, clusters))) == 1 + 14
    assert len(deleted(small(root, {5: END}, clusters))) == 1
    assert len(deleted(small(root, {}, {5: full.replace(b"\x05\0", b"\x06\0", 1)}))) == 1


def test_deleted_folders_in_a_loop_end() -> None:
    dots = record(b".          ", 0x10, 5) + record(b"..         ", 0x10)
    loop = dots + record(b"LOOP       ", 0x10, 5) + gone(b"AGAIN      ", 0x10, 5)
    assert list(deleted(small(gone(b"TOP        ", 0x10, 5), {}, {5: loop}))) == [
        "_OP",
        "_OP/LOOP",
        "_OP/_GAIN",
    ]


def test_a_renamed_folder_is_in_its_new_place_alone() -> None:
    dots = record(b".          ", 0x10, 5) + record(b"..         ", 0x10)
    disk = small(
        gone(b"OLD        ", 0x10, 5) + record(b"NEW        ", 0x10, 5),
        {5: END},
        {5: dots + gone(b"FILE       ")},
    )
    assert list(deleted(disk)) == ["_LD", "NEW/_ILE"]


@pytest.mark.parametrize("variant", ["fat12", "fat32"])
def test_random_damage_ends_where_it_is(variant: str, tmp_path: Path) -> None:
    data = fixture_images(tmp_path)[variant]
    values = (0, 1, 0x10, 0xE5, 0xFF)
    check_damage_ends_where_it_is(data, deleted, random.Random(5), rounds=30, changes=80, values=values)
