"""Every fixture of every format, damaged in many ways: the right bytes, ``ImageError`` or ``OSError``, and no more."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from damage import Damage, misread, tried
from damage_toys import IMAGE
from fixture import Fixture, all_fixtures
from helpers import FIXTURES

COUNT = int(os.environ.get("IMGMOUNT_DAMAGE", "10"))  # damages to each fixture
DAMAGED = [fixture for fixture in all_fixtures() if fixture.expected.stem == "expected"]

# Whatever these serve is covered by a checksum that is compared when it is read.
PROTECTED = {"bzip2", "ewf", "gcz", "xz"}
UNCHECKED = {("xz", "streams")}  # one of its streams has the check "none"


@pytest.mark.parametrize("fixture", DAMAGED, ids=str)
def test_damage_is_right_bytes_or_an_error(fixture: Fixture, tmp_path: Path) -> None:
    image = fixture.image_path(tmp_path)
    if not image.is_relative_to(tmp_path):  # one that is not unpacked: it must not be changed in its place
        shutil.copytree(fixture.expected.parent, tmp_path, dirs_exist_ok=True)
        image = tmp_path / image.relative_to(fixture.expected.parent)
    found = tried(image, COUNT, str(fixture))
    assert found["failures"] == []
    assert found["tried"] == COUNT
    if fixture.format in PROTECTED and (fixture.format, fixture.variant) not in UNCHECKED:
        assert found["wrong"] == []


@pytest.mark.parametrize(
    ("toy", "failure"), [("struct", "error: unpack"), ("limit", "MemoryError"), ("loop", "TooMuch")]
)
def test_a_planted_mistake_is_caught(toy: str, failure: str, tmp_path: Path) -> None:
    image = tmp_path / "toy"
    image.write_bytes(IMAGE)
    found = tried(image, 600, "toy", toy)
    assert any(failure in line for line in found["failures"]), found


def test_of_a_folder_every_file_is_damaged_and_made_whole_again(tmp_path: Path) -> None:
    source = FIXTURES / "containers/sparsebundle/plain"
    bundle = tmp_path / "disk.sparsebundle"
    shutil.copytree(source, bundle)
    before = {file: file.read_bytes() for file in bundle.rglob("*") if file.is_file()}
    found = tried(bundle, 2 * len(before), "folder")
    assert (found["failures"], found["tried"]) == ([], 2 * len(before))
    assert {file: file.read_bytes() for file in bundle.rglob("*") if file.is_file()} == before


def test_a_file_of_another_size_or_content_is_seen() -> None:
    damage = Damage("flip", 0, b"x")
    first = {"/same": [512, 1, 2], "/longer": [512, 1, 2], "/other": [2048, *range(8)], "/one": [512, 1, 2]}
    found = {
        "/same": [512, 1, 2],
        "/longer": [513, 1, 2],
        "/other": [2048, *range(8, 16)],
        "/one": [512, 1, 3],
    }
    assert misread(first, found, damage) == ["/longer", "/other"]


def test_a_toy_without_mistakes_passes(tmp_path: Path) -> None:
    image = tmp_path / "toy"
    image.write_bytes(IMAGE)
    found = tried(image, 40, "toy", "right")
    assert (found["failures"], found["tried"]) == ([], 40)
    assert found["wrong"]  # it has no checksum
    assert image.read_bytes() == IMAGE
