"""Every fixture of every format, damaged in many ways: the right bytes, ``ImageError`` or ``OSError``, and no more."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from damage import tried
from damage_toys import IMAGE
from fixture import Fixture, all_fixtures

COUNT = int(os.environ.get("IMGMOUNT_DAMAGE", "10"))  # damages to each fixture
DAMAGED = [fixture for fixture in all_fixtures() if fixture.expected.stem == "expected"]

# Whatever these serve is covered by a checksum that is compared when it is read.
PROTECTED = {"bzip2", "ewf", "gcz", "xz"}


@pytest.mark.parametrize("fixture", DAMAGED, ids=str)
def test_damage_is_right_bytes_or_an_error(fixture: Fixture, tmp_path: Path) -> None:
    image = tmp_path / fixture.image_path(tmp_path).name
    if not image.exists():  # one that is not unpacked: it must not be changed in its place
        shutil.copytree(fixture.expected.parent, tmp_path, dirs_exist_ok=True)
    found = tried(image, COUNT, str(fixture))
    assert found["failures"] == []
    assert found["tried"] == COUNT
    if fixture.format in PROTECTED:
        assert found["wrong"] == []


@pytest.mark.parametrize(
    ("toy", "failure"), [("struct", "error: unpack"), ("limit", "MemoryError"), ("loop", "TooMuch")]
)
def test_a_planted_mistake_is_caught(toy: str, failure: str, tmp_path: Path) -> None:
    image = tmp_path / "toy"
    image.write_bytes(IMAGE)
    found = tried(image, 600, "toy", toy)
    assert any(failure in line for line in found["failures"]), found


def test_a_toy_without_mistakes_passes(tmp_path: Path) -> None:
    image = tmp_path / "toy"
    image.write_bytes(IMAGE)
    found = tried(image, 40, "toy", "right")
    assert (found["failures"], found["tried"]) == ([], 40)
    assert found["wrong"]  # it has no checksum
    assert image.read_bytes() == IMAGE
