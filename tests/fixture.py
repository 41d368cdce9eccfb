"""Fixtures: ``fixtures/<kind>/<format>/<variant>/`` holds an image, how it was made, and what independent tools found in it.

``expected*.json`` (several, where one image is to be opened in several ways):

    image      the file to open; one that ends in .xz is unpacked to a scratch folder first, with its neighbours, unless
    packed     is true: then the compression is what the fixture is about
    options    fields of ``Options``
    chain      what ``str(image)`` must be
    raw        [size, SHA-256] of the disk
    parts      {"p1": [size, SHA-256]} of partitions
    files      {"track01.iso": [size, SHA-256]} of what partitions show in the raw view
    refused    the one line with which opening it fails, for formats that are recognised only
    trees      {"disk" or "p1": {path: [size, SHA-256] | "-> target" | "/" | "special"}}
    damaged    what is damaged, where that is the point: the content is right nevertheless, and ``verify`` says so
    oracle     which tools say so
"""

from __future__ import annotations

import json
import lzma
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import FIXTURES
from imgmount.chain.open import Image, open_image
from imgmount.core.format import Options


@dataclass(frozen=True)
class Fixture:
    kind: str
    format: str
    variant: str
    expected: Path

    def __str__(self) -> str:
        return f"{self.format}/{self.variant}/{self.expected.stem}"

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.expected.read_text())
        return facts

    def image_path(self, scratch: Path) -> Path:
        """The image, unpacked into ``scratch`` if it is stored compressed."""
        folder, name = self.expected.parent, self.facts["image"]
        if self.facts.get("packed") or not name.endswith(".xz"):
            return folder / str(name)
        for stored in folder.iterdir():
            if stored.suffix == ".xz":
                unpack(stored, scratch / stored.stem)
            elif stored.is_file():
                shutil.copy(stored, scratch)
        return scratch / str(name).removesuffix(".xz")

    def open(self, scratch: Path) -> Image:
        return open_image(self.image_path(scratch), Options(**self.facts.get("options", {})))


def unpack(packed: Path, target: Path) -> None:
    """Unpack an .xz file, keeping zeros as holes."""
    with lzma.open(packed) as source, target.open("wb") as out:
        while block := source.read(1 << 20):
            if block.count(0) == len(block):
                out.seek(len(block), 1)
            else:
                out.write(block)
        out.truncate()


def all_fixtures() -> list[Fixture]:
    return [
        Fixture(path.parts[-4], path.parts[-3], path.parts[-2], path)
        for path in sorted(FIXTURES.glob("*/*/*/expected*.json"))
    ]


def fixture_trees(facts: dict[str, Any]) -> dict[str, dict[str, tuple[int, str] | str]]:
    """The trees of ``expected.json`` as ``conformance.manifest`` writes them."""
    return {
        volume: {path: tuple(fact) if isinstance(fact, list) else fact for path, fact in tree.items()}
        for volume, tree in facts.get("trees", {}).items()
    }
