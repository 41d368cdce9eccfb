"""LVM2 beyond the fixtures: volumes that cannot be read, damage, hostile metadata."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path
from zlib import crc32

import pytest

from fixture import all_fixtures
from helpers import context
from imgmount.chain.open import open_image
from imgmount.core.format import Match, Partition
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, ImageError, MissingPartError, UnsupportedError
from imgmount.jobs.verify import problems
from imgmount.partitions.lvm2 import FORMAT
from imgmount.vfs.tree import View, build_vfs

OWN = "1" * 32
OTHER = "222222-2222-2222-2222-2222-2222-222222"
EXTENT = 4096
PE_START = 64 * 1024
EXTENTS = 64
RING = 16384
FIXTURES = {fixture.variant: fixture for fixture in all_fixtures() if fixture.format == "lvm2"}


def crc(data: bytes) -> int:
    value = 0xF597A6CF
    for byte in data[:64]:  # bit by bit, as the format has it: the rest by the library, from there on
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
    return crc32(data[64:], value ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def label(*areas: tuple[int, int], sector: int = 1) -> bytes:
    header = OWN.encode() + struct.pack("<Q", 1 << 20) + struct.pack("<4Q", PE_START, 0, 0, 0)
    header += b"".join(struct.pack("<2Q", *area) for area in areas) + bytes(16)
    body = struct.pack("<I8s", 32, b"LVM2 001") + header
    body += bytes(492 - len(body))
    return struct.pack("<8sQI", b"LABELONE", sector, crc(body)) + body


def area(start: int, text: bytes, offset: int = 512, size: int = RING) -> bytes:
    locn = (offset, len(text), crc(text), 0)
    rest = struct.pack("<16sIQQ", b" LVM2 x[5A%r0N*>", 1, start, size) + struct.pack("<QQII", *locn)
    rest += bytes(508 - len(rest))
    ring = bytearray(size - 512)
    for at, byte in enumerate(text):
        ring[(offset - 512 + at) % len(ring)] = byte
    return struct.pack("<I", crc(rest)) + rest + bytes(ring)


def volume(name: str, *segments: str, status: str = '"READ", "WRITE", "VISIBLE"') -> str:
    body = "\n".join(f"segment{number} {{ {segment} }}" for number, segment in enumerate(segments, 1))
    return f'{name} {{ id = "x" status = [{status}] flags = [] segment_count = {len(segments)}\n{body} }}\n'


def run(start: int, count: int, *stripes: tuple[str, int], kind: str = "striped", size: int = 0) -> str:
    places = ", ".join(f'"{name}", {first}' for name, first in stripes)
    return (
        f'start_extent = {start} extent_count = {count} type = "{kind}" stripe_count = {len(stripes)} stripe_size = {size} '
        f"stripes = [ {places} ]"
    )


def group(*volumes: str, seqno: int = 1) -> bytes:
    pv = f"status = [] pe_start = {PE_START // 512} pe_count = {EXTENTS}"
    return (
        f'vg {{ # a comment\nid = "vg" seqno = {seqno} extent_size = {EXTENT // 512}\nphysical_volumes {{\n'
        f'pv0 {{ id = "111111-1111-1111-1111-1111-1111-111111" {pv} }}\n'
        f'pv1 {{ id = "{OTHER}" device = "/dev/sdb" {pv} }} }}\nlogical_volumes {{ {"".join(volumes)} }} }}\nversion = 1\n\0'
    ).encode()


def disk(text: bytes, size: int = PE_START + EXTENTS * EXTENT, offset: int = 512) -> bytearray:
    data = bytearray(b"".join(struct.pack("<Q", at) for at in range(0, size, 8)))
    data[:512] = bytes(512)
    data[512:1024] = label((4096, RING))
    data[4096 : 4096 + RING] = area(4096, text, offset)
    return data


def parts(data: bytes | bytearray) -> list[Partition]:
    return list(FORMAT.open(MemoryDevice(bytes(data)), context()))


def one(*segments: str) -> Partition:
    (part,) = parts(disk(group(volume("lv", *segments))))
    return part


def extents(data: bytes | bytearray, *numbers: int) -> bytes:
    return b"".join(data[PE_START + n * EXTENT : PE_START + (n + 1) * EXTENT] for n in numbers)


def test_segments_in_any_order_and_stripes_of_three() -> None:
    data = disk(
        group(
            volume("a", run(2, 1, ("pv0", 9)), run(0, 2, ("pv0", 4))),
            volume("b", run(0, 6, ("pv0", 10), ("pv0", 20), ("pv0", 14), size=2)),
        )
    )
    first, second = parts(data)
    assert (first.index, first.kind, first.name, first.fault) == (1, "lvm2 linear", "vg-a", None)
    assert first.device.pread(0, 1 << 20) == extents(data, 4, 5, 9)
    assert (second.index, second.kind) == (2, "lvm2 striped")
    areas = [extents(data, 10, 11), extents(data, 20, 21), extents(data, 14, 15)]
    wanted = b"".join(places[at : at + 1024] for at in range(0, 2 * EXTENT, 1024) for places in areas)
    assert second.device.pread(0, 1 << 20) == wanted
    assert second.device.pread(3000, 5000) == wanted[3000:8000]


@pytest.mark.parametrize("sector", range(4))
def test_the_label_is_in_any_of_four_sectors(sector: int) -> None:
    data = disk(group(volume("lv", run(0, 1, ("pv0", 0)))))
    data[: 4 * 512] = bytes(4 * 512)
    data[sector * 512 : (sector + 1) * 512] = label((4096, RING), sector=sector)
    assert FORMAT.probe(MemoryDevice(bytes(data))) is Match.CERTAIN
    assert len(parts(data)) == 1


def test_metadata_goes_round_the_ring() -> None:
    text = group(volume("lv", run(0, 1, ("pv0", 3))))
    for offset in (RING - 1, RING - 100, RING - len(text) + 1, RING - len(text)):
        data = disk(text, offset=offset)
        assert parts(data)[0].device.pread(0, EXTENT) == extents(data, 3)


def test_the_newest_copy_counts_and_a_damaged_one_does_not(caplog: pytest.LogCaptureFixture) -> None:
    data = disk(group(volume("old", run(0, 1, ("pv0", 0)))))
    data[512:1024] = label((4096, RING), (32768, RING))
    data[32768 : 32768 + RING] = area(32768, group(volume("new", run(0, 1, ("pv0", 0))), seqno=2))
    assert parts(data)[0].name == "vg-new"
    data[32768 + 600] ^= 1
    assert parts(data)[0].name == "vg-old"
    assert "the metadata is damaged, at 0x8200" in caplog.text


def test_an_absent_physical_volume_costs_what_lies_on_it() -> None:
    data = disk(
        group(
            volume("lv", run(0, 2, ("pv0", 1)), run(2, 2, ("pv1", 0))), volume("whole", run(0, 1, ("pv0", 7)))
        )
    )
    half, whole = parts(data)
    assert isinstance(half.fault, MissingPartError)
    assert half.device.pread(0, 2 * EXTENT) == extents(data, 1, 2)
    with pytest.raises(
        MissingPartError, match=rf"^lvm2: physical volume {OTHER} \(last seen as /dev/sdb\) is missing"
    ):
        half.device.pread(2 * EXTENT - 1, 2)
    assert whole.fault is None
    striped = one(run(0, 2, ("pv0", 1), ("pv1", 0), size=2))
    assert striped.device.pread(0, 1024) == extents(data, 1)[:1024]
    with pytest.raises(MissingPartError):
        striped.device.pread(1024, 1)


@pytest.mark.parametrize(
    "kind", ["thin", "thin-pool", "cache", "raid1", "mirror", "vdo", "writecache", "error"]
)
def test_other_types_are_named_and_refused_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "disk"
    path.write_bytes(
        disk(
            group(
                volume("odd", run(0, 2, ("pv0", 0), ("pv0", 5), kind=kind)),
                volume("lv", run(0, 1, ("pv0", 9))),
            )
        )
    )
    with open_image(path) as opened:
        odd, plain = opened.volumes
        assert odd.partition.kind == f"lvm2 {kind}"
        assert str(odd.problem) == f"lvm2: {kind} volumes"
        with pytest.raises(UnsupportedError):
            odd.device.pread(0, 1)
        assert plain.device.pread(0, EXTENT) == extents(path.read_bytes(), 9)
        assert f"p1: lvm2: {kind} volumes: raw view" in build_vfs(opened, View.TREE).notes
        assert f"p1: lvm2: {kind} volumes" in list(problems(opened, second_opinion=False, read=False))


@pytest.mark.parametrize("key", ["cow_store", "merging_store"])
def test_what_a_snapshot_needs_is_not_shown_as_its_content(key: str) -> None:
    snapshot = (
        f'start_extent = 0 extent_count = 1 type = "snapshot" chunk_size = 8 origin = "lv" {key} = "snap"'
    )
    stores = [volume(name, run(0, 1, ("pv0", place))) for place, name in enumerate(("lv", "snap"))]
    origin, store = parts(disk(group(*stores, volume("snapshot0", snapshot))))
    assert str(store.fault) == "lvm2: snapshot of lv"
    assert (origin.fault is None) == (key == "cow_store")
    with pytest.raises(UnsupportedError):
        store.device.pread(0, 1)


def test_hidden_volumes_are_left_out_and_zeros_are_holes() -> None:
    hidden = volume("lv_tdata", run(0, 1, ("pv0", 0)), status='"READ", "WRITE"')
    (part,) = parts(disk(group(hidden, volume("lv", 'start_extent = 0 extent_count = 3 type = "zero"'))))
    assert (part.name, part.fault) == ("vg-lv", None)
    assert [run.device for run in part.device.extents(0, 1 << 20)] == [None]


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [run(1, 1, ("pv0", 0))],
        [run(0, 2, ("pv0", 0)), run(1, 1, ("pv0", 9))],
        [run(0, 0, ("pv0", 0))],
        [run(0, -1, ("pv0", 0))],
        [run(0, 1 << 62, ("pv0", 0))],
        [run(0, 1 << 63, ("pv0", 0))],
        [run(0, 1)],
        [run(0, 3, ("pv0", 0), ("pv0", 9), size=8)],
        [run(0, 2, ("pv0", 0), ("pv0", 9), size=0)],
        [run(0, 2, ("pv0", 0), ("pv0", 9), size=7)],
        [run(0, 65, ("pv0", 0))],
        [run(0, 2, ("pv0", 63))],
        [run(0, 1, ("pv0", -1))],
        [run(0, 1, ("nobody", 0))],
        [run(0, 2, ("pv0", 4)), run(2, 2, ("pv0", 5))],
        ["start_extent = 0 extent_count = 1"],
        ['start_extent = "a" extent_count = 1 type = "striped"'],
    ],
)
def test_segments_that_cannot_be_are_an_error_where_they_are(segments: list[str]) -> None:
    data = disk(group(volume("lv", *segments), volume("good", run(0, 1, ("pv0", 40)))))
    bad, good = parts(data)
    assert isinstance(bad.fault, FormatError)
    assert bad.device.size
    with pytest.raises(ImageError):
        bad.device.pread(0, EXTENT)
    assert good.fault is None
    assert good.device.pread(0, EXTENT) == extents(data, 40)


def test_volumes_that_share_extents_are_both_refused() -> None:
    first, second, third = parts(
        disk(
            group(
                *(volume(name, run(0, 4, ("pv0", place))) for name, place in (("a", 0), ("b", 3), ("c", 7)))
            )
        )
    )
    assert str(first.fault) == "lvm2: a shares extents with another volume"
    assert str(second.fault) == "lvm2: b shares extents with another volume"
    assert third.fault is None


def test_a_volume_beyond_the_end_of_a_truncated_image() -> None:
    data = disk(group(volume("lv", run(0, 8, ("pv0", 0)))))[: PE_START + 2 * EXTENT]
    (part,) = parts(data)
    assert part.device.pread(0, 2 * EXTENT) == extents(data, 0, 1)
    with pytest.raises(ImageError):
        part.device.pread(2 * EXTENT, 1)


@pytest.mark.parametrize(
    ("over", "error"),
    [
        ({"checksum": 1}, ChecksumError),
        ({"length": 1 << 40}, FormatError),
        ({"length": RING}, FormatError),
        ({"ring": 1 << 63, "length": 16 << 20}, FormatError),
        ({"offset": 4}, FormatError),
        ({"offset": RING}, FormatError),
        ({"offset": 1 << 63}, FormatError),
        ({"ring": 0}, FormatError),
        ({"offset": 0}, MissingPartError),
        ({"flags": 1}, MissingPartError),
    ],
)
def test_rings_that_cannot_be(over: dict[str, int], error: type[ImageError]) -> None:
    data = disk(group())
    data[4096 : 4096 + RING] = _ring(group(), over)
    with pytest.raises(error):
        parts(data)


def _ring(text: bytes, over: dict[str, int]) -> bytes:
    whole = bytearray(area(4096, text))
    fields = [512, len(text), crc(text), 0]
    for place, name in enumerate(("offset", "length", "checksum", "flags")):
        fields[place] = over.get(name, fields[place])
    struct.pack_into("<Q", whole, 32, over.get("ring", RING))
    struct.pack_into("<QQII", whole, 40, *fields)
    struct.pack_into("<I", whole, 0, crc(bytes(whole[4:512])))
    return bytes(whole)


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"vg {",
            b"}",
            b"vg = ",
            b"vg { a = [ 1 2 ] }",
            b"vg { a = [ [ 1 ] ] }",
            b'vg { a = "open }',
            b"a a",
            b"a {} a {}",
        ),
        *(
            b"a { b = 1_0 }",
            b"a { b = word }",
            b"a{" * 5000,
            b"a = [" * 1000,
            b"\\",
            b"",
            b"vg {}",
            b"vg { seqno = 1 }",
        ),
        b"vg { seqno = 1 extent_size = 0 }",
    ],
)
def test_text_that_cannot_be_understood(text: bytes) -> None:
    with pytest.raises(FormatError):
        parts(disk(text))


def test_strings_keep_what_is_escaped() -> None:
    text = group(volume("lv", run(0, 1, ("pv1", 0)))).replace(b"/dev/sdb", rb"a \"b\" \\ { # }")
    assert r'(last seen as a "b" \ { # })' in str(parts(disk(text))[0].fault)


@pytest.mark.parametrize("unit", [b"a%d{}", b"a%d=1 ", b"#%d\n", b'a%d=["\\x",1]', b" "])
def test_megabytes_of_text_stay_bounded(unit: bytes) -> None:
    pieces: list[bytes] = []
    size = 0
    while size < (1 << 20):
        pieces.append(unit % len(pieces) if b"%" in unit else unit * 4096)
        size += len(pieces[-1])
    text = b"".join(pieces)
    text = text[: (1 << 20) - 1] if unit in (b" ", b"#%d\n") else text
    data = disk(group(), size=4096 + len(text) + 4096)
    ring = len(text) + 1024
    data[4096:] = area(4096, text, size=ring)
    device = MemoryDevice(bytes(data))
    tracemalloc.start()
    with pytest.raises(ImageError):
        FORMAT.open(device, context())
    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'vg { a = "' + b"\\\\" * 20_000 + b'" }', "escaped characters"),
        (b"vg { a = [" + b'"x", ' * 50_001 + b'"x" ] }', "more than 50000 values"),
        (b" " * ((1 << 20) + 1), "bytes of metadata"),
    ],
)
def test_what_would_take_long_to_read_is_refused(text: bytes, told: str) -> None:
    data = disk(group(), size=4096 + len(text) + 4096)
    data[4096:] = area(4096, text, size=len(text) + 1024)
    with pytest.raises(FormatError, match=told):
        parts(data)


def test_only_so_many_volumes_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    text = group(
        *(volume(f"lv{number}", 'start_extent = 0 extent_count = 1 type = "zero"') for number in range(520))
    )
    data = disk(group(), size=4096 + len(text) + 4096)
    data[4096:] = area(4096, text, size=len(text) + 1024)
    assert len(parts(data)) == 512
    assert "more than 512 logical volumes" in caplog.text


def test_a_partitioned_disk_is_not_a_physical_volume() -> None:
    data = disk(group(volume("lv", run(0, 1, ("pv0", 0)))))
    data[510:512] = b"\x55\xaa"
    assert FORMAT.probe(MemoryDevice(bytes(data))) is Match.CERTAIN  # code, and no table
    data[446:462] = struct.pack("<4B4BII", 0x80, 0, 0, 0, 0x83, 0, 0, 0, 8, 8)
    assert FORMAT.probe(MemoryDevice(bytes(data))) is Match.NO


@pytest.mark.parametrize("variant", sorted(FIXTURES))
def test_random_damage_never_escapes_as_another_error(tmp_path: Path, variant: str) -> None:
    data = FIXTURES[variant].image_path(tmp_path).read_bytes()
    data = data[data.index(b"LABELONE") - 512 :][: 1 << 20]
    rng = random.Random(9)
    for turn in range(150):
        damaged = bytearray(data)
        text = group(volume("lv", run(0, 2, ("pv0", 0), ("pv0", 9), size=2)))
        if turn % 2:
            damaged = disk(bytes(rng.choice(b'{}[]"=#,1-') if rng.random() < 0.02 else byte for byte in text))
        for _ in range(rng.choice((1, 8, 60)) * (1 - turn % 2)):
            damaged[rng.randrange(rng.choice((1024, 8192)))] = rng.choice((0, 255, rng.randrange(256)))
        try:
            for part in parts(damaged):
                part.device.pread(0, 8192)
        except ImageError:
            continue
