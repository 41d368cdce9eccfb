"""A made-up filesystem, registered for one test, so that commands can be tried on trees that no tool would write."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fake_tree import Fixed
from imgmount import registry
from imgmount.core.checks import Finding
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, FilesystemFormat, Magic
from imgmount.core.node import Directory, Filesystem, Node
from imgmount.errors import ImageError, MountError
from imgmount.format_options import all_options

MAGIC = b"made up"


class MadeUp(Filesystem):
    label = "LABEL"

    def __init__(self, root: Directory, problems: list[Finding], failure: ImageError | None) -> None:
        if failure is not None:
            raise failure
        self._root = root
        self._problems = problems

    @property
    def root(self) -> Directory:
        return self._root

    def info(self) -> Mapping[str, str]:
        return {"fact": "yes"}

    def verify(self) -> Iterator[Finding]:
        return iter(self._problems)


class Maker:
    """``maker(nodes)`` is the path of an image that holds them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "made up.img"
        self.root: Directory = Fixed(1, {})
        self.problems: list[Finding] = []
        self.opinions: list[str] = []
        self.failure: ImageError | None = None
        self.library = True
        self.context: Context | None = None
        module = ModuleType("made_up_formats.made_up")
        fmt = FilesystemFormat(
            name="made-up",
            title="made up",
            open=self._open,
            second_opinion=self._opinion,
            options=tuple(all_options().values()),
        )
        vars(module)["FORMAT"] = fmt
        monkeypatch.setitem(sys.modules, "made_up_formats", ModuleType("made_up_formats"))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        entry = registry.Entry("made_up", (Magic(0, MAGIC),))
        monkeypatch.setitem(registry.TABLES, FilesystemFormat, ("made_up_formats", (entry,)))

    def _open(self, _: BlockDevice, context: Context) -> MadeUp:
        self.context = context
        return MadeUp(self.root, self.problems, self.failure)

    def _opinion(self, _: MadeUp) -> Iterator[str]:
        if not self.library:
            raise MountError("the second opinion needs a library")
        yield from self.opinions

    def __call__(self, nodes: Mapping[str, Node], **options: Any) -> str:
        self.root = Fixed(1, nodes)
        vars(self).update(options)
        self.path.write_bytes(MAGIC.ljust(4096, b"\1"))
        return str(self.path)
