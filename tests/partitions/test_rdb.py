"""RDB: behind a PC's table, large blocks, bad checksums, loops, impossible numbers, and other people's disks."""

from __future__ import annotations

import hashlib
import json
import lzma
from pathlib import Path
from struct import pack, pack_into, unpack

import pytest

from conformance import manifest
from helpers import FIXTURES, IMAGES, context, image
from imgmount.chain import open_image
from imgmount.core.format import Kind, Match
from imgmount.core.slices import MemoryDevice
from imgmount.partitions.rdb import FORMAT, probe
from imgmount.registry import best_match

END = 0xFFFF_FFFF
THIRD_PARTY = "hdf-rdb/adflib__ADFlib__a590_WD93028XA_6parts"


def sealed(record: bytearray) -> bytes:
    """``record`` with the checksum of its 64 longs made right."""
    pack_into(">II", record, 4, 64, 0)
    pack_into(">I", record, 8, -sum(unpack(">64I", record[:256])) & 0xFFFF_FFFF)
    return bytes(record)


def rigid(block: int, parts: int, bad: int = END, systems: int = END) -> bytes:
    record = bytearray(block)
    pack_into(">4s12xII3I", record, 0, b"RDSK", block, 0, bad, parts, systems)
    return sealed(record)


def part(block: int, name: bytes, low: int, high: int, following: int = END, *, surfaces: int = 1) -> bytes:
    record = bytearray(block)
    pack_into(">4s12xII", record, 0, b"PART", following, 0)
    pack_into(">B31s", record, 36, len(name), name)
    pack_into(">IIIIII", record, 128, 16, block // 4, 0, surfaces, 1, 10)
    pack_into(">II", record, 164, low, high)
    record[192:196] = b"DOS\x03"
    return sealed(record)


def disk(blocks: dict[int, bytes], block: int = 512, count: int = 200) -> MemoryDevice:
    data = bytearray(b"".join(b"%08d" % number * (block // 8) for number in range(count)))
    for number, content in blocks.items():
        data[number * block : number * block + len(content)] = content
    return MemoryDevice(bytes(data))


def found(device: MemoryDevice) -> list[tuple[int, str, int, int]]:
    """(slot, name, first bytes as a number, size)."""
    parts = FORMAT.open(device, context())
    return [(found.index, found.name, int(found.device.pread(0, 8)), found.device.size) for found in parts]


@pytest.mark.parametrize("block", [512, 1024, 2048, 4096])
@pytest.mark.parametrize("place", [0, 3, 15])
def test_the_table_is_found_wherever_it_begins(block: int, place: int) -> None:
    device = disk({place: rigid(block, 18), 18: part(block, b"DH0", 3, 5, 17), 17: part(block, b"DH1", 6, 9)}, block)
    chosen = best_match(Kind.PARTITIONS, device)
    assert chosen is not None
    assert (chosen[0], chosen[1].name) == (Match.CERTAIN, "rdb")
    assert found(device) == [(1, "DH0", 30, 30 * block), (2, "DH1", 60, 40 * block)]


def test_it_wins_over_a_pc_table_in_front_of_it() -> None:
    table = bytearray(512)
    pack_into("<B3xB3xII", table, 446, 0, 0x76, 20, 150)
    table[510:] = b"\x55\xaa"
    device = disk({0: bytes(table), 2: rigid(512, 3), 3: part(512, b"DH0", 3, 5)})
    chosen = best_match(Kind.PARTITIONS, device)
    assert chosen is not None
    assert chosen[1].name == "rdb"


def test_bad_checksums_are_tolerated_and_told(caplog: pytest.LogCaptureFixture) -> None:
    bad = bytearray(part(512, b"DH0", 3, 5))
    bad[8] ^= 1
    assert found(disk({0: rigid(512, 1), 1: bytes(bad)})) == [(1, "DH0", 30, 30 * 512)]
    assert "bad checksum of PART block 1" in caplog.text
    worse = bytearray(rigid(512, 1))
    worse[9] ^= 1
    device = disk({0: bytes(worse), 1: part(512, b"DH0", 3, 5)})
    assert probe(device) is Match.LIKELY
    assert len(found(device)) == 1


def test_a_good_table_is_preferred_to_a_damaged_one_before_it() -> None:
    bad = bytearray(rigid(512, 9))
    bad[9] ^= 1
    assert found(disk({0: bytes(bad), 2: rigid(512, 1), 1: part(512, b"DH0", 3, 5)}))[0][1] == "DH0"


def test_lists_that_loop_or_lead_nowhere_end_there(caplog: pytest.LogCaptureFixture) -> None:
    two = {0: rigid(512, 1), 1: part(512, b"DH0", 3, 5, 2), 2: part(512, b"DH1", 6, 9, 1)}
    assert [name for _, name, _, _ in found(disk(two))] == ["DH0", "DH1"]
    assert "loops" in caplog.text
    assert [name for _, name, _, _ in found(disk({**two, 2: part(512, b"DH1", 6, 9, 100)}))] == ["DH0", "DH1"]
    assert "no PART" in caplog.text
    assert [name for _, name, _, _ in found(disk({**two, 2: part(512, b"DH1", 6, 9, 0x7FFF_FFFF)}))] == ["DH0", "DH1"]


def test_impossible_partitions_are_left_out_and_keep_their_number(caplog: pytest.LogCaptureFixture) -> None:
    blocks = {
        0: rigid(512, 1),
        1: part(512, b"BACK", 5, 3, 2),
        2: part(512, b"FLAT", 3, 5, 3, surfaces=0),
        3: part(512, b"AWAY", 3000, 4000, 4),
        4: part(512, b"GOOD", 3, 5, 5),
        5: part(512, b"LONG", 10, 400),
    }
    assert [(slot, name) for slot, name, _, _ in found(disk(blocks))] == [(4, "GOOD"), (5, "LONG")]
    assert caplog.text.count("left out") == 2
    assert "past the end" in caplog.text


def test_bad_blocks_are_told(caplog: pytest.LogCaptureFixture) -> None:
    record = bytearray(512)
    pack_into(">4s12xI", record, 0, b"BADB", END)
    pack_into(">2I", record, 24, 77, 88)
    assert len(found(disk({0: rigid(512, 1, bad=2), 1: part(512, b"DH0", 3, 5), 2: sealed(record)}))) == 1
    assert "block 2 lists bad blocks" in caplog.text


def test_the_kind_says_dos_type_flags_and_handler(tmp_path: Path) -> None:
    path = tmp_path / "six.hdf"
    path.write_bytes(lzma.decompress((FIXTURES / "partitions/rdb/six/disk.hdf.xz").read_bytes()))
    with open_image(path) as opened:
        kinds = {volume.partition.name: volume.partition.kind for volume in opened.volumes}
        assert kinds["DH0"] == "DOS\\0, bootable"
        assert kinds["DH4"] == "DOS\\7, not mounted by itself"
        assert kinds["PFS"] == "PFS\\3, filesystem 19.2 stored in the table"
        assert [volume.index for volume in opened.volumes if volume.problem] == [4, 6]


def test_other_peoples_disk() -> None:
    path = image(f"{THIRD_PARTY}.hdd.gz")
    row = next(row for row in json.loads((IMAGES / "INDEX.json").read_text()) if row["file"] == str(path.relative_to(IMAGES)))
    with open_image(path) as opened:
        assert str(opened) == "file > gzip > rdb[6] > amigados"
        assert [opened.disk.size, hashlib.sha256(opened.disk.pread(0, opened.disk.size)).hexdigest()] == row["raw"]
        for volume, listed in zip(opened.volumes, row["manifests"], strict=True):
            digest, size, name = (IMAGES / listed).read_text().splitlines()[1].split("  ")
            assert volume.filesystem.label == name.split("/")[0]
            assert manifest(volume.filesystem.root)[name.split("/", 1)[1]] == (int(size), digest)
            assert list(volume.filesystem.verify()) == []


def test_an_unformatted_disk_has_partitions_and_no_files() -> None:
    with open_image(image(f"{THIRD_PARTY}_not_formatted.hdd.gz")) as opened:
        assert [volume.problem is None for volume in opened.volumes] == [False] * 6


def test_nothing_but_the_magic_is_refused() -> None:
    assert best_match(Kind.PARTITIONS, disk({0: b"RDSK" + pack(">I", 0) * 20})) is None
