"""The documentation is true: its examples run, its links lead somewhere, its picture shows the rooms that there are."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from runpy import run_path
from xml.etree import ElementTree as ET

import pytest

from helpers import FIXTURES, register_with_fsspec
from imgmount.registry import TABLES, all_formats
from test_layers import ROOMS

TOP = FIXTURES.parent
REFUSED = {".aea", ".aar", ".gho"}  # recognised, and not read
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


def test_the_readme_lists_the_extensions_of_all_formats() -> None:
    text = (TOP / "README.md").read_text()
    table = text[text.index("## What it reads") : text.index("## Views")]
    listed = re.findall(r"`((?:title)?\.\w+)`", table)
    known = {
        ending
        for kind in TABLES
        for fmt in all_formats(kind)
        if fmt.name != "unread"
        for ending in fmt.extensions
    }
    assert set(listed) == known - REFUSED
    assert len(listed) == len(set(listed))


def test_the_picture_of_a_session_is_of_the_session_that_the_script_runs() -> None:
    script = run_path(str(TOP / "scripts/cast.py"))
    session = [(command, ["a < b", ""]) for command in script["SESSION"]]
    drawn = "\n".join(script["draw"](iter(session)))
    picture = (TOP / "docs/session.svg").read_text()
    for source in (drawn, picture):
        texts = [element.text for element in ET.fromstring(source).iter("{http://www.w3.org/2000/svg}text")]
        words = [word for command in script["SESSION"] for word in ("$", *command.split())]
        shown = iter(texts)
        assert all(word in shown for word in words)  # in this order
    assert drawn.count(">a &lt; b</text>") == len(session)
