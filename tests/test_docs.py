"""The documentation is true: its examples run, its links lead somewhere, its picture shows the rooms that there are."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from helpers import FIXTURES, register_with_fsspec
from test_layers import ROOMS

TOP = FIXTURES.parent
PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").glob("*.md"), TOP / "fixtures" / "README.md"])


def test_the_examples_of_the_python_api_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    register_with_fsspec()
    text = re.sub(r"^```.*\n", "", (TOP / "docs/python-api.md").read_text(), flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(text, {}, "python-api.md", None, 0)
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL).run(
        examples
    )
    assert result.attempted > 40
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", page.read_text()) if ":" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/architecture.svg", "docs/architecture.dot"])
def test_every_room_is_described(page: str) -> None:
    text = (TOP / page).read_text()
    assert [room for room in ROOMS if room and room not in text] == []


@pytest.mark.parametrize(
    "page", [TOP / "CONTRIBUTING.md", TOP / "docs/architecture.md"], ids=lambda page: page.name
)
def test_files_that_pages_name_exist(page: Path) -> None:
    rooms = "src|tests|fixtures|docs|containers|partitions|filesystems|families|codecs|core"
    named = re.findall(rf"`((?:{rooms})/[\w./-]+)`", page.read_text())
    roots = (TOP, TOP / "src" / "imgmount")
    assert named
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []
