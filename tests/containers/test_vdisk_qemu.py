"""Every variant of every virtual disk that qemu can write, compared with what qemu reads from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vdisk import check, create, raw_of, scribble

MIB = 1 << 20
PLAIN = [  # qemu's name, ours, creation options, size
    ("vpc", "vhd", "subformat=dynamic", 9 * MIB + 512 * 7),
    ("vpc", "vhd", "subformat=dynamic,force_size=on", 9 * MIB + 512 * 7),
    ("vpc", "vhd", "subformat=fixed,force_size=on", 3 * MIB + 512),
    ("vdi", "vdi", "", 9 * MIB + 512 * 7),
    ("vdi", "vdi", "static=on", 5 * MIB),
]


@pytest.mark.parametrize(("fmt", "name", "options", "size"), PLAIN, ids=lambda value: str(value).replace(",", "-"))
def test_a_scribbled_image(tmp_path: Path, fmt: str, name: str, options: str, size: int) -> None:
    image = scribble(create(tmp_path / "disk.img", fmt, size, options), fmt, size, seed=size)
    check(image, raw_of(image, fmt), name)
