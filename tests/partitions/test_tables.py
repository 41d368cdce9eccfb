"""The small partition tables beyond their fixtures: damage, absurd numbers, loops, which offsets are meant, images of others."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path
from zlib import crc32

import pytest

from fixture import all_fixtures
from helpers import context, image, tool
from imgmount.chain.open import open_image
from imgmount.core.device import BlockDevice
from imgmount.core.format import Match, Partition, PartitionsFormat
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import ChecksumError, ImageError
from imgmount.partitions import apm, atari, bsd, sun
from imgmount.registry import PARTITIONS, load, matches

SMALL = ("apm", "atari", "bsd", "sgi", "sun")
FIXTURES = [fixture for fixture in all_fixtures() if fixture.kind == "partitions" and fixture.format in SMALL]


def facts(parts: list[Partition]) -> list[tuple[int, int]]:
    return [(part.index, part.device.size) for part in parts]


def survey(device: BlockDevice) -> None:
    for entry in PARTITIONS:
        fmt = load(PartitionsFormat, entry.module)
        try:
            if fmt.probe(device):
                for part in fmt.open(device, context()):
                    assert part.device.size > 0
        except ImageError:
            continue


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_random_damage_never_escapes_as_another_error(tmp_path: Path, fixture: object) -> None:
    data = fixture.image_path(tmp_path).read_bytes()[: 4 << 20]  # type: ignore[attr-defined]
    rng = random.Random(8)
    for _ in range(200):
        damaged = bytearray(data[:4096])
        for _ in range(rng.choice((1, 8, 60))):
            damaged[rng.randrange(rng.choice((512, 1024, 4096)))] = rng.choice((0, 255, rng.randrange(256)))
        survey(MemoryDevice(bytes(damaged) + data[4096:]))
    for cut in [0, 1, 63, 511, 512, 513, 1023, *(rng.randrange(4096) for _ in range(20))]:
        survey(MemoryDevice(data[:cut]))


def entry(first: int, blocks: int, kind: bytes = b"Apple_HFS", count: int = 2) -> bytes:
    return struct.pack(">2s2xIII32s32s", b"PM", count, first, blocks, b"name", kind)


def disk(places: dict[int, bytes], size: int = 1 << 20) -> MemoryDevice:
    data = bytearray(size)
    for at, piece in places.items():
        data[at : at + len(piece)] = piece
    return MemoryDevice(bytes(data))


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096])
def test_apm_in_blocks_of_any_size(size: int) -> None:
    places = {
        0: b"ER" + struct.pack(">H", size),
        size: entry(1, 2, b"Apple_partition_map"),
        2 * size: entry(16, 10),
    }
    device = disk(places)
    assert apm.probe(device) is Match.LIKELY
    (part,) = apm.open_apm(device, context())
    assert (part.index, part.name, part.kind) == (2, "name", "Apple_HFS")
    assert isinstance(part.device, Slice)
    assert (part.device.offset, part.device.size) == (16 * size, 10 * size)


def test_apm_goes_by_the_entries_where_the_driver_map_is_wrong() -> None:
    device = disk({0: b"ER\x08\0", 512: entry(1, 2, b"Apple_partition_map"), 1024: entry(16, 10)})
    (part,) = apm.open_apm(device, context())
    assert part.device.size == 5120


def test_apm_absurd_numbers() -> None:
    for count in (0, 1025, 0xFFFFFFFF):
        assert not _probe(apm.probe, disk({0: b"ER\2\0", 512: entry(1, 2, count=count)}))
    device = disk(
        {0: b"ER\2\0", **{512 * n: entry(0xFFFFFFFF, 0xFFFFFFFF, count=1024) for n in range(1, 1025)}}
    )
    assert apm.open_apm(device, context()) == []
    device = disk({0: b"ER\2\0", 512: entry(64, 0xFFFFFFFF, count=1)})
    ((number, size),) = facts(apm.open_apm(device, context()))
    assert (number, size) == (1, 0xFFFFFFFF * 512)


def _probe(probe: object, device: BlockDevice) -> Match:
    try:
        return probe(device)  # type: ignore[operator,no-any-return]
    except ImageError:
        return Match.NO


def label(entries: list[tuple[int, int, int]]) -> bytes:
    """A disklabel with (sectors, first sector, type)."""
    body = b"".join(struct.pack("<IIIBBH", sectors, first, 0, kind, 0, 0) for sectors, first, kind in entries)
    head = bytearray(struct.pack("<I36xI88xIHH8x", 0x82564557, 512, 0x82564557, 0, len(entries)))
    checksum = 0
    for (word,) in struct.iter_unpack("<H", bytes(head) + body):
        checksum ^= word
    struct.pack_into("<H", head, 136, checksum)
    return bytes(head) + body


@pytest.mark.parametrize(
    ("first", "whole"),
    [
        (100, (1000, 0, 0)),  # from the slice's start, FreeBSD
        (1124, (1000, 1024, 0)),  # from the disk's start, c is the slice, NetBSD and old FreeBSD
        (1124, (4096, 0, 0)),  # from the disk's start, c is the disk, OpenBSD
    ],
)
def test_bsd_offsets_of_the_disk_and_of_the_slice(first: int, whole: tuple[int, int, int]) -> None:
    whole_disk = disk({1024 * 512 + 512: label([(50, first, 7), (60, first + 100, 1), whole])}, 4096 * 512)
    parts = bsd.open_bsd(Slice(whole_disk, 1024 * 512, 1000 * 512), context())
    slices = [(part.index, part.kind, part.device) for part in parts if isinstance(part.device, Slice)]
    assert [(index, kind, part.offset, part.size) for index, kind, part in slices] == [
        (1, "4.2BSD", 1124 * 512, 50 * 512),
        (2, "swap", 1224 * 512, 60 * 512),
    ]


def test_bsd_absurd_numbers() -> None:
    device = disk({512: label([(0xFFFFFFFF, 0xFFFFFFFF, 7), (0xFFFFFFFF, 1, 7), (2048, 0, 0)])})
    assert facts(bsd.open_bsd(device, context())) == [(2, 0xFFFFFFFF * 512)]
    assert not _probe(bsd.probe, disk({512: label([(1, 1, 7)] * 23)}))


def root(*entries: tuple[int, bytes, int, int], size: int = 2048) -> bytes:
    packed = b"".join(struct.pack(">B3sII", *fields) for fields in entries)
    return bytes(0x1C2) + struct.pack(">I", size) + packed.ljust(48, b"\0") + bytes(10)


def test_atari_chains_that_loop_end() -> None:
    places = {0: root((1, b"GEM", 10, 20), (1, b"XGM", 100, 900))}
    places[100 * 512] = root((1, b"BGM", 1, 20), (1, b"XGM", 50, 20))
    places[150 * 512] = root((1, b"BGM", 1, 20), (1, b"XGM", 0, 20))
    assert [number for number, _ in facts(atari.open_atari(disk(places), context()))] == [1, 5, 6]


@pytest.mark.parametrize(
    "sector",
    [
        root((1, b"GEM", 10, 20), size=4096),  # more than the disk
        root((1, b"GEM", 10, 20), (1, b"GEM", 29, 5)),  # overlap
        root((1, b"GEM", 0, 20)),
        root((1, b"gem", 10, 20)),
        root((3, b"GEM", 10, 20)),
        root((1, b"GEM", 2000, 49)),
        bytes(512),
        b"A" * 512,
    ],
)
def test_atari_is_strict(sector: bytes) -> None:
    assert _probe(atari.probe, disk({0: root((1, b"GEM", 10, 20))})) is Match.FALLBACK
    assert not _probe(atari.probe, disk({0: sector}))


@pytest.mark.parametrize(
    ("name", "chain", "parts"),
    [  # as fdisk and parted list them, but for the entries that are the whole disk or past the end of the file
        ("bsd", "bsd[2]", {"p5": (0x20000, 4864), "p6": (0x260000, 3584)}),
        (
            "dos+bsd",
            "mbr[2] > bsd[2] > ext",
            {
                "p1": (0x4000, 7648),
                "p2": (7680 * 512, 8704),
                "p2p5": (7936 * 512, 4864),
                "p2p6": (12544 * 512, 3584),
            },
        ),
        ("sun", "sun[1]", {"p1": (0, 87380)}),
        ("sgi", "sgi[2]", {"p1": (63 * 512, 1606437), "p9": (0, 4096)}),
        ("atari-primary", "atari[1]", {"p1": (1024, 10238)}),
    ],
)
def test_the_tables_of_util_linux(name: str, chain: str, parts: dict[str, tuple[int, int]]) -> None:
    with open_image(image(f"raw-mbr-gpt/util-linux__util-linux__{name}.img.xz")) as opened:
        assert str(opened) == f"file > xz > {chain}"
        found = {volume.name: volume.device for volume in opened.volumes if volume.index}
        assert {
            key: (part.offset, part.size // 512) for key, part in found.items() if isinstance(part, Slice)
        } == parts


def wide_label(*parts: tuple[int, int, int]) -> bytes:
    """A 64-bit label of DragonFly, after sys/disklabel64.h, with (first byte, bytes, type) of its partitions."""
    rows = b"".join(struct.pack("<QQB47x", *part) for part in parts)
    body = struct.pack("<II16xQQQQQ64s64x", 4096, len(parts), 1 << 20, 512, 4096, 1 << 20, 0, b"pack") + rows
    crc = crc32(b"\x59\x4c\x46\xc4" + bytes(4) + body)
    return b"\x59\x4c\x46\xc4" + crc.to_bytes(4, "little") + body


def test_a_64_bit_label_counts_in_bytes_from_its_slice() -> None:
    label = wide_label((4096, 8192, 7), (0, 0, 0), (16384, 4096, 22), (1 << 40, 512, 7))
    device = disk({512: label})
    assert [fmt.name for _, fmt in matches(PartitionsFormat, device)] == ["bsd"]
    parts = bsd.open_bsd(device, context())
    assert facts(parts) == [(1, 8192), (3, 4096)]
    assert [part.device.offset for part in parts if isinstance(part.device, Slice)] == [4096, 16384]
    damaged = bytearray(label)
    damaged[210] ^= 1
    with pytest.raises(ChecksumError, match="CRC"):
        bsd.open_bsd(disk({512: bytes(damaged)}), context())


def test_a_label_at_byte_64_of_the_first_sector(tmp_path: Path) -> None:
    fixture = next(fixture for fixture in FIXTURES if fixture.format == "bsd")
    with open_image(fixture.image_path(tmp_path)) as opened:
        slice_ = next(volume for volume in opened.volumes if volume.table == "bsd").device
        data = slice_.pread(0, slice_.size)
        expected = facts(bsd.open_bsd(slice_, context()))
    moved = Slice(disk({64: data[512:1024]}, len(data) + (4096 << 9)), 0, len(data))
    assert [fmt.name for _, fmt in matches(PartitionsFormat, moved)] == ["bsd"]
    sizes = {size for _, size in facts(bsd.open_bsd(moved, context()))}
    assert sizes <= {size for _, size in expected}


def vtoc(*slices: tuple[int, int, int, int]) -> bytes:
    """The second sector of a Solaris slice on x86: (type, flags, first sector, sectors)."""
    head = struct.pack("<12xII8sHH40x", 0x600DDEEE, 1, b"volume", 512, 16)
    raw = bytearray(
        (head + b"".join(struct.pack("<HHII", *entry) for entry in slices)).ljust(508, b"\0")
        + b"\xbe\xda\0\0"
    )
    total = 0
    for (word,) in struct.iter_unpack("<H", raw):
        total ^= word
    raw[510:] = total.to_bytes(2, "little")
    return bytes(raw)


def test_a_solaris_slice_on_x86_against_partx(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    table = bytearray(512)
    table[446:462] = struct.pack("<B3xB3xII", 0x80, 0xBF, 64, 8000)
    table[510:] = b"\x55\xaa"
    label = vtoc((2, 0, 100, 2000), (3, 1, 2100, 500), (5, 0, 0, 8000), (8, 0, 3000, 1000), (1, 1, 0, 1))
    path.write_bytes((bytes(table) + bytes(64 * 512) + label).ljust(8192 * 512, b"\0"))
    other = tmp_path / "other"  # partx looks for slices in type 82, the older number, alone
    other.write_bytes(path.read_bytes()[:450] + b"\x82" + path.read_bytes()[451:])
    command = [tool("partx"), "-b", "-g", "-o", "NR,START,SECTORS", "-s", str(other)]
    rows = [
        line.split()
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    ]
    told = {(int(start) * 512, int(sectors)) for number, start, sectors in rows if int(number) > 4}
    with open_image(path) as opened:
        assert str(opened) == "file > mbr[1] > sun[4]"
        inner = [volume for volume in opened.volumes if volume.outer == "p1"]
        assert [(volume.index, volume.partition.kind) for volume in inner] == [
            (1, "root"), (2, "swap"), (4, "home"), (5, "boot"),
        ]  # fmt: skip
        found = {
            (volume.device.offset, volume.device.size // 512)
            for volume in inner
            if isinstance(volume.device, Slice)
        }
    assert found <= told
    damaged = bytearray(label)
    damaged[80] ^= 1
    with pytest.raises(ChecksumError):
        sun.open_sun(disk({512: bytes(damaged)}), context())
