"""A QCOW2 with an ext4 made on the spot from a folder: mke2fs and qemu-img know nothing of us."""

from __future__ import annotations

from pathlib import Path

from helpers import tool
from vdisk import run


def qcow2_of(folder: Path, disk: Path, *commands: str) -> Path:
    """``disk``, with the files of ``folder``; ``commands`` are debugfs(8)'s."""
    plain = disk.with_suffix(".ext4")
    run(tool("mke2fs"), "-q", "-t", "ext4", "-d", folder, plain, "8M")
    for command in commands:
        run(tool("debugfs"), "-w", "-R", command, plain)
    run(tool("qemu-img"), "convert", "-c", "-f", "raw", "-O", "qcow2", plain, disk)
    plain.unlink()
    return disk
