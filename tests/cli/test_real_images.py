"""``extract``, ``ls`` and ``verify`` on every fixture that has a tree: the same bytes that independent tools found."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest

from fixture import Fixture, all_fixtures, fixture_trees
from imgmount.cli.main import main

WITH_TREE = [fixture for fixture in all_fixtures() if "disk" in fixture.facts.get("trees", {})]


def words(fixture: Fixture) -> list[str]:
    options = fixture.facts.get("options", {})
    extra = [word for name, value in options.get("extra", {}).items() for word in ("-X", f"{name}={value}")]
    return extra + [
        word for name, value in options.items() if isinstance(value, str) for word in (f"--{name}", value)
    ]


def found(folder: Path) -> dict[str, tuple[int, str] | str]:
    """What the host has, as ``conformance.manifest`` writes it."""
    facts: dict[str, tuple[int, str] | str] = {}
    for path in folder.rglob("*"):
        mode, name = path.lstat().st_mode, str(path.relative_to(folder))
        if stat.S_ISREG(mode):
            content = path.read_bytes()
            facts[name] = (len(content), hashlib.sha256(content).hexdigest())
        elif stat.S_ISLNK(mode):
            facts[name] = f"-> {path.readlink()}"
        else:
            facts[name] = "/" if stat.S_ISDIR(mode) else "special"
    return facts


@pytest.mark.parametrize("fixture", WITH_TREE, ids=str)
def test_extract_gives_what_the_oracles_gave(fixture: Fixture, tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    image = str(fixture.image_path(tmp_path / "image"))
    assert main(["extract", image, "-C", str(tmp_path / "out"), *words(fixture)]) == 0
    expected = {
        path: fact for path, fact in fixture_trees(fixture.facts)["disk"].items() if fact != "special"
    }
    for path, fact in expected.items():
        if isinstance(fact, str) and fact.startswith("-> "):
            expected[path] = f"-> {Path(fact[3:])}"  # pathlib drops a '.' in the middle, on both sides
    assert found(tmp_path / "out") == expected


@pytest.mark.parametrize("fixture", WITH_TREE, ids=str)
def test_ls_names_what_the_oracles_named(
    fixture: Fixture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(fixture.image_path(tmp_path))
    assert main(["ls", "-R", "-a", "--json", image, *words(fixture)]) == 0
    assert {entry["path"][1:] for entry in json.loads(capsys.readouterr().out)} == set(
        fixture_trees(fixture.facts)["disk"]
    )
    assert main(["verify", image, *words(fixture)]) == (2 if "damaged" in fixture.facts else 0)
