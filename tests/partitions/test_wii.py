from __future__ import annotations

import hashlib
import lzma
from pathlib import Path

import pytest

from helpers import FIXTURES, context
from imgmount.chain.open import open_image
from imgmount.core.device import BlockDevice
from imgmount.core.format import Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, KeyRequiredError
from imgmount.families.nintendo.title_keys import Ticket
from imgmount.jobs.verify import problems
from imgmount.partitions.wii import FORMAT, about

COMMON = bytes.fromhex("0f1e2d3c4b5a69788796a5b4c3d2e1f0")
START, DATA = 0x50000, 0x70000
BOOT = bytes.fromhex("5d1c9ea3")


@pytest.fixture(scope="module")
def disc() -> bytes:
    return lzma.decompress((FIXTURES / "partitions/wii/encrypted/disc.iso.xz").read_bytes())


@pytest.fixture
def image(disc: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "game.iso"
    path.write_bytes(disc)
    return path


def volume(path: Path, **keys: bytes) -> ImageError | None:
    with open_image(path, Options(keys={name.replace("_", "-"): key for name, key in keys.items()})) as image:
        return image.volumes[0].problem


def data(image: bytes, files: dict[str, bytes] | None = None, **keys: bytes) -> BlockDevice:
    return FORMAT.open(
        MemoryDevice(image), context(files, keys={n.replace("_", "-"): k for n, k in keys.items()})
    )[0].device


def test_without_a_key_the_message_names_it_and_where_it_was_looked_for(image: Path, tmp_path: Path) -> None:
    problem = volume(image)
    assert isinstance(problem, KeyRequiredError)
    for words in (
        "wii-common",
        "--key wii-common=HEX",
        str(tmp_path / "config/imgmount/keys/wii-common.key"),
        "beside",
    ):
        assert words in str(problem)


def test_without_a_key_the_disc_says_who_it_is(image: Path) -> None:
    with open_image(image) as opened:
        assert about(opened.disk) == {
            "game id": "RIMP01", "title": "Made up Wii", "region": "Europe", "maker": "01", "disc": "1", "version": "1.00",
            "console": "Wii",
        }  # fmt: skip
        partition = opened.volumes[0].partition
        assert (partition.kind, partition.name, dict(partition.info)) == (
            "DATA",
            "RIMP",
            {"title id": "0001000052494d50"},
        )
        assert opened.disk.pread(0, 6) == b"RIMP01"


@pytest.mark.parametrize(
    "name", ["game.key", "game.iso.key", "disc.key", "0001000052494d50.key", "common.key"]
)
def test_keys_beside_the_image(image: Path, name: str, disc: bytes) -> None:
    ticket = Ticket.wii(disc[START : START + 0x2A4])
    (image.parent / name).write_bytes(COMMON if name == "common.key" else ticket.title_key(COMMON))
    assert volume(image) is None


def test_a_wrong_key_is_recognised(image: Path) -> None:
    assert "'wii-common' is wrong" in str(volume(image, wii_common=bytes(16)))
    assert "has 3 bytes" in str(volume(image, wii_common=b"abc"))


def test_where_keys_are_found(image: Path, tmp_path: Path) -> None:
    assert volume(image, wii_common=COMMON) is None
    for place, content in (
        (tmp_path / "wii-common.key", COMMON),
        (tmp_path / "config/imgmount/keys/wii-common.key", COMMON.hex().encode() + b"\n"),
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        assert volume(image) is None
        place.write_bytes(b"not a key")
        assert isinstance(volume(image), KeyRequiredError)
        place.unlink()


def test_a_title_key_will_do(disc: bytes) -> None:
    ticket = Ticket.wii(disc[START : START + 0x2A4])
    device = FORMAT.open(MemoryDevice(disc), context(keys={ticket.title_id.hex(): ticket.title_key(COMMON)}))[
        0
    ].device
    assert device.pread(0x18, 4) == BOOT


def test_the_flags_of_the_disc_header(disc: bytes) -> None:
    clear = lzma.decompress((FIXTURES / "partitions/wii/decrypted/clear.iso.xz").read_bytes())
    expected = data(disc, wii_common=COMMON)
    content = expected.pread(0, expected.size)
    flagged = clear[:0x61] + b"\1" + clear[0x62:]
    assert data(flagged).pread(0, 0x7C00) == content[:0x7C00]
    hashless = clear[:0x60] + b"\1\1" + clear[0x62:DATA] + content
    device = data(hashless)
    assert device.pread(0, 0x7C00) == content[:0x7C00]
    assert [run.device for run in device.extents(0, 0x7C00)] == [next(iter(device.extents(0, 1))).device]


def test_verify_finds_a_changed_cluster(disc: bytes) -> None:
    good = data(disc, wii_common=COMMON)
    assert list(good.verify()) == []  # type: ignore[attr-defined]
    at = DATA + 2 * 0x8000 + 0x1234
    bad = data(disc[:at] + bytes([disc[at] ^ 1]) + disc[at + 1 :], wii_common=COMMON)
    assert list(bad.verify()) == ["group 0: cluster 2 does not match its hashes"]  # type: ignore[attr-defined]
    at = START + 0x8000
    bad = data(disc[:at] + bytes(20) + disc[at + 20 :], wii_common=COMMON)
    told = list(bad.verify())  # type: ignore[attr-defined]
    assert told == ["the H3 table does not match the TMD", "group 0: its H2 table does not match H3"]


def test_the_command_asks_a_partition_for_its_hashes(image: Path, disc: bytes) -> None:
    at = DATA + 2 * 0x8000 + 0x1234
    image.write_bytes(disc[:at] + bytes([disc[at] ^ 1]) + disc[at + 1 :])
    with open_image(image, Options(keys={"wii-common": COMMON})) as opened:
        assert "p1: group 0: cluster 2 does not match its hashes" in problems(opened, read=False)


def test_a_partition_that_cannot_be_opened_says_so(disc: bytes) -> None:
    size = START + 0x2A4  # of the TMD, behind the ticket
    broken = disc[:size] + b"\xff" * 4 + disc[size + 4 :]
    part = FORMAT.open(MemoryDevice(broken), context())[0]
    assert (part.device.size, "TMD" in str(part.fault)) == (0, True)


@pytest.mark.parametrize(
    "table", [b"\0\0\0\0", b"\0\0\0\x81", b"\xff\xff\xff\xff", b"\0\0\0\x01\xff\xff\xff\xff"]
)
def test_tables_that_lie(disc: bytes, table: bytes) -> None:
    device = MemoryDevice(disc[:0x40000] + table + disc[0x40000 + len(table) :])
    with pytest.raises(FormatError):
        FORMAT.probe(device)


@pytest.mark.parametrize("size", [0x2A4, START + 0x100, DATA, DATA + 0x8000 - 1, DATA + 0x10000])
def test_a_truncated_disc(disc: bytes, size: int) -> None:
    try:
        parts = FORMAT.open(MemoryDevice(disc[:size]), context(keys={"wii-common": COMMON}))
    except FormatError:
        assert size < 0x40030
        return
    device = parts[0].device
    whole = data(disc, wii_common=COMMON)
    for offset in range(0, device.size, 0x7C00):
        if size < DATA + 0x8000:  # not even the first cluster, so no key can be proved
            with pytest.raises(ImageError):
                device.pread(offset, 1)
            continue
        assert device.pread(offset, 0x7C00) == whole.pread(offset, min(0x7C00, device.size - offset))
    if size == DATA + 0x10000:
        assert device.size == 2 * 0x7C00
        assert hashlib.sha256(device.pread(0, 0x20)).digest() == hashlib.sha256(whole.pread(0, 0x20)).digest()
