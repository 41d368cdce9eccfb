from __future__ import annotations

import lzma
import struct
from hashlib import sha1
from pathlib import Path

import pytest

from conformance import check_device
from helpers import FIXTURES, context
from imgmount.chain.open import Image, open_image
from imgmount.codecs.aes import encrypt_cbc
from imgmount.core.cache import ReadCache
from imgmount.core.format import Options, own_check
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, KeyRequiredError, UnsupportedError
from imgmount.families.nintendo.wiiu import DELETED, DIRECTORY, ContentKey, Fst, HashedCluster, RawCluster
from imgmount.partitions.wiiu import FORMAT

DISC_KEY, COMMON, TITLE_KEY = (bytes.fromhex(digit * 32) for digit in "123")
KEY = ContentKey(bytes(range(16)))


@pytest.fixture(scope="module")
def disc() -> bytes:
    return lzma.decompress((FIXTURES / "partitions/wiiu/disc/game.wud.xz").read_bytes())


@pytest.fixture
def path(disc: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "game.wud").write_bytes(disc)
    return tmp_path / "game.wud"


def opened(path: Path, **keys: bytes) -> Image:
    return open_image(path, Options(keys={name.replace("_", "-"): key for name, key in keys.items()}))


def test_without_the_disc_key_the_raw_view_is_there_and_the_key_is_named(path: Path, disc: bytes) -> None:
    with opened(path) as image:
        assert image.disk.pread(0, len(disc)) == disc
        problem = image.volumes[0].problem
        assert isinstance(problem, KeyRequiredError)
        for words in (
            "wiiu-disc",
            "game.key",
            "disc.key",
            "discKeys/game.key",
            "imgmount/keys/wiiu-disc.key",
        ):
            assert words in str(problem)
    with opened(path, wiiu_disc=bytes(16)) as image:
        assert "'wiiu-disc' is wrong" in str(image.volumes[0].problem)


def test_without_the_common_key_the_system_partition_is_there(path: Path) -> None:
    with opened(path, wiiu_disc=DISC_KEY) as image:
        system, game = image.volumes
        assert system.problem is None
        assert isinstance(game.problem, KeyRequiredError)
        assert "wiiu-common" in str(game.problem)
    with opened(path, wiiu_disc=DISC_KEY, wiiu_common=bytes(16)) as image:
        assert "is wrong" in str(image.volumes[1].problem)


@pytest.mark.parametrize(
    "place", ["game.key", "disc.key", "home/.wiiu/discKeys/game.key", "config/imgmount/keys/wiiu-disc.key"]
)
@pytest.mark.parametrize(
    "title", ["common.key", "home/.wiiu/common.key", "home/.wiiu/titleKeys/0005000010112233.key"]
)
def test_where_keys_are_found(path: Path, tmp_path: Path, place: str, title: str) -> None:
    for name, key in ((place, DISC_KEY), (title, TITLE_KEY if "title" in title else COMMON)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(key)
    with opened(path) as image:
        assert [volume.problem for volume in image.volumes] == [None, None]
        assert [volume.partition.kind for volume in image.volumes] == ["SI", "GM"]


def test_verify_finds_a_changed_block(disc: bytes) -> None:
    keys = {"wiiu-disc": DISC_KEY, "wiiu-common": COMMON}
    from imgmount.filesystems.wiiufst import FORMAT as WIIUFST

    place = len(disc) - 0x20000 + 0x5000
    for data, expected in ((disc, 0), (disc[:place] + b"\0\1" + disc[place + 2 :], 1)):
        given = context(keys=keys)
        part = FORMAT.open(MemoryDevice(data), given)[1].device
        assert len(list(own_check(WIIUFST.open(part, given)))) == expected


@pytest.mark.parametrize("blocks", [1, 4, 37])
def test_hashed_blocks(blocks: int) -> None:
    data = b"".join(bytes([n + 1]) * 0xFC00 for n in range(blocks))
    h0 = [sha1(data[at : at + 0xFC00]).digest() for at in range(0, len(data), 0xFC00)]
    tables = [b"".join(h0[at : at + 16]).ljust(320, b"\0") for at in range(0, blocks, 16)]
    h1 = b"".join(sha1(table).digest() for table in tables).ljust(320, b"\0")
    stored = b""
    for n in range(blocks):
        stored += encrypt_cbc(KEY.key, (tables[n // 16] + h1 + sha1(h1).digest()).ljust(0x400, b"\0"))
        stored += encrypt_cbc(KEY.key, data[n * 0xFC00 :][:0xFC00], h0[n][:16])
    cluster = HashedCluster(MemoryDevice(stored), KEY, ReadCache())
    check_device(cluster, data)
    h3 = sha1(sha1(h1).digest().ljust(320, b"\0")).digest()
    assert list(cluster.verify(blocks, h3)) == []
    assert list(cluster.verify(blocks, None)) == []
    assert list(cluster.verify(1, bytes(20))) == ["block 0 does not match its hash H3"]
    at = (blocks - 1) * 0x10000 + 0x5000
    damaged = HashedCluster(MemoryDevice(stored[:at] + b"\0" + stored[at + 1 :]), KEY, ReadCache())
    assert list(damaged.verify(blocks - 1, h3)) == []
    assert list(damaged.verify(blocks, h3)) == [f"block {blocks - 1} does not match its hash H0"]


@pytest.mark.parametrize("size", [16, 0x10000, 0x10010, 0x28000])
def test_raw_clusters(size: int) -> None:
    data = bytes(n * 7 & 0xFF for n in range(size))
    stored = encrypt_cbc(KEY.key, data, b"\0\5" + bytes(14))
    check_device(RawCluster(MemoryDevice(stored), KEY, 5, ReadCache()), data)
    pieces = [data[at : at + 0x10000] for at in range(0, size, 0x10000)]
    stored = b"".join(
        encrypt_cbc(KEY.key, piece, number.to_bytes(16, "big")) for number, piece in enumerate(pieces)
    )
    check_device(RawCluster(MemoryDevice(stored), KEY._replace(restarts=True), 5, ReadCache()), data)


def fst(nodes: list[tuple[int, int, int]], clusters: int = 1, names: bytes = b"\0a\0") -> bytes:
    head = struct.pack(">4sII20x", b"FST\0", 1, clusters) + bytes(0x20)
    return (
        head
        + b"".join(struct.pack(">IIII", kind << 24 | name, 0, end, 0) for kind, name, end in nodes)
        + names
    )


@pytest.mark.parametrize(
    "nodes",
    [
        [(1, 0, 3), (1, 1, 1), (0, 1, 0)],
        [(1, 0, 3), (1, 1, 0), (0, 1, 0)],
        [(1, 0, 3), (1, 1, 4), (0, 1, 0)],
        [(1, 0, 3), (0, 0xFFFFFF, 0), (0, 1, 0)],
    ],
)
def test_tables_of_files_that_loop(nodes: list[tuple[int, int, int]]) -> None:
    with pytest.raises(FormatError, match="node 1"):
        list(Fst(fst(nodes), "wiiufst").children(0))


BAD = [b"", b"FST\0", fst([(0, 0, 1)]), fst([(1, 0, 0)]), fst([(1, 0, 9)]), fst([(1, 0, 1)], 0xFFFFFF)]


@pytest.mark.parametrize("data", BAD)
def test_no_table_of_files(data: bytes) -> None:
    with pytest.raises(FormatError):
        Fst(data, "wiiufst")


def test_deleted_nodes_are_hidden() -> None:
    table = Fst(fst([(1, 0, 4), (DELETED, 1, 0), (DELETED | DIRECTORY, 1, 3), (0, 1, 0)]), "wiiufst")
    assert [node.number for node in table.children(0)] == [3]


@pytest.mark.parametrize("size", [0x10004, 0x18000, 0x20000, 0x28000, 0x30000, 0x50000])
def test_a_truncated_disc(disc: bytes, size: int) -> None:
    given = context(keys={"wiiu-disc": DISC_KEY, "wiiu-common": COMMON})
    for part in FORMAT.open(MemoryDevice(disc[:size]), given):
        try:
            from imgmount.filesystems.wiiufst import FORMAT as WIIUFST

            WIIUFST.open(part.device, given)
        except (FormatError, KeyRequiredError, UnsupportedError):
            continue
