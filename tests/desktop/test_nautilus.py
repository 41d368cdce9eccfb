"""The menu of GNOME Files, with a stand-in for Files itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fake_programs import FakePrograms
from helpers import FIXTURES

EXTENSION = FIXTURES.parent / "packaging/desktop/nautilus-python/extensions/imgmount_menu.py"


@dataclass
class Item:
    name: str
    label: str
    calls: list[Callable[[], None]] = field(default_factory=list)

    def connect(self, _: str, callback: Callable[..., None], *more: object) -> None:
        self.calls.append(lambda: callback(self, *more))


@dataclass
class File:
    path: str
    kind: str = "application/x-cd-image"
    scheme: str = "file"

    def get_uri_scheme(self) -> str:
        return self.scheme

    def get_mime_type(self) -> str:
        return self.kind

    def get_location(self) -> SimpleNamespace:
        return SimpleNamespace(get_path=lambda: self.path)


@pytest.fixture
def menu(monkeypatch: pytest.MonkeyPatch) -> Any:
    repository = ModuleType("gi.repository")
    provider = type("MenuProvider", (), {})
    vars(repository).update(
        GObject=SimpleNamespace(GObject=type("GObject", (), {})),
        Nautilus=SimpleNamespace(MenuProvider=provider, MenuItem=Item),
    )
    monkeypatch.setitem(sys.modules, "gi", ModuleType("gi"))
    monkeypatch.setitem(sys.modules, "gi.repository", repository)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # into a folder that is installed as it is
    spec = spec_from_file_location("imgmount_menu", EXTENSION)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ImgmountMenu()


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        ([File("/a.iso")], ["Mount disk image", "Unmount disk image"]),
        ([File("/a.cue", "application/x-cue")], ["Mount disk image", "Unmount disk image"]),
        ([File("/a.iso"), File("/b.iso")], ["Unmount disk image"]),
        ([File("/a.iso"), File("/b.txt", "text/plain")], []),
        ([File("/a.iso", scheme="smb")], []),
        ([], []),
    ],
)
def test_images_of_this_machine_are_offered(files: list[File], labels: list[str], menu: Any) -> None:
    assert [item.label for item in menu.get_file_items(files)] == labels
    assert [item.label for item in menu.get_file_items(object(), files)] == labels  # version 3


def test_what_is_chosen_runs(menu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = FakePrograms(tmp_path / "bin")
    programs.add("imgmount")
    monkeypatch.setenv("PATH", str(programs.folder))
    monkeypatch.setattr("subprocess.Popen.__del__", lambda _: None)  # Files lives on, and never asks
    for item in menu.get_file_items([File("/my disc.iso")]):
        item.calls[0]()
    assert sorted(programs.calls(2)) == [
        ["imgmount", "--open", "--notify", "/my disc.iso"],
        ["imgmount", "--unmount", "--notify", "/my disc.iso"],
    ]
