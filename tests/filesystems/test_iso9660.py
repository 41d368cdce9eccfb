"""ISO 9660 trees: what stat says, names, extents, damage."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pytest

from conformance import check_tree, manifest, tree
from filesystems.iso_reader import content, exhaust, stored
from filesystems.iso_writer import (
    BLOCKS,
    DATA,
    DATE,
    FILE,
    ROOT,
    RR,
    SECTOR,
    both32,
    build,
    descriptor,
    directory,
    field,
    names,
    nm,
    px,
    record,
    volume,
)
from helpers import context
from imgmount.chain.open import open_image
from imgmount.core.format import Match
from imgmount.core.node import Directory, File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MountError, UnsupportedError
from imgmount.filesystems.iso9660 import FORMAT
from imgmount.filesystems.iso9660.check import problems
from imgmount.filesystems.iso9660.volume import Iso9660

# What stat says
# -----------------------------------------------------------------------------------------------------------


def test_rock_ridge_attributes() -> None:
    root = volume(stored("rockridge", "rockridge")).root
    facts = root.lookup("a").stat()
    assert (facts.mode, facts.nlink) == (stat.S_IFREG | 0o751, 2)
    assert (facts.uid, facts.gid) == (1234, 5678)
    assert facts.mtime_ns == 1_234_567_890 * 10**9
    assert stat.S_ISFIFO(root.lookup("fifo").stat().mode)
    char, block = root.lookup("char").stat(), root.lookup("block").stat()
    assert (char.mode, char.rdev) == (stat.S_IFCHR | 0o600, os.makedev(4, 65))
    assert stat.S_ISBLK(block.mode)
    assert block.rdev == os.makedev(8, 300)
    link = root.lookup("link10").stat()
    assert (stat.S_ISLNK(link.mode), link.size) == (True, len("../x/./y"))


def test_without_rock_ridge_the_record_and_the_volume_say_what_they_can() -> None:
    nodate = record(b"B.;1", 30, 5).replace(DATE, bytes(7))
    root = volume(build([record(b"A.;1", 30, 5), record(b"D", 31, SECTOR, 2), nodate])).root
    facts = root.lookup("A").stat()
    assert (facts.mode, facts.uid, facts.size) == (stat.S_IFREG | 0o444, None, 5)
    assert facts.mtime_ns == 1709206259 * 10**9
    assert root.lookup("B").stat().mtime_ns == 1577934245 * 10**9
    assert root.lookup("D").stat().mode == stat.S_IFDIR | 0o555


def test_relocated_directories_have_the_attributes_of_what_they_stand_for() -> None:
    root = volume(stored("deep-genisoimage", "deep")).root
    assert names(root) == ["first", "second"]
    nodes = dict(tree(root))
    deep = nodes["first/level 2/level 3/level 4/level 5/level 6/level 7/level 8"]
    assert stat.S_ISDIR(deep.stat().mode)
    assert deep.stat().size == SECTOR


def test_compressed_files_say_how_much_they_take() -> None:
    root = volume(stored("zisofs1", "zisofs")).root
    facts = dict(tree(root))["packed/zeros"].stat()
    assert facts.size == 100000
    assert facts.allocated == 16 + 4 * 5
    assert root.lookup("magic1").stat().allocated is None


# Choice of tree
# -----------------------------------------------------------------------------------------------------------


def test_each_tree_can_be_asked_for() -> None:
    data = stored("rockridge", "rockridge")
    assert volume(data).view == "rockridge"
    assert volume(data).views == ("rockridge", "joliet", "iso")
    for view in volume(data).views:
        assert volume(data, fs=view).view == view
    assert volume(data).info()["names"] == "Rock Ridge (of Rock Ridge, Joliet, ISO 9660)"
    with pytest.raises(MountError, match="no Joliet names"):
        volume(stored("plain", "plain"), fs="joliet")


def test_a_charset_is_for_names_that_declare_none() -> None:
    plain = build(
        [record("カナ.TXT;1".encode("shift-jis"), 30, 1)],
        pvd=descriptor(record(b"\0", ROOT, SECTOR, 2), label="円".encode("shift-jis")),
    )
    assert names(volume(plain, encoding="shift-jis").root) == ["カナ.TXT"]
    assert volume(plain, encoding="shift-jis").label == "円"
    assert names(volume(plain).root)[0].encode("utf-8", "surrogateescape") == "カナ.TXT".encode("shift-jis")
    with pytest.raises(MountError, match="encoding"):
        volume(plain, encoding="klingon")
    ridge = build([record(b"A.;1", su=px(FILE) + nm("é".encode("latin-1")))], su=RR)
    assert names(volume(ridge, encoding="latin-1").root) == ["é"]


@pytest.mark.parametrize("escapes", [b"%/@", b"%/C", b"%/E"])
def test_joliet_levels_and_names_that_are_no_utf_16(escapes: bytes) -> None:
    listed = ["naïve;1".encode("utf-16-be"), "😀.txt".encode("utf-16-be"), b"\xd8\x00\0A", b"\0x\0y\0"]
    joliet = directory(24, [record(raw, 30, 1) for raw in listed], parent=24)
    data = build(
        [record(b"A.;1")],
        {17: descriptor(record(b"\0", 24, SECTOR, 2), kind=2, escapes=escapes), 18: b"\xffCD001", 24: joliet},
    )
    found = names(volume(data).root)
    assert found[:2] == ["naïve", "😀.txt"]
    assert all(name.encode() for name in found)


def test_a_bridge_disc_is_left_to_udf() -> None:
    data = build([])
    assert FORMAT.probe(MemoryDevice(bytes(data))) is Match.CERTAIN
    for sector, standard_id in ((18, b"BEA01"), (19, b"NSR02"), (20, b"TEA01")):
        data[sector * SECTOR : sector * SECTOR + 7] = b"\0" + standard_id + b"\1"
    assert FORMAT.probe(MemoryDevice(bytes(data))) is Match.LIKELY


# Names
# --------------------------------------------------------------------------------------------------------------------


def test_names_are_made_fit_for_a_path() -> None:
    hostile = [b"../../etc/passwd", b"..", b".", b"a\0b", b"/", b"x" * 220]
    root = volume(build([record(b"A.;1", su=px(FILE) + nm(raw)) for raw in hostile[:5]], su=RR)).root
    assert len(names(root)) == 5
    check_tree(root, manifest(root))
    root = volume(build([record(raw) for raw in hostile])).root
    check_tree(root, manifest(root))


def test_the_newest_version_has_the_plain_name() -> None:
    listed = [
        record(b"A.TXT;1", 30, 1),
        record(b"A.TXT;12", 30, 2),
        record(b"A.TXT;3", 30, 3),
        record(b"B;1"),
        record(b"C.;1"),
        record(b"D."),
    ]
    root = volume(build(listed)).root
    assert names(root) == ["A.TXT;1", "A.TXT", "A.TXT;3", "B", "C", "D"]
    assert root.lookup("A.TXT").stat().size == 2


def test_associated_and_hidden_files_are_shown() -> None:
    listed = [record(b"A.;1", 30, 9, 4), record(b"A.;1", 31, 5), record(b"H.;1", 31, 5, 1)]
    blocks = {30: b"resources", 31: b"datas"}
    assert exhaust(volume(build(listed, blocks)).root) == {"._A": b"resources", "A": b"datas", "H": b"datas"}


# Extents
# ------------------------------------------------------------------------------------------------------------------


def test_several_extents_are_one_file() -> None:
    listed = [
        record(b"A.;1", 31, SECTOR, 0x80),
        record(b"A.;1", 30, SECTOR, 0x80),
        record(b"A.;1", 33, 7),
        record(b"B.;1", 30, 3),
    ]
    root = volume(build(listed, BLOCKS)).root
    assert names(root) == ["A", "B"]
    assert content(root, "A") == DATA[SECTOR : 2 * SECTOR] + DATA[:SECTOR] + DATA[3 * SECTOR : 3 * SECTOR + 7]


@pytest.mark.parametrize("after", [[], [record(b"B.;1", 30, 3)]])
def test_a_file_without_its_last_extent_cannot_be_read(after: list[bytes]) -> None:
    found = exhaust(volume(build([record(b"A.;1", 30, SECTOR, 0x80), *after], BLOCKS)).root)
    assert isinstance(found["A"], FormatError)
    assert found.get("B", DATA[:3]) == DATA[:3]


def test_more_than_4_gib(tmp_path: Path) -> None:
    whole, rest = 0xFFFF_F800, 12345
    image_path = tmp_path / "large.iso"
    listed = [record(b"A.;1", 64, whole, 0x80), record(b"A.;1", 64 + whole // SECTOR, rest)]
    with image_path.open("wb") as out:
        out.write(build(listed))
        out.seek(64 * SECTOR + whole)
        out.write(DATA[:100])
        out.truncate(64 * SECTOR + whole + rest)
    with open_image(image_path) as opened:
        assert opened.whole
        node = opened.whole.filesystem.root.lookup("A")
        assert isinstance(node, File)
        assert node.stat().size == whole + rest
        assert node.open().pread(whole - 2, 102) == bytes(2) + DATA[:100]


def test_interleaved_files() -> None:
    listed = [
        record(b"A.;1", 30, SECTOR + 9, unit=1, gap=1),
        record(b"B.;1", 31, 9, unit=1, gap=1),
        record(b"X.;1", 30, 9, unit=1, xar=1),
    ]
    root = volume(build(listed, BLOCKS)).root
    assert content(root, "A") == DATA[:SECTOR] + DATA[2 * SECTOR : 2 * SECTOR + 9]
    assert content(root, "B") == DATA[SECTOR : SECTOR + 9]
    with pytest.raises(UnsupportedError, match="interleaved"):
        content(root, "X")


def test_extended_attribute_records_come_before_the_data() -> None:
    sub = directory(41, [record(b"IN.;1", 30, 1)])
    root = volume(
        build([record(b"A.;1", 30, 100, xar=2), record(b"D", 40, SECTOR, 2, xar=1)], {**BLOCKS, 41: sub})
    ).root
    assert content(root, "A") == DATA[2 * SECTOR : 2 * SECTOR + 100]
    assert content(root, "D/IN") == DATA[:1]


def test_extents_outside_the_image_cost_their_file_only() -> None:
    listed = [
        record(b"A.;1", 30, 5),
        record(b"EMPTY.;1", 0xFFFF_FFFF, 0),
        record(b"FAR.;1", 0xFFFF_FFF0, 5),
        record(b"LONG.;1", 63, 5000),
        record(b"DIR", 5000, SECTOR, 2),
    ]
    root = volume(build(listed, BLOCKS)).root
    found = exhaust(root)
    assert found["A"] == DATA[:5]
    assert found["EMPTY"] == b""
    assert isinstance(found["FAR"], ImageError)
    assert isinstance(found["LONG"], ImageError)
    assert isinstance(found["DIR/"], ImageError)
    assert len(names(root)) == 5
    long = root.lookup("LONG")
    assert isinstance(long, File)
    assert long.open().pread(0, SECTOR) == bytes(SECTOR)


def test_blocks_before_a_session_are_an_error() -> None:
    shifted = build(
        [record(b"OLD.;1", 7, 5), record(b"A.;1", 130, 5)],
        BLOCKS,
        pvd=descriptor(record(b"\0", 100 + ROOT, SECTOR, 2)),
    )
    found = exhaust(Iso9660(MemoryDevice(bytes(shifted)), context(), session_base=100).root)
    assert found["A"] == DATA[:5]
    assert isinstance(found["OLD"], ImageError)


@pytest.mark.parametrize("size", [512, 1024])
def test_small_blocks(size: int) -> None:
    scale = SECTOR // size
    pvd = descriptor(record(b"\0", ROOT * scale, SECTOR, 2), block_size=size)
    root = volume(build([record(b"A.;1", 30 * scale + 1, 600)], BLOCKS, pvd=pvd)).root
    assert content(root, "A") == DATA[size : size + 600]


# Damaged descriptors and directories
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [record(b"\0", 5000, SECTOR, 2), record(b"\0", 30, SECTOR, 2), bytes(34)])
@pytest.mark.parametrize("table", ["L", "M", "none"])
def test_a_root_is_found_through_the_path_tables_or_else_looked_for(broken: bytes, table: str) -> None:
    data = build([record(b"A.;1", 30, 5)], BLOCKS, pvd=descriptor(broken))
    if table != "L":
        data[18 * SECTOR : 19 * SECTOR] = bytes(SECTOR)
    if table == "none":
        data[19 * SECTOR : 20 * SECTOR] = bytes(SECTOR)
    assert exhaust(volume(data).root) == {"A": DATA[:5]}


@pytest.mark.parametrize("broken", [record(b"\0", 5000, SECTOR, 2), record(b"\0", 30, SECTOR, 2), bytes(34)])
def test_a_root_that_is_nowhere_is_an_error(broken: bytes) -> None:
    data = build([record(b"A.;1", 30, 5)], BLOCKS, pvd=descriptor(broken))
    data[18 * SECTOR : 20 * SECTOR] = bytes(2 * SECTOR)
    data[ROOT * SECTOR : ROOT * SECTOR + 2] = b"\0\0"
    with pytest.raises(ImageError):  # at once, or when what is no directory is listed
        assert content(volume(data).root, "A") or True


def test_a_volume_needs_no_terminator_and_no_right_size() -> None:
    data = build([record(b"A.;1", 30, 5)], BLOCKS, pvd=descriptor(record(b"\0", ROOT, SECTOR, 2), blocks=3))
    data[17 * SECTOR : 18 * SECTOR] = bytes(SECTOR)
    assert content(volume(data).root, "A") == DATA[:5]


def test_the_little_endian_half_counts_and_verify_names_the_other() -> None:
    data = build([record(b"A.;1", 30, 5)], BLOCKS)
    at = data.index(b"A.;1") - 33
    data[at + 6 : at + 10] = bytes(4)
    data[16 * SECTOR + 84 : 16 * SECTOR + 88] = bytes(4)
    data[19 * SECTOR + 2] = 9
    assert content(volume(data).root, "A") == DATA[:5]
    lines = list(problems(volume(data)))
    assert len(lines) == 3
    assert "space size" in lines[0]
    assert "extent" in lines[1]
    assert "path tables" in lines[2]


def test_verify_is_bounded_and_names_what_lies_outside() -> None:
    lines = list(problems(volume(build([record(b"F%d" % number, 9999, 5) for number in range(40)]))))
    assert sum("outside the image" in line for line in lines) == 40
    many = [directory(40 + n, [record(b"F%d" % i, 9999, 5) for i in range(40)]) for n in range(5)]
    parts = {40 + n: raw for n, raw in enumerate(many)}
    lines = list(problems(volume(build([record(b"D%d" % n, 40 + n, SECTOR, 2) for n in range(5)], parts))))
    assert len(lines) == 100


def test_a_short_record_ends_its_sector_only() -> None:
    listed = [record(b"F%03d" % number) for number in range(80)]
    raw = bytearray(directory(30, listed, size=2 * SECTOR))
    raw[raw.index(b"F005") - 33] = 20
    found = names(volume(build([record(b"D", 30, 2 * SECTOR, 2)], {30: bytes(raw)})).root.lookup("D"))  # type: ignore[arg-type]
    assert found[:5] == [f"F{number:03}" for number in range(5)]
    assert "F006" not in found
    assert found[-1] == "F079"


def test_a_directory_that_the_image_ends_in_is_listed_as_far_as_it_goes() -> None:
    listed = [record(b"F%03d" % number) for number in range(80)]
    data = build([record(b"D", 62, 2 * SECTOR, 2)], {62: directory(62, listed, size=2 * SECTOR)})[
        : 63 * SECTOR
    ]
    folder = volume(data).root.lookup("D")
    assert isinstance(folder, Directory)
    listing = folder.listing()
    assert isinstance(listing.damage, FormatError)
    assert list(listing.nodes)[:2] == ["F000", "F001"]
    assert 40 < len(listing.nodes) < 80


def test_directories_that_hold_themselves_end() -> None:
    inner = directory(
        40, [record(b"UP", ROOT, SECTOR, 2), record(b"SELF", 40, SECTOR, 2), record(b"F.;1", 30, 1)]
    )
    found = exhaust(volume(build([record(b"D", 40, SECTOR, 2)], {**BLOCKS, 40: inner})).root)
    assert found["D/F"] == DATA[:1]
    assert isinstance(found["D/UP/"], FormatError)
    assert isinstance(found["D/SELF/"], FormatError)
    assert len(found) == 3
    linked = build([record(b"D.;1", su=px(FILE) + nm(b"d") + field(b"CL", both32(ROOT)))], su=RR)
    assert isinstance(exhaust(volume(linked).root)["d/"], FormatError)


def test_a_chain_of_directories_ends() -> None:
    count = 300
    chain = {100 + n: directory(100 + n, [record(b"D", 101 + n, SECTOR, 2)]) for n in range(count)}
    found = exhaust(volume(build([record(b"D", 100, SECTOR, 2)], chain, sectors=110 + count)).root)
    ((path, error),) = found.items()
    assert path.count("/") == 256
    assert "deep" in str(error)


def test_a_directory_that_claims_gigabytes_is_refused() -> None:
    found = exhaust(volume(build([record(b"D", 40, 0xFFFF_F800, 2), record(b"A.;1", 30, 1)], BLOCKS)).root)
    assert isinstance(found["D/"], FormatError)
    assert found["A"] == DATA[:1]


@pytest.mark.parametrize("variant", ["rockridge", "zisofs1"])
def test_truncated_images_lose_what_is_missing_and_nothing_else(variant: str) -> None:
    data = stored(variant, variant.rstrip("1"))
    whole = exhaust(volume(data).root)
    seen = 0
    for step in range(20):
        size = len(data) * step // 20 + step
        try:
            found = exhaust(volume(data[:size]).root)
        except ImageError:
            continue
        for path, fact in found.items():
            assert isinstance(fact, ImageError) or fact == whole[path], path
        seen += len(found)
    assert seen > len(whole)


def test_random_damage_never_escapes() -> None:
    data = stored("rockridge", "rockridge")
    rng = random.Random(7)
    for _ in range(150):
        hurt = bytearray(data)
        for _ in range(rng.randrange(1, 30)):
            hurt[rng.randrange(0x8000, 0x8000 + 60 * SECTOR)] = rng.randrange(256)
        try:
            opened = volume(hurt, fs=rng.choice(("rockridge", "joliet", "iso")))
            exhaust(opened.root)
            list(problems(opened))
        except (ImageError, MountError):
            pass
