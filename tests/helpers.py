"""Small things that many tests need."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

import pytest

from imgmount.core.cache import ReadCache
from imgmount.core.checks import Finding
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import MissingPartError
from imgmount.jobs.reading import Reader
from imgmount.jobs.verify import told

SRC = str(Path(__file__).parent.parent / "src")
FIXTURES = Path(__file__).parent.parent / "fixtures"
# images made by others: not part of the repository, and absent on most machines
IMAGES = Path(os.environ.get("IMGMOUNT_IMAGES") or FIXTURES.parent.parent / "shared" / "images")


class NoSiblings:
    """An image that stands alone; ``files`` are what lies beside it."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = files or {}

    def names(self) -> Sequence[str]:
        return sorted(self.files)

    def beside(self, file: BlockDevice) -> NoSiblings:  # noqa: ARG002
        return self

    def within(self, folder: str) -> NoSiblings:
        start = f"{folder}/"
        return NoSiblings(
            {name[len(start) :]: data for name, data in self.files.items() if name.startswith(start)}
        )

    def open(self, name: str) -> BlockDevice:
        base = name.replace("\\", "/").rpartition("/")[2]
        if base not in self.files:
            raise MissingPartError(f"{name!r} is missing")
        return MemoryDevice(self.files[base])


def context(files: dict[str, bytes] | None = None, **options: object) -> Context:
    """A context for opening a device in a test."""
    return Context(Path("test.img"), NoSiblings(files), ReadCache(4 << 20), Options(**options))  # type: ignore[arg-type]


def wrong(findings: Iterable[Finding]) -> list[str]:
    """The problems among what the ``verify`` of a format tells, with its checksums compared."""
    return [str(found) for found in told("", findings, Reader()) if found.is_problem]


def tool(name: str) -> str:
    """The path of an oracle; the test skips where it is not installed."""
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )  # some come with pip
    return shutil.which(name, path=path) or pytest.skip(f"{name} is not installed")


def image(relative: str) -> Path:
    """An image made by others; the test skips where that collection is absent."""
    path = IMAGES / relative
    return (
        path
        if path.exists()
        else pytest.skip("the collection of third-party images is not here: IMGMOUNT_IMAGES names its folder")
    )


def register_with_fsspec() -> None:
    """What installing the package does: the class that pyproject.toml declares answers for ``imgmount://``."""
    import fsspec

    project = tomllib.loads((FIXTURES.parent / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["fsspec.specs"]["imgmount"].partition(":")
    fsspec.register_implementation("imgmount", getattr(import_module(module), name), clobber=True)
