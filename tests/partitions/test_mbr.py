"""MBR: what is no table, chains that are broken or loop, numbers against sfdisk."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest

from helpers import context, image, tool
from imgmount.chain.open import open_image
from imgmount.core.format import Match, Options, Partition
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import FormatError, ImageError
from imgmount.partitions.mbr import FORMAT

SECTORS = 4000
Row = tuple[int, int, int]  # type, first, sectors


def table(*rows: Row, flag: int = 0) -> bytes:
    entries = b"".join(struct.pack("<B3xB3xII", flag, *row) for row in rows)
    return bytes(446) + entries.ljust(64, b"\0") + b"\x55\xaa"


def disk(tables: dict[int, bytes], size: int = SECTORS * 512) -> MemoryDevice:
    data = bytearray(size)
    for sector, content in tables.items():
        data[sector * 512 : sector * 512 + 512] = content
    return MemoryDevice(bytes(data))


def parts(device: MemoryDevice) -> list[Partition]:
    return list(FORMAT.open(device, context()))


def indexes(device: MemoryDevice) -> list[int]:
    return [part.index for part in parts(device)]


def test_the_slot_is_the_number_and_the_type_has_a_name() -> None:
    device = disk({0: table((0, 0, 0), (0x83, 100, 50), (0, 7, 7), (0x5A, 200, 10))})
    assert FORMAT.probe(device) is Match.LIKELY
    assert [(part.index, part.kind, part.name) for part in parts(device)] == [
        (2, "0x83", "Linux"),
        (4, "0x5a", ""),
    ]


@pytest.mark.parametrize(
    "sector",
    [
        bytes(512), table(), table((0x83, 0, 100)), table((0x83, SECTORS, 100)), table((0x83, 10, 100), flag=0x42),
        table((0x83, 10, 100))[:510] + bytes(2),
        # boot sectors whose tables overlap, or reach past the disk, are code or text there
        b"\xeb\x52\x90NTFS    " + table((0x83, 10, 100), (0x83, 50, 100))[11:],
        b"\xeb\x76\x90EXFAT   " + table((0x83, 10, SECTORS))[11:],
        b"\xeb\x3c\x90MSDOS5.0" + bytes.fromhex("00020401000200020000f8") + table((0x83, 10, 100), (0, 7, 7))[22:],
    ],
)  # fmt: skip
def test_what_is_no_table(sector: bytes) -> None:
    try:
        assert FORMAT.probe(disk({0: sector})) is Match.NO
    except FormatError:
        return


def test_a_protective_table_leaves_the_disk_to_its_gpt() -> None:
    protective = table((0xEE, 1, SECTORS - 1))
    assert FORMAT.probe(disk({0: protective})) is Match.LIKELY
    for sector in (1, 2, 8, SECTORS - 1):
        assert FORMAT.probe(disk({0: protective, sector: b"EFI PART".ljust(512)})) is Match.NO


def test_a_partition_that_runs_past_the_end_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    device = disk({0: table((0x83, SECTORS - 10, 100), (0x83, SECTORS + 5, 1))})
    (part,) = parts(device)
    assert part.device.size == 100 * 512
    assert part.device.pread(0, 5120) == bytes(5120)
    with pytest.raises(ImageError):
        part.device.pread(5119, 2)
    assert "partition 2 begins" in caplog.text


def test_a_chain_of_logical_partitions() -> None:
    device = disk(
        {
            0: table((0x83, 10, 20), (0x0F, 1000, 2000), (0x85, 3500, 100)),
            1000: table((0x83, 10, 50), (5, 500, 200)),
            1500: table((5, 100, 60), (0x07, 20, 30)),
            1100: table((0x82, 1, 9)),
            3500: table((0x0B, 2, 3)),
        }
    )
    found = [(part.index, part.kind) for part in parts(device)]
    assert found == [(1, "0x83"), (5, "0x83"), (6, "0x07"), (7, "0x82"), (8, "0x0b")]
    for part, sector in zip(parts(device), (10, 1010, 1520, 1101, 3502), strict=True):
        assert part.device.offset == sector * 512  # type: ignore[attr-defined]


@pytest.mark.parametrize("link", [0x05, 0x0F, 0x85])
@pytest.mark.parametrize("target", [0, 500, 9_000_000, 0xFFFF_FFFF, 700])
def test_a_broken_or_looping_chain_keeps_what_came_before(
    link: int, target: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The third table links to itself, to the second, past the end, or to nothing."""
    second, third = table((0x83, 1, 2), (link, 500, 9)), table((0x83, 1, 2), (link, target, 9))
    device = disk({0: table((link, 1000, 2000)), 1000: second, 1500: third})
    assert indexes(device) == [5, 6]
    assert ("lost" in caplog.text) == (target != 0)


def test_a_chain_without_end_is_cut() -> None:
    tables = {0: table((5, 1, 3000))} | {1 + n: table((0x83, 1, 1), (5, n + 1, 1)) for n in range(3000)}
    assert len(parts(disk(tables))) == 251


def test_a_table_of_4096_byte_sectors_is_believed_only_on_evidence() -> None:
    boot = bytes(510) + b"\x55\xaa"
    rows = table((0x83, 20, 30), (0x83, 60, 10))
    assert [part.device.size for part in parts(disk({0: rows, 160: boot}))] == [30 * 4096, 10 * 4096]
    assert [part.device.size for part in parts(disk({0: rows, 160: boot, 20: boot}))] == [30 * 512, 10 * 512]
    assert [part.device.size for part in parts(disk({0: rows}))] == [30 * 512, 10 * 512]


def test_random_tables_against_sfdisk(tmp_path: Path) -> None:
    rng = random.Random(9)
    for _ in range(8):
        path = tmp_path / "disk.img"
        path.write_bytes(bytes(2 << 20))
        starts = sorted(rng.sample(range(100, 4000, 50), 7))
        lines = ["label: dos"]
        slots = rng.sample(range(1, 5), 3)
        lines += [f"{slots[0]}: start={starts[0]}, size={rng.randrange(1, 50)}, type=83"]
        lines += [f"{slots[1]}: start={starts[1]}, size={4090 - starts[1]}, type=5"]
        lines += [
            f"{5 + n}: start={start + 2}, size={rng.randrange(1, 40)}, type=7"
            for n, start in enumerate(starts[2:])
        ]
        subprocess.run([tool("sfdisk"), "-q", path], input="\n".join(lines), text=True, check=True)
        dump = subprocess.run(["sfdisk", "-d", path], capture_output=True, text=True, check=True).stdout
        expected = {}
        for line in dump.splitlines():
            if " : start=" in line and "type=5" not in line:
                name, _, facts = line.partition(" : ")
                start, size, _ = (fact.split("=")[1].strip() for fact in facts.split(","))
                expected[int(name.rpartition("img")[2])] = (int(start) * 512, int(size) * 512)
        with open_image(path) as opened:
            found = {volume.index: (volume.device.offset, volume.device.size) for volume in opened.volumes}  # type: ignore[attr-defined]
        assert found == expected


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("balena-io__etcher__etcher-test.img.xz", "mbr[2]"),
        ("util-linux__util-linux__dos+bsd.img.xz", "mbr[2]"),
        ("nccgroup__TriforceAFL__grub_mbr.raw.bz2", ""),
        ("log2timeline__dfvfs__ext2.splitraw.000", ""),
    ],
)
def test_tables_made_by_others(name: str, chain: str, tmp_path: Path) -> None:
    import bz2
    import lzma

    path = image(f"raw-mbr-gpt/{name}")
    unpacked = tmp_path / "disk.raw"
    unpacked.write_bytes(
        {".xz": lzma.decompress, ".bz2": bz2.decompress}.get(path.suffix, bytes)(path.read_bytes())
    )
    with open_image(unpacked) as opened:
        assert opened.table == chain.partition("[")[0]
        assert ("mbr" in str(opened)) == bool(chain)
        assert chain in str(opened)


@pytest.mark.parametrize("sector", [512, 1024, 2048, 4096])
def test_sectors_of_any_size_are_told_by_what_lies_in_the_partitions(sector: int) -> None:
    """Two primary and two logical partitions, as sfdisk writes the chain, scaled to the sector."""
    chain = {
        0: table((0x83, 40, 60), (0x05, 200, 300)),
        200: table((0x83, 8, 50), (0x05, 100, 60)),
        300: table((0x07, 8, 40)),
    }
    data = bytearray(600 * sector)
    for at, content in chain.items():
        data[at * sector : at * sector + 512] = content
    data[40 * sector + 0x438 : 40 * sector + 0x43A] = b"\x53\xef"
    found = [
        (part.index, part.device.offset // sector, part.device.size // sector)
        for part in parts(MemoryDevice(bytes(data)))
        if isinstance(part.device, Slice)
    ]
    assert found == [(1, 40, 60), (5, 208, 50), (6, 308, 40)]


@pytest.mark.parametrize("stale", ["fat", "ntfs"])
def test_a_stale_boot_sector_in_front_of_a_sound_table(tmp_path: Path, stale: str) -> None:
    path, inner = tmp_path / "disk", tmp_path / "inner"
    with path.open("wb") as file:
        file.truncate(40 << 20)
    maker = {
        "fat": ["mkfs.fat", "-F", "32", "-s", "1"],
        "ntfs": ["mkntfs", "-q", "-F", "-f", "-p", "0", "-H", "0", "-S", "0"],
    }
    command, *rest = maker[stale]
    subprocess.run([tool(command), *rest, path], check=True, capture_output=True)
    with inner.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run([tool("mke2fs"), "-q", "-t", "ext2", inner], check=True, capture_output=True)
    layout = "label: dos\n1 : start=2048, size=16384, type=83\n2 : start=20480, size=16384, type=83\n"
    done = subprocess.run(
        [tool("sfdisk"), "--wipe", "never", "-q", path],
        input=layout.encode(),
        check=True,
        capture_output=True,
    )
    assert not done.stderr
    with path.open("r+b") as file:
        for first in (2048, 20480):
            file.seek(first * 512)
            file.write(inner.read_bytes())
    with open_image(path) as opened:
        assert str(opened) == "file > mbr[2] > ext"
        assert [volume.known_format and volume.known_format.name for volume in opened.hidden] == [stale]
    with open_image(path, Options(partitions="none")) as opened:
        assert str(opened) == f"file > {stale}"
