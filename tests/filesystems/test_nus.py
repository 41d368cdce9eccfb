"""Titles of the Wii U: as files that an update server has, as an installed title has them, and as a set of parts of a disc."""

from __future__ import annotations

import json
import lzma
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance import manifest
from fixture import fixture_trees
from helpers import FIXTURES, context, wrong
from imgmount.chain.open import open_image
from imgmount.codecs.aes import decrypt_cbc, encrypt_cbc
from imgmount.core.device import BlockDevice
from imgmount.core.format import Options, own_check
from imgmount.core.slices import MemoryDevice
from imgmount.errors import KeyRequiredError, MissingPartError
from imgmount.families.nintendo.wiiu import ContentKey, Fst
from imgmount.families.nintendo.wiiu_title import Tmd
from imgmount.filesystems.wiiufst.volume import Source, WiiuVolume
from imgmount.partitions.wiiu import FORMAT as WIIU

NUS = FIXTURES / "filesystems/nus/title"
DISC = FIXTURES / "partitions/wiiu/disc"
WUX = FIXTURES / "filesystems/wiiufst/wux"
DISC_KEY, COMMON, TITLE_KEY = (bytes.fromhex(digit * 32) for digit in "123")


@pytest.fixture
def title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(NUS, tmp_path / "title")
    return tmp_path / "title"


def problems(path: Path, **keys: bytes) -> list[str]:
    with open_image(path, Options(keys=keys)) as image:
        filesystem = image.volumes[0].filesystem
        assert filesystem is not None, image.volumes[0].problem
        return wrong(own_check(filesystem))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_sound_title(title: Path) -> None:
    assert problems(title / "title.tmd") == []


DAMAGE: list[tuple[str, int, str]] = [
    ("00000010.app", -1, "cluster 0: its data does not match the TMD"),
    ("00000011.app", 5, "cluster 1: its data does not match the TMD"),
    ("00000011.app", 70000, "cluster 1: its data does not match the TMD"),
    ("00000012.h3", 3, "cluster 2: its H3 hashes do not match the TMD"),
    ("00000012.app", 0x12345, "cluster 2: block 1 does not match its hash H0"),
    ("title.tmd", 0xB04 + 8, "cluster 0: its data does not match the TMD"),  # of 2**56 bytes
    ("title.tmd", 0x205, "the TMD does not match its own SHA-256"),
    ("title.tmd", 0xB04 + 0x30 + 0x11, "the TMD's records of contents 0 to 3 do not match their SHA-256"),
]


@pytest.mark.parametrize(("name", "at", "expected"), DAMAGE)
def test_damage_is_found(title: Path, name: str, at: int, expected: str) -> None:
    flip(title / name, at)
    assert expected in problems(title / "title.tmd")


def test_a_missing_h3_file_is_named_and_the_other_hashes_are_still_checked(title: Path) -> None:
    (title / "00000012.h3").unlink()
    assert [line for line in problems(title / "title.tmd") if "00000012.h3" in line]


def test_a_missing_content_costs_its_files(title: Path) -> None:
    (title / "00000012.app").unlink()
    with open_image(title / "title.tmd") as image:
        root = image.volumes[0].filesystem.root
        code, content = (root.lookup(name) for name in ("code", "content"))
        assert code.lookup("app.xml").open().pread(0, 7)  # type: ignore[attr-defined]
        with pytest.raises(MissingPartError, match=r"00000012\.app' is missing"):
            content.lookup("big.bin").open()  # type: ignore[attr-defined]


def test_the_names_of_the_update_server(title: Path) -> None:
    """No ``.app``, a ticket that is called ``cetk``."""
    for path in title.glob("*.app"):
        path.rename(path.with_suffix(""))
    (title / "title.tik").rename(title / "cetk")
    assert problems(title / "title.tmd") == []


def test_without_a_ticket_the_key_of_the_title_will_do(title: Path, tmp_path: Path) -> None:
    (title / "title.tik").unlink()
    with open_image(title / "title.tmd") as image:
        problem = str(image.volumes[0].problem)
        assert "the key '0005000010112233' is needed (there is no ticket, which would have it)" in problem
        assert "titleKeys/0005000010112233.key" in problem
    key = tmp_path / "home/.wiiu/titleKeys/0005000010112233.key"
    key.parent.mkdir(parents=True)
    key.write_text(TITLE_KEY.hex())
    assert problems(title / "title.tmd") == []


def test_the_wrong_key_is_said(title: Path) -> None:
    (title / "wiiu-common.key").write_text("0" * 32)
    with open_image(title / "title.tmd") as image:
        assert isinstance(image.volumes[0].problem, KeyRequiredError)
        assert "is wrong" in str(image.volumes[0].problem)


def parts(stored: Path, folder: Path, names: Iterator[str], size: int) -> Path:
    data = lzma.decompress(stored.read_bytes())
    first = folder / next(names)
    first.write_bytes(data[:size])
    for start in range(size, len(data), size):
        (folder / next(names)).write_bytes(data[start : start + size])
    return first


PARTS: dict[str, tuple[Path, Callable[[int], str]]] = {
    "WUD": (DISC / "game.wud.xz", lambda number: f"game_part{number}.wud"),
    "WUX": (WUX / "game.wux.xz", lambda number: f"game.wux.part{number}"),
}


@pytest.mark.parametrize("kind", PARTS)
def test_an_encrypted_disc_in_parts(tmp_path: Path, kind: str) -> None:
    stored, name = PARTS[kind]
    first = parts(stored, tmp_path, map(name, range(1, 99)), 0x18000)
    (tmp_path / "game.key").write_bytes(DISC_KEY)
    (tmp_path / "common.key").write_bytes(COMMON)
    facts = json.loads(next(stored.parent.glob("expected-*.json")).read_text())
    for path in (first, tmp_path / name(3)):
        with open_image(path) as image:
            trees = {
                volume.name: manifest(volume.filesystem.root) for volume in image.volumes if volume.filesystem
            }
            assert trees == fixture_trees(facts)


def test_one_entry_of_the_table_may_have_several_places() -> None:
    disc = bytearray(lzma.decompress((DISC / "game.wud.xz").read_bytes()))
    toc = bytearray(decrypt_cbc(DISC_KEY, bytes(disc[0x18000:0x20000])))
    units = [int.from_bytes(toc[at + 0x20 : at + 0x24], "big") for at in (0x800, 0x880)]
    toc[0x1C:0x20] = (1).to_bytes(4, "big")
    toc[0x81F] = 2
    for number, unit in enumerate(units):
        toc[0x820 + 4 * number : 0x824 + 4 * number] = unit.to_bytes(4, "big")
    disc[0x18000:0x20000] = encrypt_cbc(DISC_KEY, bytes(toc[:0x8000]))
    found = WIIU.open(MemoryDevice(bytes(disc)), context(keys={"wiiu-disc": DISC_KEY, "wiiu-common": COMMON}))
    assert [(partition.index, partition.kind) for partition in found] == [(1, "SI"), (2, "SI")]
    assert [partition.device.size for partition in found] == [
        (units[1] - units[0]) * 0x8000,
        len(disc) - units[1] * 0x8000,
    ]


@pytest.mark.parametrize(("at", "expected"), [(0x50, "its H3 hashes do not match the TMD"), (None, None)])
def test_the_h3_hashes_of_a_disc(at: int | None, expected: str | None) -> None:
    from imgmount.filesystems.wiiufst import FORMAT as WIIUFST

    disc = bytearray(lzma.decompress((DISC / "game.wud.xz").read_bytes()))
    toc = decrypt_cbc(DISC_KEY, bytes(disc[0x18000:0x20000]))
    start = int.from_bytes(toc[0x8A0:0x8A4], "big") * 0x8000
    if at is not None:
        disc[start + at] ^= 1
    given = context(keys={"wiiu-disc": DISC_KEY, "wiiu-common": COMMON})
    found = list(own_check(WIIUFST.open(WIIU.open(MemoryDevice(bytes(disc)), given)[1].device, given)))
    blocks = [f"cluster 2: block {block} does not match its hash H3" for block in (0, 1)]
    assert found == ([] if expected is None else [f"cluster 2: {expected}", *blocks])


class Named(Source):
    """A table of files with names that are paths."""

    tmd: Tmd | None = None

    def __init__(self) -> None:
        names = b"../../etc/passwd\0..\0/\0.\0\0"
        nodes = [(1, 0, 6), *((0, at, 1) for at in (0, 17, 20, 22, 24))]
        raw = b"FST\0" + (1).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes(20) + bytes(32)
        for kind, name, last in nodes:
            raw += (kind << 24 | name).to_bytes(4, "big") + bytes(4) + last.to_bytes(4, "big") + bytes(4)
        self.fst = Fst(raw + names, "wiiufst")

    def stored(self, index: int) -> tuple[BlockDevice, ContentKey | None]:
        del index
        return MemoryDevice(b"data"), None

    def h3(self, index: int) -> bytes:
        del index
        return b""


def test_names_that_are_paths() -> None:
    names = list(WiiuVolume(Named(), context()).root.listing().nodes)
    assert names == ["..\u2215..\u2215etc\u2215passwd", "__", "\u2215", "_", "_ (1)"]
