"""NTFS that is damaged or hostile: copies are used, what is lost costs itself alone, nothing runs away."""

from __future__ import annotations

import logging
import random
import re
import struct

import pytest

from conformance import manifest, survive, tree
from filesystems.ntfs_images import (
    RECORD,
    attribute_at,
    backup_at,
    both_boots,
    content,
    file,
    load,
    number_of,
    patched,
    place,
    record_at,
    volume,
)
from helpers import context
from imgmount.core.format import FilesystemFormat, Match
from imgmount.core.node import Node
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, ImageError, UnsupportedError
from imgmount.filesystems.ntfs import FORMAT, records
from imgmount.filesystems.ntfs.check import check
from imgmount.filesystems.ntfs.deleted import deleted as find_deleted
from imgmount.filesystems.ntfs.index import Index
from imgmount.filesystems.ntfs.records import parse_record
from imgmount.filesystems.ntfs.runs import MAX_RUNS, Runs, add_pairs
from imgmount.filesystems.ntfs.security import shared
from imgmount.filesystems.ntfs.streams import Part, assemble
from imgmount.registry import best_match

VARIANTS = ("plain", "features", "clusters", "sectors", "lists", "deleted")


@pytest.fixture(scope="module")
def plain() -> bytes:
    return load("plain")


# --- boot sectors and the table ---


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_backup_serves_where_the_boot_sector_is_wiped(
    variant: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = load(variant)
    wiped = patched(data, (0, bytes(512)))
    assert FORMAT.rescue is not None
    assert FORMAT.rescue(MemoryDevice(wiped)) is Match.LIKELY
    assert best_match(FilesystemFormat, MemoryDevice(wiped)) == (Match.LIKELY, FORMAT)
    with caplog.at_level(logging.WARNING):
        opened = volume(wiped)
    assert "its backup" in caplog.text
    assert manifest(opened.root) == manifest(volume(data).root)
    assert opened.info()["boot sector"] == f"damaged, its backup at {backup_at(data):#x} is used"
    assert any("boot sector is damaged" in line for line in check(opened))


def test_a_backup_that_is_not_this_volumes_is_not_believed(plain: bytes) -> None:
    disk = bytes(1 << 20) + plain  # a disk whose last partition is the volume
    assert FORMAT.rescue is not None
    assert FORMAT.rescue(MemoryDevice(disk)) is Match.NO
    assert best_match(FilesystemFormat, MemoryDevice(disk)) is None


@pytest.mark.parametrize(
    ("at", "value"),
    [(11, b"\0\0"), (11, b"\1\2"), (13, b"\0"), (13, b"\3"), (13, b"\xe0"), (0x28, bytes(8)), (0x30, b"\xff" * 8), (0x40, b"\0"),
     (0x44, b"\x80"), (0x40, b"\x7f"), (13, b"\x81")],
)  # fmt: skip
def test_a_boot_sector_that_makes_no_sense_is_refused(plain: bytes, at: int, value: bytes) -> None:
    changed = MemoryDevice(both_boots(plain, at, value))
    with pytest.raises(FormatError):
        FORMAT.probe(changed)
    with pytest.raises(FormatError):
        FORMAT.open(changed, context())
    assert manifest(volume(patched(plain, (at, value))).root) == manifest(
        volume(plain).root
    )  # the backup is sound


def test_record_0_is_taken_from_the_mirror(plain: bytes) -> None:
    at = place(plain, 0)
    opened = volume(patched(plain, (at, b"BAAD")))
    assert manifest(opened.root) == manifest(volume(plain).root)
    assert "its copy in $MFTMirr is used" in opened.info()["$MFT"]
    assert any("$MFTMirr" in line for line in check(opened))
    mirror = volume(plain).boot.mirror
    with pytest.raises(FormatError, match="nor is its copy sound"):
        volume(patched(plain, (at, b"BAAD"), (mirror, b"BAAD")))


def test_a_record_that_was_written_in_part_costs_its_file_alone(plain: bytes) -> None:
    at = record_at(plain, "odd size.bin")
    opened = volume(patched(plain, (at + 510, b"??")))
    lost = dict(tree(opened.root))["odd size.bin"]
    for _ in range(2):
        with pytest.raises(FormatError, match="written in part"):
            lost.stat()
    assert content(opened, "one.bin") == content(volume(plain), "one.bin")
    assert any("written in part" in line for line in check(opened))


def test_a_record_that_was_used_again_is_not_shown_as_the_old_file(plain: bytes) -> None:
    at = record_at(plain, "odd size.bin") + 16
    sequence = int.from_bytes(plain[at : at + 2], "little")
    opened = volume(patched(plain, (at, struct.pack("<H", sequence + 1))))
    with pytest.raises(FormatError, match="used again"):
        dict(tree(opened.root))["odd size.bin"].stat()
    assert any(f"has the sequence number {sequence + 1}" in line for line in check(opened))


def test_a_stale_entry_does_not_take_the_name_of_the_new_file(plain: bytes) -> None:
    """An index block that kept the entry of a file whose record is another file's now."""
    new, old = number_of(plain, "odd size.bin"), number_of(plain, "one.bin")
    name = re.compile(re.escape("one.bin".encode("utf-16-le")))
    entries = [
        found.start() - 82 for found in name.finditer(plain)
    ]  # the entry's header and the name's stand before
    entry = next(at for at in entries if plain[at : at + 6] == old.to_bytes(6, "little"))
    changed = volume(patched(plain, (entry, new.to_bytes(6, "little") + b"\7\0")))
    found = dict(changed.root.entries())
    with pytest.raises(FormatError, match="used again for another file"):
        found["one.bin"].stat()
    assert content(changed, "odd size.bin") == content(volume(plain), "odd size.bin")


# --- indexes ---


def blocks_of(data: bytes, path: str) -> list[int]:
    """Where the index blocks of a folder are."""
    opened = volume(data)
    stream = opened.stream(opened.mft.record(number_of(data, path)), records.INDEX_ALLOCATION, "$I30")
    assert stream is not None
    device = opened.content(stream)
    found = []
    for at in range(0, device.size, 4096):
        (run,) = device.extents(at, 4096)
        if data[run.offset : run.offset + 4] == b"INDX":
            found.append(run.offset)
    return found


@pytest.mark.parametrize("variant", ["plain", "clusters"])
def test_a_damaged_index_falls_back_to_the_records(variant: str, caplog: pytest.LogCaptureFixture) -> None:
    data = load(variant)
    for block in blocks_of(data, "many"):
        changed = volume(patched(data, (block, b"XXXX")))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert manifest(changed.root) == manifest(volume(data).root)
        assert "its names are taken from the file records" in caplog.text
        assert any("index block" in line for line in check(changed))


def test_a_root_folder_without_a_record_is_rebuilt(plain: bytes) -> None:
    changed = volume(patched(plain, (place(plain, 5), b"BAAD")))
    assert manifest(changed.root) == manifest(volume(plain).root)


@pytest.mark.parametrize("variant", ["plain", "clusters"])
def test_a_folder_whose_record_is_damaged_keeps_its_files(variant: str) -> None:
    data = load(variant)
    changed = volume(patched(data, (record_at(data, "many") + 510, b"??")))
    assert manifest(changed.root) == manifest(volume(data).root)
    assert any("written in part" in line for line in check(changed))


def test_an_index_that_points_up_ends() -> None:
    data = load("clusters")
    blocks = blocks_of(data, "many")
    parent = attribute_at(data, record_at(data, "many"), records.INDEX_ROOT, "$I30")
    length = int.from_bytes(data[parent + 4 : parent + 8], "little")
    last = parent + length - 8
    changed = patched(data, (last, bytes(8)))
    assert len(blocks) > 2
    assert manifest(volume(changed).root) == manifest(volume(data).root)


def test_a_loop_of_blocks_is_found() -> None:
    entry = struct.pack("<QHHHxxQ", 0, 24, 0, 3, 0)  # the end, with block 0 before it
    node = struct.pack("<IIII", 16, 40, 40, 1) + entry
    block = bytearray(4096)
    block[:40] = struct.pack("<4sHHQQ", b"INDX", 40, 9, 0, 0) + struct.pack("<IIII", 40, 64, 4072, 1)
    block[64:88] = entry
    root = struct.pack("<IIII", 0x30, 1, 4096, 1) + node
    index = Index(root, MemoryDevice(bytes(block)), 4096)
    with pytest.raises(FormatError, match="in two places"):
        list(index.names())


def test_a_folder_that_holds_a_folder_above_it_is_refused() -> None:
    data = load("plain")
    outer, deep = number_of(data, "dir"), number_of(data, "dir/nested/deep")
    entry = attribute_at(data, record_at(data, "dir/nested"), records.INDEX_ROOT, "$I30") + 32 + 32
    assert data[entry : entry + 6] == deep.to_bytes(6, "little")
    sequence = data[place(data, outer) + 16 : place(data, outer) + 18]
    changed = volume(patched(data, (entry, outer.to_bytes(6, "little") + sequence)))
    with pytest.raises(ImageError, match="belongs to"):
        dict(changed.root.lookup("dir").lookup("nested").entries())["deep"].stat()  # type: ignore[attr-defined]
    assert any("does not say so" in line for line in check(changed))


# --- runs, lists, records ---


LARGE = b"\xff" * 7 + b"\x7f"
RUNS = (b"\x18" + LARGE + b"\x01", b"\x88" + LARGE + LARGE, b"\x08" + LARGE, b"\x11\x01\x80", b"\x11\x00\x01")


@pytest.mark.parametrize(
    "pairs", [*RUNS, b"\x11\xff\x01", b"\x0f", b"\xff\x01", b"\x21\x05\x01", b"\x01\x80"]
)
def test_runs_that_no_volume_has_are_refused(pairs: bytes) -> None:
    with pytest.raises(FormatError):
        add_pairs(Runs(), pairs)


def test_runs_are_bounded() -> None:
    runs = Runs()
    runs.starts.extend(range(MAX_RUNS))
    runs.places.extend([5] * MAX_RUNS)
    runs.end = MAX_RUNS
    with pytest.raises(FormatError):
        runs.add(1, 100)


@pytest.mark.parametrize("start", [0, 0x3F, 0x1000])
def test_runs_that_begin_outside_their_attribute_are_refused(start: int) -> None:
    data = load("features")
    at = attribute_at(data, record_at(data, "holes.bin"), records.DATA)
    changed = volume(patched(data, (at + 32, struct.pack("<H", start))))
    assert file(changed, "holes.bin").stat().size == file(volume(data), "holes.bin").stat().size
    with pytest.raises(FormatError, match=f"whose runs begin at {start:#x} of"):
        content(changed, "holes.bin")
    assert any(f"whose runs begin at {start:#x} of" in line for line in check(changed))


def test_runs_past_the_end_fail_when_they_are_read(plain: bytes) -> None:
    attribute = attribute_at(plain, record_at(plain, "odd size.bin"), records.DATA)
    start = attribute + int.from_bytes(plain[attribute + 32 : attribute + 34], "little")
    changed = volume(patched(plain, (start + 2, b"\xff\x7f")))
    with pytest.raises(ImageError):
        content(changed, "odd size.bin")
    assert any("clusters" in line for line in check(changed))


def test_a_size_that_is_larger_than_the_runs_fails_behind_them(plain: bytes) -> None:
    attribute = attribute_at(plain, record_at(plain, "odd size.bin"), records.DATA)
    changed = volume(patched(plain, (attribute + 48, struct.pack("<QQ", 1 << 40, 1 << 40))))
    device = file(changed, "odd size.bin").open()
    assert device.pread(0, 40001) == content(volume(plain), "odd size.bin")
    with pytest.raises(FormatError, match="has clusters for"):
        device.pread(1 << 30, 10)


@pytest.mark.parametrize("size", [-1, -(1 << 63)])
def test_a_negative_size_is_refused(plain: bytes, size: int) -> None:
    attribute = attribute_at(plain, record_at(plain, "odd size.bin"), records.DATA)
    changed = volume(patched(plain, (attribute + 48, struct.pack("<q", size))))
    with pytest.raises(FormatError):
        dict(tree(changed.root))["odd size.bin"].stat()


def test_a_piece_of_a_file_whose_record_is_lost_costs_that_piece() -> None:
    data = load("lists")
    opened = volume(data)
    record = opened.mft.record(number_of(data, "in pieces.txt"))
    stream = opened.stream(record, records.DATA)
    assert stream is not None
    assert len(stream.parts) > 2
    before = content(opened, "in pieces.txt")
    part = stream.parts[1].attribute
    assert part is not None
    owner = next(
        number
        for number, raw in opened.mft.scan()
        if raw[:4] == b"FILE" and parse_record(raw, number).data == part.data
    )
    changed = volume(patched(data, (place(data, owner), b"BAAD")))
    device = file(changed, "in pieces.txt").open()
    first, last = stream.parts[1].first_cluster * 512, stream.parts[2].first_cluster * 512
    assert device.pread(0, first) == before[:first]
    assert device.pread(last, 1 << 20) == before[last:]
    with pytest.raises(FormatError, match="is lost"):
        device.pread(first, 1)


def test_an_attribute_list_that_names_the_record_itself_ends() -> None:
    data = load("lists")
    number = number_of(data, "in pieces.txt")
    opened = volume(data)
    found = next(
        one for one in records.attributes(opened.mft.record(number)) if one.type == records.ATTRIBUTE_LIST
    )
    listing = opened.content(assemble([Part(found.type, "", 0, found)]))
    raw = listing.pread(0, listing.size)
    start = next(iter(listing.extents(0, 1))).offset if not found.resident else data.index(raw)
    changes, at = [], 0
    while at + 26 <= len(raw):  # every part is said to be in the base record
        changes.append((start + at + 16, number.to_bytes(6, "little")))
        at += int.from_bytes(raw[at + 4 : at + 6], "little")
    assert len(changes) > 3
    changed = patched(data, *changes)
    survive(lambda: volume(changed))
    device = file(volume(changed), "in pieces.txt").open()
    with pytest.raises(FormatError, match="is lost"):
        device.pread(0, device.size)


def test_a_compression_method_that_is_unknown_is_named() -> None:
    data = load("features")
    attribute = attribute_at(data, record_at(data, "compressed/text.txt"), records.DATA)
    with pytest.raises(UnsupportedError, match="compression method 2"):
        content(volume(patched(data, (attribute + 12, b"\2"))), "compressed/text.txt")


def test_a_compression_unit_that_is_huge_is_refused() -> None:
    data = load("features")
    attribute = attribute_at(data, record_at(data, "compressed/text.txt"), records.DATA)
    for exponent in (0, 12, 200):
        with pytest.raises(FormatError):
            content(volume(patched(data, (attribute + 34, bytes([exponent])))), "compressed/text.txt")


def test_a_descriptor_whose_checksum_is_wrong_is_taken_from_its_copy(plain: bytes) -> None:
    opened = volume(plain)
    secure = opened.stream(opened.mft.record(9), records.DATA, "$SDS")
    assert secure is not None
    device = opened.content(secure)
    places = [next(iter(device.extents(at + 40, 1))).offset for at in (0, 0x40000)]
    good = shared(opened, 0x100)
    one = volume(patched(plain, (places[0], b"!")))
    assert shared(one, 0x100) == good
    both = volume(patched(plain, *((at, b"!") for at in places)))
    with pytest.raises(ChecksumError, match="in both of its copies"):
        shared(both, 0x100)
    assert any("checksum of security descriptor" in line for line in check(both))


# --- what verify finds ---


def test_clusters_against_the_bitmap(plain: bytes) -> None:
    opened = volume(plain)
    bitmap = opened.stream(opened.mft.record(6), records.DATA)
    assert bitmap is not None
    start = next(iter(opened.content(bitmap).extents(0, 1))).offset
    assert plain[start] == 0xFF
    last = max(at for at in range(start, start + bitmap.size - 1) if plain[at] == 0)
    changed = volume(patched(plain, (start, b"\xfe"), (last, b"\x01")))
    problems = list(check(changed))
    assert "1 clusters of files are marked as free, the first is 0" in problems
    assert f"1 clusters are marked as in use by no file, the first is {(last - start) * 8}" in problems


def test_an_index_that_lacks_a_name(plain: bytes) -> None:
    name = "odd size.bin".encode("utf-16-le")
    record = record_at(plain, "odd size.bin")
    entry = plain.find(name)
    while record <= entry < record + RECORD:
        entry = plain.find(name, entry + 1)
    problems = list(check(volume(patched(plain, (entry, b"O")))))
    number = number_of(plain, "odd size.bin")
    assert f"folder 5: its index lacks 'odd size.bin', which record {number} says is in it" in problems
    assert f"folder 5: its index has 'Odd size.bin', record {number} does not say so" in problems


def test_links_that_are_counted_wrong(plain: bytes) -> None:
    at = record_at(plain, "resident.bin") + 18
    assert any("names more than it has" in line for line in check(volume(patched(plain, (at, b"\7\0")))))


def test_clusters_of_two_files(plain: bytes) -> None:
    one, two = (
        attribute_at(plain, record_at(plain, name), records.DATA)
        for name in ("odd size.bin", f"{'x' * 200}.bin")
    )
    start = one + int.from_bytes(plain[one + 32 : one + 34], "little")
    other = two + int.from_bytes(plain[two + 32 : two + 34], "little")
    assert plain[start] == plain[other] or plain[start] & 0xF0 == plain[other] & 0xF0
    width = plain[start] >> 4
    lengths = plain[start] & 15, plain[other] & 15
    changed = patched(
        plain, (other + 1 + lengths[1], plain[start + 1 + lengths[0] : start + 1 + lengths[0] + width])
    )
    assert any("in use twice" in line for line in check(volume(changed)))


# --- anything ---


@pytest.mark.parametrize("part", range(6))
def test_random_damage_never_escapes_as_another_error(part: int) -> None:
    rng = random.Random(part)
    source = load(VARIANTS[part])
    used = [at for at in range(0, len(source), 1024) if source[at : at + 4] in (b"FILE", b"INDX", b"RSTR")]
    for number in range(20):
        data = bytearray(source)
        for _ in range(rng.choice((1, 8, 60))):
            at = rng.choice(used) + rng.randrange(1024) if rng.random() < 0.9 else rng.randrange(512)
            data[at] = rng.choice((0, 255, rng.randrange(256)))
        extra = {"ads": "files", "system": "show"} if number % 3 == 0 else {}
        survive(lambda data=data, extra=extra: volume(bytes(data), extra=extra))  # type: ignore[misc]
        for _, node in volume_or_nothing(bytes(data)):
            try:
                node.stat()
            except ImageError:
                continue


def volume_or_nothing(data: bytes) -> list[tuple[str, Node]]:
    try:
        return list(find_deleted(volume(data)))
    except ImageError:
        return []


def test_truncation(plain: bytes) -> None:
    rng = random.Random(2)
    for cut in [0, 1, 68, 69, 511, 512, 4096, *(rng.randrange(len(plain)) for _ in range(8))]:
        survive(lambda cut=cut: volume(plain[:cut]))  # type: ignore[misc]
