"""UDIF: what others made, damage, hostile tables, looks into long runs, segments, info and verify."""

from __future__ import annotations

import bz2
import lzma
import plistlib
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conformance import check_device, sha256
from containers.apple.apple_rows import rows
from fixture import unpack
from helpers import FIXTURES, context, image, wrong
from imgmount.chain.open import Image, open_image
from imgmount.containers.apple.udif import FORMAT
from imgmount.containers.apple.udif.device import UdifDevice
from imgmount.core.cache import Content, ReadCache
from imgmount.core.format import Match, Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MissingPartError
from imgmount.sources.file import FileDevice

UDIF = FIXTURES / "containers" / "udif"
TABLE_RUNS = 0xCC
ROWS = rows("dmg")
OLD_NAME = b"<key>Name</key><string>\x83}\x83b\x0bN</string>"


def fixture(variant: str, scratch: Path) -> Path:
    target = scratch / "disk.dmg"
    unpack(UDIF / variant / "disk.dmg.xz", target)
    return target


def table(
    first: int, sectors: int, runs: list[tuple[int, int, int, int, int]], count: int | None = None
) -> bytes:
    entries = b"".join(struct.pack(">2I4Q", kind, 0, *rest) for kind, *rest in runs)
    head = struct.pack(">4sI3Q2I24x2I128s", b"mish", 1, first, sectors, 0, 0, 0, 0, 0, b"")
    return head + struct.pack(">I", len(runs) if count is None else count) + entries


def plist(*tables: bytes, before: str = "") -> bytes:
    blkx = [{"ID": str(number), "Data": one} for number, one in enumerate(tables)]
    text = plistlib.dumps({"resource-fork": {"blkx": blkx}}).decode()
    return text.replace("<plist", before + "<plist").encode()


def udif(data: bytes, xml: bytes, sectors: int) -> bytes:
    head = struct.pack(">4s3I5Q2I16s", b"koly", 4, 512, 1, 0, 0, len(data), 0, 0, 1, 1, bytes(16))
    head += bytes(0xD8 - len(head)) + struct.pack(">2Q", len(data), len(xml))
    return data + xml + head.ljust(0x1EC, b"\0") + struct.pack(">Q", sectors) + bytes(12)


def opened(data: bytes) -> UdifDevice:
    device = FORMAT.open(MemoryDevice(data), context())
    assert isinstance(device, UdifDevice)
    return device


def problems(image_: Image) -> list[str]:
    device: Any = image_.layers[-1].device
    return wrong(device.verify())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: Path(row["file"]).name)
def test_other_peoples_images(row: dict[str, Any]) -> None:
    with open_image(image(row["file"]), Options(password=row.get("password"))) as found:
        assert [found.disk.size, sha256(found.disk)] == row["raw"]
        for layer in found.layers:
            if isinstance(layer.device, UdifDevice):
                assert wrong(layer.device.verify()) == []


@pytest.mark.parametrize(
    "variant", ["zlib", "adc", "bzip2", "lzfse", "lzma", "resources", "first", "prefixed"]
)
def test_a_sound_image_verifies_and_a_changed_byte_is_told(variant: str, tmp_path: Path) -> None:
    path = fixture(variant, tmp_path)
    with open_image(path) as found:
        assert problems(found) == []
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle] ^= 0x10
    path.write_bytes(data)
    with open_image(path) as found:
        assert problems(found)


def test_damage_costs_its_run_alone(tmp_path: Path) -> None:
    path = fixture("zlib", tmp_path)
    with open_image(path) as found:
        content = found.disk.pread(0, found.disk.size)
        device = found.layers[-1].device
        assert isinstance(device, UdifDevice)
        hurt = next(run for run in device.runs if run.kind in device.codecs and run.first > 2000)
    data = bytearray(path.read_bytes())
    data[hurt.offset : hurt.offset + hurt.stored] = b"\xff" * hurt.stored
    path.write_bytes(data)
    start, end = hurt.first * 512, (hurt.first + hurt.sectors) * 512
    with open_image(path) as found:
        assert found.disk.pread(0, start) == content[:start]
        assert found.disk.pread(end, len(content)) == content[end:]
        for offset in (start, end - 1):
            with pytest.raises(FormatError, match=rf"udif: the run of sector {hurt.first}: "):
                found.disk.pread(offset, 1)


def test_raw_runs_are_the_file_and_empty_ones_are_holes(tmp_path: Path) -> None:
    with open_image(fixture("zlib", tmp_path)) as found:
        device = found.layers[-1].device
        assert isinstance(device, UdifDevice)
        raw = next(run for run in device.runs if run.kind == 1)
        (extent,) = device.extents(raw.first * 512, raw.sectors * 512)
        assert isinstance(extent.device, FileDevice)
        assert extent.offset == raw.offset
        assert [run.device for run in device.extents(41 * 512, 4096)] == [None]


def counted(monkeypatch: pytest.MonkeyPatch, kind: int) -> list[int]:
    """The sizes of the runs of a kind that are decoded as a whole, from now on."""
    codec, decoded = UdifDevice.codecs[kind], []

    def whole(data: bytes, size: int) -> Content:
        decoded.append(size)
        return codec.whole(data, size)

    monkeypatch.setitem(UdifDevice.codecs, kind, codec._replace(whole=whole))
    return decoded


@pytest.mark.parametrize(("variant", "kind"), [("bzip2", 0x80000006), ("lzma", 0x80000008)])
def test_a_second_look_into_a_long_run_does_not_decode_all_of_it(
    variant: str, kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fixture(variant, tmp_path)
    with open_image(path) as found:
        content = found.disk.pread(0, found.disk.size)
    decoded = counted(monkeypatch, kind)
    monkeypatch.setattr("imgmount.core.device.RECENT", 2)  # that the image was opened is forgotten
    with open_image(path, cache=ReadCache((1 << 20) + (100 << 10))) as found:  # room for one long run
        start, other = 2111 * 512, 4159 * 512
        for place in (start, other):  # the first looks are how runs are known to be sound
            assert found.disk.pread(place + 5000, 4096) == content[place + 5000 : place + 9096]
        assert decoded[-2:] == [2048 * 512, 2025 * 512]
        before = len(decoded)
        for place, size in ((start + 5000, 4096), (start + 6000, 100)):
            assert found.disk.pread(place, size) == content[place : place + size]
        assert len(decoded) == before
        for offset in range(0, found.disk.size, 4096):  # and a reader who goes on gets the right bytes
            assert found.disk.pread(offset, 4096) == content[offset : offset + 4096]


PACKERS: dict[int, Callable[[bytes], bytes]] = {
    0x80000005: partial(zlib.compress, level=0),
    0x80000006: bz2.compress,
    0x80000008: lzma.compress,
}


@pytest.mark.parametrize("kind", PACKERS, ids=hex)
def test_a_look_into_a_damaged_run_gives_no_wrong_byte(kind: int) -> None:
    """The checksum comes last: the first bytes of a run decode without an error, and may be wrong."""
    content = random.Random(kind).randbytes(1 << 20)
    packed = bytearray(PACKERS[kind](content))
    sectors = len(content) // 512
    run = (kind, 0, sectors, 0, len(packed))
    disk = opened(udif(bytes(packed), plist(table(0, sectors, [run])), sectors))
    assert disk.pread(0, 512) == content[:512]
    packed[200] ^= 0x10  # literal bytes, in all three
    disk = opened(udif(bytes(packed), plist(table(0, sectors, [run])), sectors))
    for offset in (0, 0x1000):
        with pytest.raises(FormatError, match="the run of sector 0: "):
            disk.pread(offset, 512)


def test_a_run_that_others_hide_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    content = random.Random(1).randbytes(4 << 20)
    packed = zlib.compress(content)
    decoded = counted(monkeypatch, 0x80000005)
    runs = [(0x80000005, 0, 8192, 0, len(packed)), (0, 0, 8192, 0, 0)]
    disk = opened(udif(packed, plist(table(0, 8192, runs)), 8192))
    assert disk.pread(0, 512) == bytes(512)
    hidden = disk.run_device(disk.runs[0])
    assert b"".join(hidden.pread(at, 1 << 20) for at in range(0, hidden.size, 1 << 20)) == content
    assert decoded == [len(content)]


def test_the_licence_is_told(tmp_path: Path) -> None:
    with open_image(fixture("zlib", tmp_path)) as found:
        device: Any = found.layers[-1].device
        assert device.info()["licence"] == "(2 languages) Machen Sie damit, was Sie möchten."
        assert device.info()["format"] == "UDZO"


@pytest.mark.parametrize("name", ["disk.dmg", "disk.002.dmgpart"])
def test_any_segment_opens_the_set(name: str, tmp_path: Path) -> None:
    for stored in (UDIF / "segments").glob("*.xz"):
        unpack(stored, tmp_path / stored.stem)
    with open_image(tmp_path / "disk.dmg") as found:
        content = found.disk.pread(0, found.disk.size)
    (tmp_path / "disk.002.dmgpart").rename(tmp_path / "renamed.dmgpart")
    with open_image(tmp_path / ("renamed.dmgpart" if "002" in name else name), Options()) as found:
        assert str(found) == "file > udif"
        check_device(found.disk, content)
        assert problems(found) == []


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    unpack(UDIF / "segments" / "disk.dmg.xz", tmp_path / "disk.dmg")
    with pytest.raises(MissingPartError, match=r"udif: segment 2 of 2 is missing"):
        open_image(tmp_path / "disk.dmg")


def test_a_cut_download_gives_the_runs_that_it_has() -> None:
    """Its koly block came first, and its tables lie elsewhere: here they are put before the data's end."""
    data = bytes(512) + b"first".ljust(512, b"\1") + b"second".ljust(512, b"\2")
    xml = plist(table(0, 2, [(1, 0, 1, 512, 512), (1, 1, 1, 1024, 512)]))
    whole = udif(b"", xml, 2)
    koly = bytearray(whole[-512:])
    struct.pack_into(">2Q", koly, 0xD8, 512, len(xml))
    struct.pack_into(">Q", koly, 0x18, 512 + len(xml) - 512)
    file = bytes(koly) + xml + data[512:]
    disk = opened(file[: 512 + len(xml) + 512 + 100])
    assert disk.pread(0, 512) == data[512:1024]
    assert disk.pread(512, 100) == data[1024:1124]
    with pytest.raises(FormatError, match="is cut"):
        disk.pread(700, 1)


def test_tables_in_the_resource_fork_of_the_file_itself(tmp_path: Path) -> None:
    """As Disk Copy 6.5 keeps them of an image that was not flattened."""
    data = b"a sector of the disk".ljust(512, b"!")
    blkx = table(0, 1, [(1, 0, 1, 0, 512)])
    head = struct.pack(">4I", 256, 256 + len(blkx) + 4, len(blkx) + 4, 50)
    types = struct.pack(">H4sHH", 0, b"blkx", 0, 10) + struct.pack(">hHII", 0, 0xFFFF, 0, 0)
    fork = head.ljust(256, b"\0") + struct.pack(">I", len(blkx)) + blkx
    fork += bytes(24) + struct.pack(">2H", 28, 50) + types
    koly = bytearray(udif(data, b"", 1)[-512:])
    koly[0xD8:0xE8] = bytes(16)
    path = tmp_path / "disk.dmg"
    path.write_bytes(data + koly)
    (tmp_path / "disk.dmg.rsrc").write_bytes(fork)
    with open_image(path) as found:
        assert found.disk.pread(0, 512) == data
    (tmp_path / "disk.dmg.rsrc").unlink()
    with pytest.raises(FormatError, match="no tables"):
        open_image(path)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "more runs than the table holds": lambda: udif(b"", plist(table(0, 4, [(0, 0, 1, 0, 0)], 0xFFFFFFFF)), 4),
    "a run at the end of numbers": lambda: udif(b"", plist(table(0, 4, [(1, (1 << 64) - 1, 1, 0, 512)])), 4),
    "an offset at the end of numbers": lambda: udif(
        b"", plist(table(0, 4, [(1, 0, 4, (1 << 64) - 1, 2048)])), 4
    ),
    "a table that starts at the end": lambda: udif(
        b"", plist(table((1 << 64) - 1, 4, [(1, 0, 4, 0, 2048)])), 4
    ),
    "a table that is a header": lambda: udif(b"", plist(b"mish" + bytes(100)), 4),
    "a bomb": lambda: udif(b"x" * 64, plist(table(0, 1 << 40, [(0x80000005, 0, 1 << 40, 0, 64)])), 1 << 40),
    "an unknown codec": lambda: udif(b"x" * 64, plist(table(0, 4, [(0x80000042, 0, 4, 0, 64)])), 4),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_a_table_lies_about_is_an_error_and_no_zeros(case: str) -> None:
    disk = opened(HOSTILE[case]())
    if case == "a table that starts at the end":  # where the disk is not: nothing is known of what there is
        assert disk.pread(0, 2048) == bytes(2048)
        assert wrong(disk.verify())
        return
    if case == "a table that is a header":
        assert wrong(disk.verify())
        return
    with pytest.raises(ImageError):
        disk.pread(1024, 512)
    wrong(disk.verify())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (udif(b"", plist(before='<!DOCTYPE p [<!ENTITY a "aaaa">]>'), 4), "declares entities"),
        (udif(b"", b"<plist><dict><key>", 4), "the plist is damaged"),
        (udif(b"", b"<plist><array/></plist>", 4), "no dictionary"),
        (udif(b"", b"<plist><dict/></plist>", 4), "no resource-fork"),
        (udif(b"", plist(), 1 << 63), "sectors"),
        (udif(b"", plist(), 4), "no tables"),
    ],
)
def test_what_cannot_be_opened_says_why(data: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        opened(data)


def test_a_plist_of_many_gigabytes_is_not_read() -> None:
    koly = bytearray(udif(b"", plist(), 4)[-512:])
    struct.pack_into(">2Q", koly, 0xD8, 0, 1 << 40)
    with pytest.raises(FormatError, match="a plist of"):
        opened(bytes(koly))


def test_names_in_old_encodings_do_no_harm() -> None:
    xml = plist(table(0, 1, [(0, 0, 1, 0, 0)])).replace(
        b"<key>ID", b"<key>Name</key><string>\x83}\x83b\x0bN</string><key>ID"
    )
    assert opened(udif(b"", xml, 1)).pread(0, 512) == bytes(512)


def test_the_probe_wants_version_and_size() -> None:
    sound = udif(b"", plist(), 4)
    assert FORMAT.probe(MemoryDevice(sound)) is Match.PROVEN
    assert FORMAT.probe(MemoryDevice(sound + bytes(511))) is Match.PROVEN
    assert FORMAT.probe(MemoryDevice(sound + bytes(512))) is Match.NO
    assert FORMAT.probe(MemoryDevice(sound[:-512] + b"koly" + bytes(508))) is Match.NO


def test_a_zero_run_of_terabytes_is_checked_at_once() -> None:
    sectors = 1 << 40
    xml = plist(table(0, sectors, [(0, 0, sectors, 0, 0)]))
    disk = opened(udif(b"", xml, sectors))
    assert disk.size == sectors * 512
    assert wrong(disk.verify()) == []
    assert disk.pread(sectors * 256, 100) == bytes(100)


def test_an_image_beside_others_opens_none_of_them(tmp_path: Path) -> None:
    shutil.copy(fixture("zlib", tmp_path), tmp_path / "other.dmg")
    with open_image(tmp_path / "disk.dmg") as found:
        assert found.opened == [tmp_path / "disk.dmg"]


def test_a_damaged_run_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fixture("bzip2", tmp_path)
    data = bytearray(path.read_bytes())
    data[0x65D7] ^= 0xFF
    decoded = counted(monkeypatch, 0x80000006)
    disk = opened(bytes(data))
    for offset in range(100 * 512, 200 * 512, 4096):
        with pytest.raises(FormatError, match="the run of sector 63: "):
            disk.pread(offset, 4096)
    assert len(decoded) == 1
