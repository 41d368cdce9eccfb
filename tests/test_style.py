"""Habits of the code that no linter knows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "imgmount"
COLUMNS = 110


def kept(raised: ast.expr | None) -> bool:
    """Whether what is raised lies in an object or a collection: ``self._error``, ``errors[0]``, one ``or`` another."""
    if isinstance(raised, ast.BoolOp):
        return any(map(kept, raised.values))
    if isinstance(raised, ast.IfExp):
        return kept(raised.body) or kept(raised.orelse)
    return isinstance(raised, ast.Attribute | ast.Subscript)


def test_no_line_is_too_long() -> None:
    """Of tables and comments as well, which the formatter leaves alone."""
    files = ((path, path.read_text().splitlines()) for path in sorted(SRC.rglob("*.py")))
    long = [
        f"{path}:{number}"
        for path, lines in files
        for number, line in enumerate(lines, 1)
        if len(line) > COLUMNS
    ]
    assert long == []


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: str(path.relative_to(SRC)))
def test_a_kept_error_is_raised_afresh(path: Path) -> None:
    """Each raise of the same object adds to its traceback, which holds on to the frames: raise ``error.again()``."""
    raises = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]
    assert [node.lineno for node in raises if kept(node.exc)] == []


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("raise self._error", True),
        ("raise errors[0] from None", True),
        ("raise self.damage or ValueError()", True),
        ("raise self.damage if late else other", True),
        ("raise self._error.again()", False),
        ("raise ValueError", False),
        ("raise", False),
    ],
)
def test_the_rule_itself(code: str, wrong: bool) -> None:
    (statement,) = ast.parse(code).body
    assert isinstance(statement, ast.Raise)
    assert kept(statement.exc) is wrong
