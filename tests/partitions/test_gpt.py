"""GPT: attacks, damage to either table, other people's disks."""

from __future__ import annotations

import gzip
import lzma
import struct
import tracemalloc
from pathlib import Path
from zlib import crc32

import pytest

from conformance import manifest
from fixture import all_fixtures
from helpers import context, image
from imgmount.chain.open import open_image
from imgmount.core.format import Match, PartitionsFormat
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError
from imgmount.partitions.gpt import FORMAT
from imgmount.registry import matches
from imgmount.vfs.tree import View, build_vfs

VARIANTS = {fixture.variant: fixture for fixture in all_fixtures() if fixture.format == "gpt"}
PRIMARY = {"sectors512": 512, "sectors4096": 4096}


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("gpt")
    found = {}
    for name, fixture in VARIANTS.items():
        (folder / name).mkdir()
        found[name] = fixture.image_path(folder / name).read_bytes()
    return found


def rows(data: bytes | bytearray) -> list[tuple[int, str, str, int]]:
    return [
        (part.index, part.kind, part.name, part.device.size)
        for part in FORMAT.open(MemoryDevice(bytes(data)), context())
    ]


def signed(header: bytes, **fields: int) -> bytes:
    """``header`` with other values and a CRC that is right for them."""
    places = {
        "size": (0x0C, "<I"),
        "my": (0x18, "<Q"),
        "entries": (0x48, "<Q"),
        "count": (0x50, "<I"),
        "width": (0x54, "<I"),
    }
    raw = bytearray(header[:92])
    for name, value in fields.items():
        place, code = places[name]
        struct.pack_into(code, raw, place, value)
    raw[0x10:0x14] = bytes(4)
    raw[0x10:0x14] = crc32(raw).to_bytes(4, "little")
    return bytes(raw) + header[92:]


@pytest.mark.parametrize("variant", PRIMARY)
def test_slots_names_and_kinds(variant: str, disks: dict[str, bytes]) -> None:
    sector = PRIMARY[variant]
    assert FORMAT.probe(MemoryDevice(disks[variant])) is Match.CERTAIN
    assert rows(disks[variant]) == [
        (1, "EFI system", "my/part", 100 * sector),
        (2, "Linux filesystem", "..", sector),
        (5, "deadbeef-1234-5678-9abc-def012345678", "my/part", 77 * sector),
        (9, "Microsoft basic data", "Données 数据", 1111 * sector),
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_gpt_wins_over_its_mbr(variant: str, disks: dict[str, bytes]) -> None:
    _, surest = matches(PartitionsFormat, MemoryDevice(disks[variant]))[0]
    assert surest is FORMAT


@pytest.mark.parametrize("variant", PRIMARY)
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"count": 0xFFFF_FFFF}, "number of entries 4294967295 is not"),
        ({"width": 0xFFFF_FFF8}, "entry size 4294967288 is not a multiple of 8"),
        ({"width": 64}, "entry size 64 is not"),
        ({"width": 132}, "entry size 132"),
        ({"size": 91}, "header size 91 is not from 92"),
        ({"size": 0xFFFF_FFFF}, "header size"),
        ({"my": 7}, "sector 7"),
        ({"entries": 2**63}, "needed"),
        ({"entries": 9}, "CRC of the entries"),
    ],
)
def test_an_attack_on_the_primary_uses_the_backup_and_one_on_both_is_refused(
    variant: str,
    fields: dict[str, int],
    reason: str,
    disks: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sector = PRIMARY[variant]
    data = bytearray(disks[variant])
    data[sector : 2 * sector] = signed(bytes(data[sector : 2 * sector]), **fields)
    tracemalloc.start()
    assert rows(data) == rows(disks[variant])
    assert "using the backup" in caplog.text
    data[-sector:] = signed(bytes(data[-sector:]), **fields)
    with pytest.raises(FormatError, match=reason):
        rows(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 << 20
    assert (
        FORMAT.probe(MemoryDevice(bytes(data))) is Match.CERTAIN
    )  # it says so itself; opening it says what is wrong


@pytest.mark.parametrize("variant", PRIMARY)
@pytest.mark.parametrize("at", [0, 0x0C, 0x18, 0x20, 0x48, 0x50, 0x54, 0x58])
def test_a_flipped_bit_in_the_primary_header(variant: str, at: int, disks: dict[str, bytes]) -> None:
    data = bytearray(disks[variant])
    data[PRIMARY[variant] + at] ^= 1
    assert rows(data) == rows(disks[variant])


@pytest.mark.parametrize("variant", PRIMARY)
def test_a_flipped_bit_in_the_entries(variant: str, disks: dict[str, bytes]) -> None:
    data = bytearray(disks[variant])
    data[2 * PRIMARY[variant] + 40] ^= 1
    assert rows(data) == rows(disks[variant])
    backup = len(data) - PRIMARY[variant] - 0x4000
    data[backup + 56] ^= 1  # a letter of a name
    names = [row[2] for row in rows(data)]
    assert names == [row[2] for row in rows(disks[variant])], "the primary's name is whole"
    device = MemoryDevice(bytes(data))
    assert FORMAT.probe(device) is Match.CERTAIN
    assert FORMAT.about is not None
    assert "CRC of the entries is wrong" in FORMAT.about(device)["damage"]
    assert FORMAT.check is not None
    assert [line.partition(":")[0] for line in FORMAT.check(device)] == ["primary table", "backup table"]


@pytest.mark.parametrize("variant", PRIMARY)
def test_entries_with_wrong_sums_that_make_no_sense_are_refused_and_cost_no_raw_view(
    variant: str, disks: dict[str, bytes], tmp_path: Path
) -> None:
    sector, data = PRIMARY[variant], bytearray(disks[variant])
    for start in (2 * sector, len(data) - sector - 0x4000):
        data[start + 32 : start + 48] = struct.pack("<QQ", 90, 20)
    with pytest.raises(ChecksumError, match="CRC of the entries"):
        rows(data)
    path = tmp_path / "disk"
    path.write_bytes(data)
    with open_image(path) as opened:
        (volume,) = opened.volumes
        assert "cannot be divided: gpt: the CRC" in str(volume.problem)
        assert volume.partition.fault is not None
        assert list(build_vfs(opened, View.TREE).listing("").nodes) == ["disk.raw"]


def test_a_table_without_entries_leaves_the_disk_to_a_filled_mbr(disks: dict[str, bytes]) -> None:
    data = bytearray(disks["sectors512"])
    for start in (1024, len(data) - 512 - 0x4000):
        data[start : start + 0x4000] = bytes(0x4000)
    for start in (512, len(data) - 512):
        header = bytearray(data[start : start + 512])
        header[0x58:0x5C] = crc32(bytes(0x4000)).to_bytes(4, "little")
        data[start : start + 512] = signed(bytes(header))
    assert FORMAT.probe(MemoryDevice(bytes(data))) is Match.CERTAIN, "only the protective entry"
    data[446 + 16 : 446 + 32] = struct.pack("<B3xB3xII", 0, 0x83, 40, 100)
    assert [fmt.name for _, fmt in matches(PartitionsFormat, MemoryDevice(bytes(data)))] == ["mbr"]


@pytest.mark.parametrize("variant", PRIMARY)
def test_the_backup_is_found_without_any_trace_of_the_primary(variant: str, disks: dict[str, bytes]) -> None:
    data = bytearray(disks[variant])
    data[: 6 * 4096] = bytes(6 * 4096)
    device = MemoryDevice(bytes(data))
    assert rows(data) == rows(disks[variant])
    assert FORMAT.probe(device) is Match.FALLBACK
    assert [fmt.name for _, fmt in matches(PartitionsFormat, device)] == ["gpt"]


def test_the_backup_is_found_where_a_damaged_primary_points(disks: dict[str, bytes]) -> None:
    data = bytearray(disks["sectors512"]) + bytes(10000)
    data[512 + 0x58] ^= 1
    assert rows(data) == rows(disks["sectors512"])


def test_an_image_cut_short_needs_no_backup(disks: dict[str, bytes]) -> None:
    data = disks["sectors512"][: 600 * 512]
    assert [row[0] for row in rows(data)] == [1, 2, 9]


def test_an_old_backup_behind_a_new_mbr_is_not_believed(disks: dict[str, bytes]) -> None:
    data = bytearray(disks["sectors512"])
    data[:20000] = bytes(20000)
    data[446:462] = struct.pack("<B3xB3xII", 0, 0x83, 100, 1000)
    data[510:512] = b"\x55\xaa"
    assert [fmt.name for _, fmt in matches(PartitionsFormat, MemoryDevice(bytes(data)))] == ["mbr"]


@pytest.mark.parametrize(("first", "last"), [(500, 400), (0, 2**64 - 1), (10**9, 10**9 + 5)])
def test_impossible_partitions_are_left_out(
    first: int, last: int, disks: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(disks["sectors512"])
    struct.pack_into("<QQ", data, 1024 + 32, first, last)
    entries = crc32(data[1024 : 1024 + 128 * 128]).to_bytes(4, "little")
    data[512 + 0x58 : 512 + 0x5C] = entries
    data[512:1024] = signed(bytes(data[512:1024]))
    assert [row[0] for row in rows(data)] == [2, 5, 9]
    assert "partition 1" in caplog.text


def test_only_so_many_partitions_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    count = 32_768
    entry = bytes(range(1, 17)) + bytes(range(16)) + struct.pack("<QQQ", 9000, 9001, 0) + bytes(72)
    header = [b"EFI PART", 0x10000, 92, 0, 0, 1, 0, 34, 9000, bytes(16), 2, count, 128, crc32(entry * count)]
    header[3] = crc32(struct.pack("<8sIIIIQQQQ16sQIII", *header))
    disk = bytes(512) + struct.pack("<8sIIIIQQQQ16sQIII", *header).ljust(512, b"\0") + entry * count
    found = FORMAT.open(MemoryDevice(disk.ljust(9010 * 512, b"\0")), context())
    assert [part.index for part in found] == list(range(1, 513))
    assert "from number 513 on are left out" in caplog.text


def test_truncation(disks: dict[str, bytes]) -> None:
    for size in range(0, 34 * 512, 800):
        with pytest.raises(FormatError):
            rows(disks["sectors512"][:size])


def test_disks_made_by_others(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(lzma.decompress(image("raw-mbr-gpt/util-linux__util-linux__gpt.img.xz").read_bytes()))
    with open_image(path) as opened:
        assert opened.table == "gpt"
        found = [(part.index, part.partition.name) for part in opened.volumes]
        assert found == [
            (1, "ThisIsName"),
            (2, "ThisIsOtherName"),
            (3, "primary"),
            (4, "primary"),
            (5, "primary"),
        ]
    path.write_bytes(
        gzip.decompress(image("raw-mbr-gpt/balena-io__etcher__etcher-gpt-test.img.gz").read_bytes())
    )
    with open_image(path) as opened:
        second = next(volume for volume in opened.volumes if volume.index == 2)
        found_files = {fact for fact in manifest(second.filesystem.root).values() if fact != "/"}
    lines = (
        image("manifests/raw-mbr-gpt__balena-io__etcher__etcher-gpt-test.img.gz.sha256")
        .read_text()
        .splitlines()[1:]
    )
    assert found_files <= {(int(size), digest) for digest, size, _ in (line.split("  ") for line in lines)}
    assert len(found_files) == 2
