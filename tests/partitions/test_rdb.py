"""RDB: behind a PC's table, large blocks, bad checksums, loops, impossible numbers, and other people's disks."""

from __future__ import annotations

import hashlib
import json
import lzma
import subprocess
from pathlib import Path
from struct import pack, pack_into, unpack

import pytest

from conformance import manifest
from helpers import FIXTURES, IMAGES, context, image, tool
from imgmount.chain.open import open_image
from imgmount.cli.main import main
from imgmount.core.format import Match, PartitionsFormat
from imgmount.core.slices import MemoryDevice
from imgmount.partitions.rdb import FORMAT, about, probe
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
    device = disk(
        {place: rigid(block, 18), 18: part(block, b"DH0", 3, 5, 17), 17: part(block, b"DH1", 6, 9)}, block
    )
    chosen = best_match(PartitionsFormat, device)
    assert chosen is not None
    assert (chosen[0], chosen[1].name) == (Match.CERTAIN, "rdb")
    assert found(device) == [(1, "DH0", 30, 30 * block), (2, "DH1", 60, 40 * block)]


def test_it_wins_over_a_pc_table_in_front_of_it() -> None:
    table = bytearray(512)
    pack_into("<B3xB3xII", table, 446, 0, 0x76, 20, 150)
    table[510:] = b"\x55\xaa"
    device = disk({0: bytes(table), 2: rigid(512, 3), 3: part(512, b"DH0", 3, 5)})
    chosen = best_match(PartitionsFormat, device)
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
    assert "does not begin with PART" in caplog.text
    assert [name for _, name, _, _ in found(disk({**two, 2: part(512, b"DH1", 6, 9, 0x7FFF_FFFF)}))] == [
        "DH0",
        "DH1",
    ]


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
    pack_into(">4sI8xI", record, 0, b"BADB", 6 + 2 * 25, END)
    pack_into(">50I", record, 24, *range(70, 120))
    pack_into(">I", record, 8, -sum(unpack(">56I", record[:224])) & 0xFFFF_FFFF)
    device = disk({0: rigid(512, 1, bad=2), 1: part(512, b"DH0", 3, 5), 2: bytes(record)})
    assert len(found(device)) == 1
    assert "25 bad blocks are listed, which are read as they are, the first is 70" in caplog.text
    told = about(device)["bad blocks"]
    assert told.startswith("70 (replaced by 71), 72 (replaced by 73), ")
    assert told.endswith("108 (replaced by 109), ...")


def test_an_environment_without_a_dos_type_is_an_old_filesystem() -> None:
    record = bytearray(part(512, b"DH0", 3, 5))
    pack_into(">I", record, 128, 11)
    assert FORMAT.open(disk({0: rigid(512, 1), 1: sealed(record)}), context())[0].kind == "DOS\\0"


def test_filesystems_and_the_drive_are_told() -> None:
    handler = bytearray(512)
    pack_into(">4s12xI12x4s2H", handler, 0, b"FSHD", END, b"SFS\0", 1, 279)
    pack_into(">84s", handler, 172, b"SmartFilesystem")
    first = bytearray(rigid(512, 1, systems=2))
    pack_into(">3I", first, 64, 100, 10, 1)
    pack_into(">8s16s4s", first, 160, b"MAKER   ", b"MODEL           ", b"1.0 ")
    device = disk({0: sealed(first), 1: part(512, b"DH0", 3, 5), 2: sealed(handler)})
    assert about(device) == {
        "drive": "MAKER MODEL 1.0",
        "geometry": "C/H/S 100/1/10, sectors of 512 bytes",
        "filesystems": "SFS\\0 1.279 SmartFilesystem",
    }


def test_info_shows_what_the_table_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "six.hdf"
    path.write_bytes(lzma.decompress((FIXTURES / "partitions/rdb/six/disk.hdf.xz").read_bytes()))
    assert main(["info", str(path)]) == 0
    assert "partition table: rdb\n  drive: RDBTOOL" in (told := capsys.readouterr().out)
    assert "\n  filesystems: PFS\\3 19.2\n" in told


def test_a_table_in_a_partition_of_a_pc_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Emu68: a FAT partition to start from, and a partition of type 0x76 that is a whole Amiga disk."""
    amiga = lzma.decompress((FIXTURES / "partitions/rdb/six/disk.hdf.xz").read_bytes())
    table = bytearray(2048 * 512)
    pack_into("<B3xB3xII", table, 446, 0, 0x83, 100, 900)
    pack_into("<B3xB3xII", table, 462, 0, 0x76, 2048, len(amiga) // 512)
    table[510:512] = b"\x55\xaa"
    path = tmp_path / "card.img"
    path.write_bytes(table + amiga)
    with open_image(path) as opened:
        assert str(opened) == "file > mbr[2] > rdb[6] > amigados"
        volumes = {volume.name: volume for volume in opened.volumes}
        assert (volumes["p2"].partition.kind, volumes["p2"].partition.name) == ("0x76", "Amiga RDB")
        tree = json.loads((FIXTURES / "partitions/rdb/six/expected.json").read_text())["trees"]
        for name, files in tree.items():
            assert {
                path: list(fact) for path, fact in manifest(volumes[f"p2{name}"].filesystem.root).items()
            } == files
    assert main(["info", "--json", str(path)]) == 0
    inner = json.loads(capsys.readouterr().out)["volumes"][1]
    assert inner["partition_table"] == "rdb"
    assert inner["partition_table_info"]["filesystems"] == "PFS\\3 19.2"


def test_the_kind_says_dos_type_flags_and_handler(tmp_path: Path) -> None:
    path = tmp_path / "six.hdf"
    path.write_bytes(lzma.decompress((FIXTURES / "partitions/rdb/six/disk.hdf.xz").read_bytes()))
    with open_image(path) as opened:
        kinds = {volume.partition.name: volume.partition.kind for volume in opened.volumes}
        assert kinds["DH0"] == "DOS\\0, bootable"
        assert kinds["DH4"] == "DOS\\7, not mounted by itself"
        assert kinds["PFS"] == "PFS\\3, filesystem 19.2 stored in the table"
        assert [volume.index for volume in opened.volumes if volume.problem] == [4, 6]


@pytest.mark.parametrize(
    ("sector", "block"), [(512, 512), (512, 2048), (1024, 1024), (2048, 2048), (4096, 4096)]
)
def test_sectors_and_blocks_of_every_size(sector: int, block: int, tmp_path: Path) -> None:
    path, content = tmp_path / "x.hdf", tmp_path / "content"
    content.write_bytes(b"".join(b"%07d\n" % number for number in range(40_000)))
    words = f"create size=8Mi bs={sector} + init rdb_cyls=2 + add size=50% dostype=DOS3 name=DH0 bs={block}"
    words += f" + add size=50% dostype=DOS2 name=DH1 bs={block}"
    subprocess.run([tool("rdbtool"), str(path), *words.split()], check=True, capture_output=True)
    for name, dos_type in (("DH0", "DOS3"), ("DH1", "DOS2")):
        words = f"open part={name} bs={sector} + format Work {dos_type} + write {content} {name}"
        subprocess.run([tool("xdftool"), str(path), *words.split()], check=True, capture_output=True)
    with open_image(path) as opened:
        for volume in opened.volumes:
            assert volume.filesystem.info()["blocks"].split()[2] == str(block)
            name = volume.partition.name
            assert manifest(volume.filesystem.root) == {
                name: (320_000, hashlib.sha256(content.read_bytes()).hexdigest())
            }


def test_other_peoples_disk() -> None:
    path = image(f"{THIRD_PARTY}.hdd.gz")
    row = next(
        row
        for row in json.loads((IMAGES / "INDEX.json").read_text())
        if row["file"] == str(path.relative_to(IMAGES))
    )
    with open_image(path) as opened:
        assert str(opened) == "file > gzip > rdb[6] > amigados"
        assert [opened.disk.size, hashlib.sha256(opened.disk.pread(0, opened.disk.size)).hexdigest()] == row[
            "raw"
        ]
        for volume, listed in zip(opened.volumes, row["manifests"], strict=True):
            digest, size, name = (IMAGES / listed).read_text().splitlines()[1].split("  ")
            assert volume.filesystem.label == name.split("/")[0]
            assert manifest(volume.filesystem.root)[name.split("/", 1)[1]] == (int(size), digest)
            assert list(volume.check()) == []


def test_an_unformatted_disk_has_partitions_and_no_files() -> None:
    with open_image(image(f"{THIRD_PARTY}_not_formatted.hdd.gz")) as opened:
        assert [volume.problem is None for volume in opened.volumes] == [False] * 6


def test_nothing_but_the_magic_is_refused() -> None:
    assert best_match(PartitionsFormat, disk({0: b"RDSK" + pack(">I", 0) * 20})) is None
