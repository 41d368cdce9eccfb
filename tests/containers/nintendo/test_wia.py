from __future__ import annotations

import bz2
import json
import lzma
import random
import struct
from hashlib import sha1
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers import FIXTURES, context, image
from imgmount.containers.nintendo.wia import FORMAT, codec, groups, large
from imgmount.containers.nintendo.wia.device import WiaDevice
from imgmount.containers.nintendo.wia.header import HEADER_1_SIZE, Range
from imgmount.core.block_decoder import CodedBlock, CodedBlockDecoder
from imgmount.core.cache import ReadCache
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, ImageError, UnsupportedError
from imgmount.families.nintendo import junk
from imgmount.families.nintendo import wii_clusters as wii

FOLDER = FIXTURES / "containers/wia"


def stored(name: str) -> bytes:
    data = (FOLDER / name).read_bytes()
    return lzma.decompress(data) if name.endswith(".xz") else data


def opened(data: bytes) -> WiaDevice:
    device = FORMAT.open(MemoryDevice(data), context())
    assert isinstance(device, WiaDevice)
    return device


def resigned(data: bytearray) -> bytes:
    """``data`` with the hashes of its headers made right again."""
    size = struct.unpack_from(">I", data, 0x0C)[0]
    data[0x10:0x24] = sha1(data[HEADER_1_SIZE : HEADER_1_SIZE + size]).digest()
    data[0x34:0x48] = sha1(data[:0x34]).digest()
    return bytes(data)


@pytest.mark.parametrize("at", [5, 0x30, HEADER_1_SIZE + 2, HEADER_1_SIZE + 0x10])
def test_headers_are_checked(at: int) -> None:
    data = bytearray(stored("gamecube/zstd-32k.rvz"))
    data[at] ^= 1
    with pytest.raises(ChecksumError):
        opened(bytes(data))


def test_the_table_of_partitions_is_checked() -> None:
    data = bytearray(stored("wii/zstd-32k.rvz"))
    data[struct.unpack_from(">Q", data, HEADER_1_SIZE + 0x98)[0]] ^= 1
    with pytest.raises(ChecksumError, match="partitions"):
        opened(bytes(data))


LIES = [
    (0x0C, 0), (0x0C, 0x8001), (0x0C, 0x4000), (0x0C, 0xFFFF_FFFF), (0x90, 0xFFFF_FFFF), (0x94, 1), (0xB4, 0xFFFF_FFFF),
    (0xC0, 0xFFFF_FFFF), (0xC4, 0xFFFF_FFFF), (0xC4, 0), (0xD0, 0xFFFF_FFFF), (0xB8, 0x7FFF_FFFF), (0xC8, 0x7FFF_FFFF),
]  # fmt: skip


@pytest.mark.parametrize(("at", "value"), LIES)
def test_headers_that_lie(at: int, value: int) -> None:
    data = bytearray(stored("wii/zstd-32k.rvz"))
    struct.pack_into(">I", data, HEADER_1_SIZE + at, value)
    try:
        device = opened(resigned(data))
        device.pread(0x8000, 0x8000)
    except ImageError:
        return
    assert (at, value) == (0xC4, 0)
    pytest.fail("read without groups")


def test_an_unknown_compression_is_named() -> None:
    data = bytearray(stored("gamecube/zstd-32k.rvz"))
    struct.pack_into(">I", data, HEADER_1_SIZE + 4, 6)
    with pytest.raises(UnsupportedError, match="rvz: compression 6"):
        opened(resigned(data))


def test_damage_costs_its_group() -> None:
    data = bytearray(stored("gamecube/zstd-32k.rvz"))
    whole = opened(bytes(data))
    expected = whole.pread(0, whole.size)
    hurt = 0x68000 // 0x8000
    place, size = whole._groups._entries[3 * hurt] * 4, whole._groups._entries[3 * hurt + 1] & 0x7FFF_FFFF
    data[place + 4 : place + size] = bytes(size - 4)
    device = opened(bytes(data))
    for sector in range(device.size // 0x8000):
        if sector == hurt:
            with pytest.raises(FormatError):
                device.pread(sector * 0x8000, 1)
        else:
            assert device.pread(sector * 0x8000, 0x8000) == expected[sector * 0x8000 :][:0x8000]


@pytest.mark.parametrize(
    "name", ["gamecube/LZMA2.wia", "gamecube/lzma.rvz", "wii/zstd-2m.rvz", "wii/PURGE.wia.xz"]
)
@pytest.mark.parametrize("place", range(8))
def test_truncated(name: str, place: int) -> None:
    data = stored(name)
    whole = opened(data)
    expected = whole.pread(0, whole.size)
    try:
        device = opened(data[: len(data) * place // 8])
    except ImageError:
        return
    assert list(device.verify()) != []
    for offset in range(0, device.size, 0x8000):
        try:
            sector = device.pread(offset, 0x8000)
        except ImageError:
            continue
        assert sector == expected[offset : offset + 0x8000]


WIA = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.wia*"))


@pytest.mark.parametrize("name", WIA)
@pytest.mark.parametrize("whole", [0, 1 << 30])
def test_chunks_are_decoded_forwards_or_whole(monkeypatch: pytest.MonkeyPatch, name: str, whole: int) -> None:
    data = stored(name)
    known = opened(data)
    expected = known.pread(0, known.size)
    monkeypatch.setitem(groups.MAX_WHOLE, "wia", whole)
    device = opened(data)
    assert device._groups.is_large == (not whole)
    rng = random.Random(5)
    for offset in (rng.randrange(device.size) for _ in range(20)):
        assert device.pread(offset, 0x9000) == expected[offset : offset + 0x9000]
    for place, part in device._parts.items():
        clear = known._parts[place].pread(0, part.size)
        for offset in (rng.randrange(part.size) for _ in range(20)):
            assert part.pread(offset, 0x9000) == clear[offset : offset + 0x9000]


def stored_group(compression: str, exceptions: list[tuple[int, bytes]], data: bytes) -> bytes:
    lists = struct.pack(">H", len(exceptions)) + b"".join(struct.pack(">H20s", *one) for one in exceptions)
    if compression == "bzip2":
        return bz2.compress(lists + data)
    head = lists.ljust(-(-len(lists) // 4) * 4, b"\0")
    if compression == "none":
        return head + data
    body = struct.pack(">II", 8, len(data) - 8) + data[8:]
    return head + body + sha1(head + body).digest()


@pytest.mark.parametrize("compression", ["none", "purge", "bzip2"])
def test_the_raw_view_of_large_groups(compression: str) -> None:
    """Six groups, each with exceptions to its hashes: the same clusters, whichever way they are decoded."""
    count = 6
    datas = [
        bytes(8) + bytes([n + 1]) * (size * wii.DATA - 8) for n, size in enumerate([64] * (count - 1) + [10])
    ]
    file, entries = b"", []
    for n, data in enumerate(datas):
        exceptions = [(cluster * wii.HASHES + wii.H1 + n, bytes([0x50 + n]) * 20) for cluster in (5, 6)]
        one = stored_group(compression, exceptions, data)
        entries += [len(file) // 4, len(one)]
        file += one.ljust(-(-len(one) // 4) * 4, b"\0")
    header = SimpleNamespace(fmt="wia", chunk_size=2 << 20, compression=compression, extra=b"")
    table = groups.GroupTable(MemoryDevice(file), header, struct.pack(f">{2 * count}I", *entries))  # type: ignore[arg-type]
    place = Range(sector=0, sectors=64 * (count - 1) + 10, group=0, groups=count)
    cache = ReadCache()
    for kind in (groups.PartRange, large.LargePart):
        part = kind(table, place, 0, cache)
        for _ in range(2):  # what was decoded is known the second time, the exceptions are not
            raw = groups.EncryptedPart([part], bytes(16), 2 << 20, cache)
            for group in (2, 0, 1, 3, 4, 5):
                clear = wii.decrypt_whole(bytes(16), raw.pread(group * wii.GROUP, wii.GROUP))
                assert (
                    b"".join(clear[at + 0x400 : at + 0x8000] for at in range(0, len(clear), 0x8000))
                    == datas[group]
                )
                for cluster in (5, 6):
                    assert clear[cluster * wii.CLUSTER + wii.H1 + group :][:20] == bytes([0x50 + group]) * 20


def test_purged_data_is_checked_before_any_of_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(groups.MAX_WHOLE, "wia", 0)
    data = bytearray(stored("gamecube/PURGE.wia.xz"))
    entry = opened(bytes(data))._groups.entry(0)
    data[entry[0] * 4 + entry[1] - 21] ^= 1
    with pytest.raises(ChecksumError, match="group 0"):
        opened(bytes(data)).pread(0x8000, 1)


def test_purged_pieces_that_lie() -> None:
    def read(*pieces: tuple[int, int, bytes]) -> bytes:
        body = b"".join(struct.pack(">II", place, size) + content for place, size, content in pieces)
        feeding = iter([body[:7], body[7:]])
        source = CodedBlockDecoder("wia", [CodedBlock(large._Copy, feeding, has_end=False)], ValueError)
        return large._Purged("wia", source, len(body), 16).read(16)

    assert read((4, 3, b"abc"), (9, 1, b"z")) == b"\0\0\0\0abc\0\0z".ljust(16, b"\0")
    for bad in (
        [(4, 3, b"abc"), (6, 1, b"z")],
        [(14, 3, b"abc")],
        [(0, 4, b"abc")],
        [(0, 0, b""), (20, 0, b"")],
    ):
        with pytest.raises(FormatError, match="purged segment"):
            read(*bad)


def test_purge() -> None:
    body = struct.pack(">II", 4, 3) + b"abc" + struct.pack(">II", 9, 1) + b"z"
    good = body + sha1(b"lists" + body).digest()
    assert codec.purge("wia", b"lists", good, 12) == b"\0\0\0\0abc\0\0z\0\0"
    for bad, size in ((good[:-1], 12), (good, 9), (b"", 12)):
        with pytest.raises(FormatError):
            codec.purge("wia", b"lists", bad, size)


def test_a_pack_stream_may_begin_inside_a_sector() -> None:
    seed = junk.seed(b"RIMP", 0, 3)
    packed = struct.pack(">I", 5) + b"hello" + struct.pack(">I", 0x8000_0000 | 1000) + seed
    out = codec.unpack("rvz", packed, 0x18100, 1005)
    assert out == b"hello" + junk.generate(seed, 0x105, 1000)
    for bad in (packed[:-1], packed[:4], struct.pack(">I", 2000) + bytes(2000), struct.pack(">I", 0), b""):
        with pytest.raises(FormatError):
            codec.unpack("rvz", bad, 0, 1005)


def test_exceptions_replace_hashes() -> None:
    data = bytes(wii.GROUP_DATA)
    key = bytes(16)
    plain = wii.decrypt_whole(key, wii.encrypt(key, data, []))
    patched = wii.decrypt_whole(key, wii.encrypt(key, data, [wii.HashException(3, 0x280, b"\x55" * 20)]))
    at = 3 * wii.CLUSTER + 0x280
    assert patched[at : at + 20] == b"\x55" * 20
    assert patched[:at] + patched[at + 20 :] == plain[:at] + plain[at + 20 :]
    assert list(wii.check_group(plain, sha1(plain[0x340:0x3E0]).digest(), ())) == []


def test_no_key_is_needed_and_none_is_shown() -> None:
    data = stored("wii/zstd-2m.rvz")
    device = opened(data)
    place = struct.unpack_from(">Q", data, HEADER_1_SIZE + 0x98)[0]
    assert data[place : place + 16].hex() not in json.dumps(dict(device.info()))


@pytest.mark.parametrize(("at", "value"), [(4, 0x0002_0000), (8, 0x0200_0000)])
def test_other_versions_are_named(at: int, value: int) -> None:
    data = bytearray(stored("gamecube/zstd-32k.rvz"))
    struct.pack_into(">I", data, at, value)
    with pytest.raises(UnsupportedError, match="rvz: version"):
        opened(resigned(data))


@pytest.mark.parametrize("name", ["12288.wia", "8192.rvz"])
def test_images_made_by_others(name: str) -> None:
    path: Path = image(f"gc-wii/emmercm__dolphin-tool-js__{name}")
    device = opened(path.read_bytes())
    assert device.pread(0x8001, 5) == b"CD001"
    assert list(device.verify()) == []
