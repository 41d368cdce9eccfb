"""Raw images cut into numbered files: ``disk.000``, ``disk.001``... or ``disk.001``, ``disk.002``... Any part opens the set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from imgmount.core.device import BlockDevice
from imgmount.core.slices import Concat
from imgmount.errors import MissingPartError
from imgmount.sources.file import FileDevice
from imgmount.sources.siblings import FolderSiblings

_NUMBERED = re.compile(r"(?P<stem>.+\.)(?P<number>\d{3,4})")


def open_source(path: Path, siblings: FolderSiblings) -> BlockDevice:
    """The file at ``path``, or the set of numbered files that it belongs to. Raises ``MissingPartError`` for a gap."""
    names = _part_names(path.name, siblings.names()) if _NUMBERED.fullmatch(path.name) else []
    if len(names) < 2:
        return FileDevice(path)
    return Concat.of([siblings.open(name) for name in names])


def _part_names(name: str, present: Sequence[str]) -> list[str]:
    """The set's names in order. A set begins at 0 or 1; a number missing before the last one present is an error."""
    stem, width = _split(name)
    numbers = sorted(number for other in present if (number := _number(other, stem, width)) is not None)
    if not numbers or numbers[0] > 1:
        return []
    missing = set(range(numbers[0], numbers[-1])) - set(numbers)
    if missing:
        raise MissingPartError(f"{stem}{min(missing):0{width}} is missing: it belongs between the parts beside it")
    return [f"{stem}{number:0{width}}" for number in numbers]


def _split(name: str) -> tuple[str, int]:
    found = _NUMBERED.fullmatch(name)
    assert found is not None
    return found["stem"], len(found["number"])


def _number(name: str, stem: str, width: int) -> int | None:
    number = name.removeprefix(stem)
    return int(number) if name.startswith(stem) and len(number) == width and number.isdecimal() else None
