from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import check_device
from imgmount.chain.open import open_image
from imgmount.errors import ImageError, MissingPartError
from imgmount.families.nintendo.split_sets import RULES
from imgmount.sources.siblings import FolderSiblings
from imgmount.sources.split import open_source

SETS = {
    "from 1": ["disk.001", "disk.002", "disk.003"],
    "from 0": ["disk.000", "disk.001", "disk.002"],
    "four digits": ["disk.img.0001", "disk.img.0002"],
    "wider by need": [f"d.{number:03}" for number in range(1, 1003)],
    "part": [f"game.wux.part{number}" for number in range(1, 12)],
    "part padded": [f"game.wux.part{number:02}" for number in range(12)],
    "Wii U": [f"game_part{number}.wud" for number in range(1, 13)],
    "PART": ["GAME.PART1", "GAME.PART2"],
    "Dolphin": ["game.part0.iso", "game.part1.iso", "game.part2.iso"],
    "WBFS": ["game.wbfs", *(f"game.wbf{number}" for number in range(1, 12))],
    "wbfs in another case": ["GAME.WBFS", "GAME.wbf1", "GAME.WBF2"],
}


def write(folder: Path, names: list[str]) -> bytes:
    parts = [os.urandom(700 + number) for number, _ in enumerate(names)]
    for name, part in zip(names, parts, strict=True):
        (folder / name).write_bytes(part)
    return b"".join(parts)


def read(path: Path) -> bytes:
    siblings = FolderSiblings(path)
    try:
        device = open_source(path, siblings, RULES)
        data = device.pread(0, device.size)
        device.close()
        return data
    finally:
        siblings.close()


@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_any_part_opens_the_set(tmp_path: Path, names: list[str]) -> None:
    disk = write(tmp_path, names)
    write(
        tmp_path,
        ["disk.1", "disk.01", "disk.00001", "disk.part1", "other.002", "game.wux", "d.txt", "d.part01"],
    )
    for name in {names[0], names[len(names) // 2], names[-1]}:
        assert read(tmp_path / name) == disk


def test_the_set_is_one_device(tmp_path: Path) -> None:
    disk = write(tmp_path, SETS["from 1"])
    siblings = FolderSiblings(tmp_path / "disk.001")
    check_device(open_source(tmp_path / "disk.002", siblings, RULES), disk)
    assert [path.name for path in siblings.files.paths] == SETS["from 1"]
    siblings.close()


@pytest.mark.parametrize(
    ("names", "opened", "missing"),
    [
        (["disk.001", "disk.003"], "disk.003", "disk.002"),
        (["disk.000", "disk.099", "disk.100"], "disk.100", "disk.001"),
        (["g.part1", "g.part2", "g.part10"], "g.part10", "g.part3"),
        (["g.part01", "g.part03"], "g.part01", "g.part02"),
        (["d.999", "d.1000", "d.001"], "d.1000", "d.002"),
    ],
)
def test_a_gap_is_named(tmp_path: Path, names: list[str], opened: str, missing: str) -> None:
    write(tmp_path, names)
    with pytest.raises(MissingPartError, match=f"{missing} is missing"):
        open_image(tmp_path / opened)


@pytest.mark.parametrize(
    "names",
    [
        ["disk.001"],
        ["disk.000"],
        ["disk.002"],
        ["disk.002", "disk.003"],
        ["a.2024", "a.2025"],
        ["d.01", "d.02"],
        ["disk.img"],
    ],
    ids=str,
)
def test_a_file_alone_is_itself(tmp_path: Path, names: list[str]) -> None:
    write(tmp_path, names)
    for name in names:
        assert read(tmp_path / name) == (tmp_path / name).read_bytes()


def test_two_ways_to_write_one_number_are_not_guessed_at(tmp_path: Path) -> None:
    write(tmp_path, ["g.part01", "g.part1", "g.part10"])
    with pytest.raises(ImageError, match="both"):
        open_image(tmp_path / "g.part10")


def test_a_link_opens_the_set_that_its_target_belongs_to(tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    disk = write(folder, SETS["from 1"])
    (tmp_path / "link.img").symlink_to(folder / "disk.002")
    assert read(tmp_path / "link.img") == disk


MAGICS = {
    "iso": bytes(0x18) + b"\x5d\x1c\x9e\xa3", "gcm": bytes(0x1C) + b"\xc2\x33\x9f\x3d", "ciso": b"CISO", "wdf": b"WII\1DISC",
    "wia": b"WIA\1", "gcz": b"\x01\xc0\x0b\xb1",
}  # fmt: skip


@pytest.mark.parametrize("suffix", MAGICS)
def test_discs_as_wit_cuts_them(tmp_path: Path, suffix: str) -> None:
    parts = [MAGICS[suffix].ljust(700, b"a"), b"b" * 700, b"c" * 699]
    for number, part in enumerate(parts):
        (tmp_path / f"g.{suffix}{f'.{number}' if number else ''}").write_bytes(part)
    for name in (f"g.{suffix}", f"g.{suffix}.1", f"g.{suffix}.2"):
        assert read(tmp_path / name) == b"".join(parts)


@pytest.mark.parametrize(
    "others",
    [
        [MAGICS["iso"].ljust(700, b"b")],  # a second download, or another disc
        [b"b" * 701],
        [b"b" * 699, b"c" * 700],
    ],
)
def test_a_second_download_is_no_part(tmp_path: Path, others: list[bytes]) -> None:
    files = [MAGICS["iso"].ljust(700, b"a"), *others]
    names = ["g.iso", "g.iso.1", "g.iso.2"][: len(files)]
    for name, content in zip(names, files, strict=True):
        (tmp_path / name).write_bytes(content)
    for name, content in zip(names, files, strict=True):
        assert read(tmp_path / name) == content


def test_a_file_that_is_no_disc_has_no_parts(tmp_path: Path) -> None:
    write(tmp_path, ["g.iso", "g.iso.1", "h.wbf1", "g.wia.1"])
    for name in ("g.iso", "g.iso.1", "h.wbf1", "g.wia.1"):
        assert read(tmp_path / name) == (tmp_path / name).read_bytes()


def test_part_of_a_wux_disc(tmp_path: Path) -> None:
    source = Path(__file__).parent.parent.parent / "fixtures/containers/wux/plain/game.wux"
    data = source.read_bytes()
    for number, start in enumerate(range(0, len(data), 40_000), 1):
        (tmp_path / f"game.wux.part{number}").write_bytes(data[start : start + 40_000])
    with open_image(source) as whole, open_image(tmp_path / "game.wux.part3") as split:
        assert str(split) == "file > wux"
        check_device(split.disk, whole.disk.pread(0, whole.disk.size))


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before
