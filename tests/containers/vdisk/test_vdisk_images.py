"""Virtual disks that other people made: byte for byte what other tools read from them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from helpers import IMAGES, image
from imgmount.chain.open import open_image

FAMILIES = ("vhd", "vhdx", "vmdk", "vdi", "qcow2", "parallels", "other-block")
PACKED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
REFUSED = (
    "fat-differential.vhd",
    "vmfs_thick-000001.vmdk",
    "twoGbMaxExtentSparse-s001.vmdk",
)  # see their formats' tests
LARGE = ("xfs.vhdx.gz",)  # 675 MB unpacked


def rows() -> list[dict[str, Any]]:
    index = IMAGES / "INDEX.json"
    found: list[dict[str, Any]] = json.loads(index.read_text()) if index.exists() else []
    return [row for row in found if row["family"] in FAMILIES and not row["file"].endswith(REFUSED + LARGE)]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_an_image_of_other_people(row: dict[str, Any], tmp_path: Path) -> None:
    path = image(row["file"])
    if path.suffix in PACKED:
        with PACKED[path.suffix](path) as packed:
            path = tmp_path / path.stem
            path.write_bytes(packed.read())
    with open_image(path) as opened:
        assert len(opened.layers) == 2 or path.name.endswith("-flat.vmdk")
        for offset in range(0, opened.disk.size, opened.disk.size // 64 + 1):
            opened.disk.pread(offset, 70_000)
        if "raw" in row:
            content = opened.disk.pread(0, opened.disk.size)
            assert [len(content), hashlib.sha256(content).hexdigest()] == row["raw"]
