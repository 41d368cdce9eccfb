"""Imports point one way: down the data flow. The order of the rooms is the order of this list."""

from __future__ import annotations

import ast
from collections.abc import Container
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "imgmount"
ROOMS = ["errors", "core", "codecs", "sources", "families", "containers", "partitions", "filesystems"]
ROOMS += ["format_options", "registry", "chain", "vfs", "jobs", "", "desktop", "fuse", "cli"]
SIBLINGS = {"containers", "partitions", "filesystems"}  # none of these may know another


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def imported(path: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return plain + [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: str(path.relative_to(SRC)))
def test_a_module_imports_only_from_rooms_above_its_own(path: Path) -> None:
    here = room_of(".".join(["imgmount", *path.relative_to(SRC).with_suffix("").parts]))
    if path.name == "__main__.py":
        return
    for module in imported(path):
        if not module.startswith("imgmount"):
            continue
        there = room_of(module)
        assert ROOMS.index(there) <= ROOMS.index(here), f"{path.relative_to(SRC)} imports {module}"
        assert there == here or not {there, here} <= SIBLINGS, f"{path.relative_to(SRC)} imports {module}"
        if here == there == "families":
            assert module.split(".")[2] == path.relative_to(SRC).parts[1], (
                f"{path.relative_to(SRC)} imports {module}"
            )


def run_time_imports(path: Path, modules: Container[str]) -> set[str]:
    """The modules of ours that ``path`` imports when it runs, also inside functions: not those for the checker alone."""
    nodes = ast.parse(path.read_text())
    typed = {
        id(inner)
        for node in ast.walk(nodes)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(nodes):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in typed:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else node.module for name in whole}
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {
        path: ".".join(["imgmount", *path.relative_to(SRC).with_suffix("").parts])
        for path in SRC.rglob("*.py")
    }
    modules = {name.removesuffix(".__init__"): path for path, name in names.items()}
    left = {name: run_time_imports(path, modules) & modules.keys() - {name} for name, path in modules.items()}
    while free := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in free:
            del left[name]
    needed_by_others = {name for name in left if any(name in needed for needed in left.values())}
    assert sorted(needed_by_others) == []
