"""System use fields, Rock Ridge and zisofs, written by hand and damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conformance import tree
from filesystems.iso_reader import content, exhaust, facts_of, readlink, stored
from filesystems.iso_writer import (
    BLOCKS,
    DATA,
    FILE,
    LINK,
    RR,
    SECTOR,
    both32,
    build,
    ce,
    directory,
    field,
    names,
    nm,
    px,
    record,
    sl,
    sp,
    volume,
)
from helpers import tool
from imgmount.core.node import Directory, File
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.iso9660.nodes import IsoFile

# System use fields
# --------------------------------------------------------------------------------------------------------


def ridge(*areas: bytes, blocks: dict[int, bytes] | None = None, su: bytes = RR) -> Directory:
    """A tree with a file A0, A1... for each system use area."""
    opened = volume(
        build(
            [record(b"A%d.;1" % number, 30, 5, su=area) for number, area in enumerate(areas)],
            {**BLOCKS, **(blocks or {})},
            su=su,
        )
    )
    assert opened.view == "rockridge"
    return opened.root


def test_rock_ridge_is_found_without_sp_or_er() -> None:
    assert names(ridge(px(FILE) + nm(b"x"), su=b"")) == ["x"]
    assert names(ridge(px(FILE) + nm(b"x"), su=sp())) == ["x"]


def test_bytes_ahead_of_the_fields_are_skipped() -> None:
    xa = b"\0\0\0\0\x0d\x55XA\1" + bytes(5)
    assert names(ridge(xa + px(FILE) + nm(b"x"), px(FILE) + nm(b"y"), su=xa + sp(14))) == ["x", "y"]
    assert names(ridge(xa + px(FILE) + nm(b"x"), su=xa + px(0o40755))) == ["x"]
    assert names(ridge(b"1234567" + px(FILE) + nm(b"x"), su=sp(7) + px(0o40755))) == ["x"]


def test_names_in_pieces_and_names_that_say_nothing() -> None:
    pieces = nm(b"one ", 1) + px(FILE, serial=7) + nm(b"two")
    assert names(ridge(pieces, px(FILE) + nm(b"", 2), px(FILE) + nm(b"name", 4), px(FILE))) == [
        "one two",
        "A1",
        "name",
        "A3",
    ]


def test_fields_in_the_usual_order_have_flags_as_well() -> None:
    tf = field(b"TF", b"\x0e" + 3 * bytes((100, 1, 2, 0, 0, 0, 0)))
    rr = field(b"RR", b"\x89")
    root = ridge(
        px(FILE) + tf + nm(b"last"),
        rr + nm(b"first") + px(FILE) + tf,
        px(FILE) + tf + nm(b"in ", 1) + nm(b"two"),
        rr + nm(b"", 2) + px(FILE) + tf,
        px(FILE) + tf + nm(b"", 4),
    )
    assert names(root) == ["last", "first", "in two", "A3", "A4"]
    assert {node.stat().mtime_ns for _, node in root.entries()} == {946771200 * 10**9}


def test_extended_attribute_records_come_before_the_data_of_named_files_too() -> None:
    root = volume(build([record(b"A.;1", 30, 9, su=px(FILE) + nm(b"a"), xar=2)], BLOCKS, su=RR)).root
    assert content(root, "a") == DATA[2 * SECTOR : 2 * SECTOR + 9]


def test_continuation_areas() -> None:
    text = b"n" * 100
    across = {33: bytes(2000) + nm(text, 1) + px(0o100600) + nm(b"end")}
    blocks = {**across, 35: px(0o100640) + ce(36, 10, 36), 36: bytes(10) + sl((0, b"unused"))}
    root = ridge(
        ce(33, 2000, 105 + 36 + 8),
        nm(b"first") + ce(35, 0, 28 + 36) + field(b"ZZ", b"unknown"),
        blocks=blocks,
    )
    assert names(root) == [(text + b"end").decode(), "first"]
    assert [node.stat().mode & 0o777 for _, node in root.entries()] == [0o600, 0o640]


@pytest.mark.parametrize(
    "link", [ce(33, 0, 28), ce(0xFFFF_FFFF, 0, 28), ce(63, 2000, 500), ce(33, 0, 0xFFFF_FFFF)]
)
def test_broken_continuations_cost_their_file_only(link: bytes) -> None:
    found = exhaust(ridge(px(FILE) + nm(b"bad") + link, px(FILE) + nm(b"good"), blocks={33: ce(33, 0, 28)}))
    assert isinstance(found["bad"], FormatError)
    assert found["good"] == DATA[:5]


def test_padding_and_short_fields_end_an_area() -> None:
    root = ridge(
        nm(b"x") + b"QQ\x01\x01" + nm(b"y"),
        nm(b"x2") + field(b"ST") + nm(b"z"),
        px(FILE) + b"NM\xff\x01\0abc",
        px(FILE) + b"NM",
    )
    assert names(root) == ["x", "x2", "A2", "A3"]


def test_link_targets() -> None:
    def link(*fields: bytes) -> bytes:
        return px(LINK) + nm(b"l") + b"".join(fields)

    root = ridge(
        link(sl((8, b""), (0, b"usr"), (4, b""), (2, b""), (0, b"bin"))),
        link(sl((1, b"long"), (1, b"er"), (0, b"name"), (0, b"x"))),
        link(sl((0, b"a"), (1, b"b"), flags=1), sl((0, b"c"), (0, b"d"))),
        link(sl((8, b""))),
        link(sl((0, b"a"), flags=1)),
        link(),
        link(sl((0x20, b"host"))),
        link(field(b"SL", b"\0\0\xffabc")),
    )
    targets = [readlink(root, name) for name in names(root)[:4]]
    assert targets == ["/usr/.././bin", "longername/x", "a/bc/d", "/"]
    for name in names(root)[4:]:
        with pytest.raises(ImageError):
            readlink(root, name)
        root.lookup(name).stat()


def test_times_in_both_forms() -> None:
    def moment(day: int) -> bytes:
        return bytes((100, 1, day, 0, 0, 0, 0))

    long_form = field(b"TF", b"\x82" + b"2000010200000050\0")
    shorts = field(b"TF", b"\x0f" + moment(1) + moment(2) + moment(3) + moment(4))
    cut = field(b"TF", b"\x0e" + moment(2))
    facts = [
        node.stat()
        for _, node in ridge(*(px(FILE) + nm(b"f") + tf for tf in (long_form, shorts, cut))).entries()
    ]
    second = 946771200 * 10**9
    assert (facts[0].mtime_ns, facts[0].atime_ns) == (second + 500_000_000, None)
    assert (facts[1].mtime_ns, facts[1].atime_ns, facts[1].ctime_ns) == (
        second,
        second + 86400 * 10**9,
        second + 2 * 86400 * 10**9,
    )
    assert (facts[2].mtime_ns, facts[2].atime_ns) == (second, None)


def test_device_numbers_in_both_forms() -> None:
    def pn(high: int, low: int) -> bytes:
        return px(0o020600) + nm(b"d") + field(b"PN", both32(high) + both32(low))

    found = [
        node.stat().rdev for _, node in ridge(pn(4, 65), pn(0, 0x441), px(0o020600) + nm(b"d")).entries()
    ]
    assert found == [os.makedev(4, 65), os.makedev(4, 0x41), 0]


def test_sparse_files_are_refused_by_name() -> None:
    node = ridge(px(FILE) + nm(b"s") + field(b"SF", both32(1) + both32(2) + b"\1")).lookup("s")
    assert isinstance(node, File)
    assert node.stat().size == (1 << 32) + 2
    with pytest.raises(UnsupportedError, match="sparse"):
        node.open()


def test_the_room_of_relocated_directories_is_shown_when_it_holds_more() -> None:
    def moved(records: list[bytes]) -> Directory:
        room = directory(40, records)
        return volume(
            build([record(b"RR_MOVED", 40, SECTOR, 2, su=px(0o40755) + nm(b"rr_moved"))], {40: room}, su=RR)
        ).root

    relocated = record(b"X", 41, SECTOR, 2, su=px(0o40755) + nm(b"x") + field(b"RE"))
    assert names(moved([])) == []
    assert names(moved([relocated])) == []
    assert names(moved([relocated, record(b"Y.;1", su=px(FILE) + nm(b"y"))])) == ["rr_moved"]


def test_a_child_link_to_nowhere_is_a_damaged_directory() -> None:
    root = ridge(px(0o40755) + nm(b"d") + field(b"CL", both32(30)), px(FILE) + nm(b"f"))
    assert isinstance(root.lookup("d"), Directory)
    assert isinstance(exhaust(root)["d/"], FormatError)


# zisofs
# -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["magic", "size", "pointer", "data"])
@pytest.mark.parametrize("version", [1, 2])
def test_damaged_compressed_files_are_errors(version: int, change: str) -> None:
    data = bytearray(stored(f"zisofs{version}", "zisofs"))
    node = dict(tree(volume(data).root))["packed/text"]
    assert isinstance(node, IsoFile)
    start = node.start * SECTOR
    table = start + (16 if version == 1 else 24)
    at = {
        "magic": start,
        "size": start + (8 if version == 1 else 12),
        "pointer": table + 2,
        "data": table + 500,
    }[change]
    data[at] ^= 0x5A
    found = exhaust(volume(data).root)
    assert isinstance(found["packed/text"], ImageError)
    assert sum(isinstance(fact, ImageError) for fact in found.values()) == 1


@pytest.mark.skipif(shutil.which("mkzftree") is None, reason="mkzftree is not installed")
def test_what_mkzftree_and_genisoimage_compress(tmp_path: Path) -> None:
    source, packed, path = tmp_path / "source", tmp_path / "packed", tmp_path / "z.iso"
    source.mkdir()
    text = b"".join(b"%d squared is %d\n" % (number, number * number) for number in range(20000))
    (source / "text").write_bytes(text)
    (source / "mixed").write_bytes(text[:1000] + bytes(100000) + text)
    subprocess.run(["mkzftree", source, packed], check=True)
    subprocess.run([tool("genisoimage"), "-quiet", "-R", "-z", "-o", path, packed], check=True)
    assert exhaust(volume(path.read_bytes()).root) == facts_of(source)
