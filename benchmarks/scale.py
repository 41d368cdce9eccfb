"""How mounting, listing and memory grow with an image: processor time of the mount, which other work does not lengthen.

    python -m benchmarks.scale [disks] [names] [tree] [fragments]

Needs qemu-img, mksquashfs, genisoimage and mke2fs, and 2 GB of free space. Prints the rows of docs/scale.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import process
from .mounts import SOURCE, Mount, imgmount, mounted
from .process import quietly
from .reading import at_random, forget, sequential

READS = 10_000
BLOCK = 1024
MIB = 1 << 20


@dataclass(frozen=True)
class Costs:
    """What a mount costs, as cells of a table."""

    mount: Mount

    @property
    def ready(self) -> str:
        return f"{self.mount.start.processor:.2f} s"

    @property
    def peak(self) -> str:
        return f"{process.memory(self.mount.processes()) / 1e6:.0f} MB"

    def of(self, action: Callable[[], object]) -> str:
        before = process.processor(self.mount.processes())
        action()
        return f"{process.spent(before, process.processor(self.mount.processes())):.2f} s"

    def of_list(self, *options: str) -> str:
        """What ls(1) prints of all below, thrown away."""
        command = ["ls", "-R", *options, str(self.mount.path)]
        return self.of(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))

    def of_reads(self) -> str:
        forget(self.mount.path)
        return self.of(partial(at_random, self.mount.path, READS))


@contextmanager
def costs(image: Path, answers: str = "", *options: str) -> Iterator[Costs]:
    tool = imgmount(SOURCE, "imgmount", options, answers)
    with mounted(tool, image, image.with_suffix(".mnt")) as mount:
        yield Costs(mount)


def row(*cells: object) -> None:
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def bench_disks(scratch: Path) -> None:
    """Disks of which every block is allocated; the blocks themselves are holes of the host file."""
    row("disk", "tables", "mount", f"{READS:,} x 4 KiB at random", "peak memory")
    qcow2, vhdx = "preallocation=metadata", "subformat=fixed,block_size=1M"
    for terabytes in (0.25, 1, 2):
        for fmt, options, entries in (("qcow2", qcow2, 1 << 16), ("vhdx", vhdx, 1 << 20)):
            size = int(terabytes * (1 << 40))
            image = scratch / f"{terabytes}.{fmt}"
            quietly("qemu-img", "create", "-f", fmt, "-o", options, image, size)
            tables = f"{8 * size / entries / 1e6:.0f} MB"
            with costs(image, "disk.raw", "--raw") as cost:
                row(f"{fmt}, {terabytes:g} TiB", tables, cost.ready, cost.of_reads(), cost.peak)
            image.unlink()


def list_images(scratch: Path, what: str, folders: int, files: int) -> None:
    """Rows of a SquashFS and an ISO 9660 image with so many empty files in each of so many folders."""
    tree = scratch / "tree"
    for folder in range(folders):
        (tree / f"d{folder:04}").mkdir(parents=True)
        for file in range(files):
            os.close(os.open(f"{tree}/d{folder:04}/f{file:06}.txt", os.O_CREAT | os.O_WRONLY))
    squash, iso = scratch / "tree.squashfs", scratch / "tree.iso"
    quietly("mksquashfs", tree, squash, "-quiet", "-no-progress")
    quietly("genisoimage", "-quiet", "-R", "-o", iso, tree)
    shutil.rmtree(tree)
    for name, image in (("SquashFS", squash), ("ISO 9660, Rock Ridge", iso)):
        with costs(image) as cost:
            lists = [cost.of_list(), cost.of_list(), cost.of_list("-l")]
            row(f"{name}, {what}", cost.ready, *lists, cost.peak)
        image.unlink()


def bench_names(scratch: Path) -> None:
    row("one directory", "mount", "`ls -R`", "again", "`ls -lR`", "peak memory")
    for count in (10_000, 100_000, 200_000):
        list_images(scratch, f"{count:,} names", 1, count)


def bench_tree(scratch: Path) -> None:
    row("folders of 1,000", "mount", "`ls -R`", "again", "`ls -lR`", "peak memory")
    for folders in (10, 100, 1000):
        list_images(scratch, f"{folders * 1000:,} files", folders, 1000)


def bench_fragments(scratch: Path) -> None:
    """A file of which every other block is a hole, so that each block has an extent of its own."""
    row("ext4, one file", "mount", "read in order", f"{READS:,} x 4 KiB at random", "peak memory")
    for count in (1_000, 10_000, 100_000):
        tree, image = scratch / f"tree{count}", scratch / f"{count}.ext4"
        tree.mkdir()
        with (tree / "file").open("wb") as file:
            for number in range(count):
                file.write(number.to_bytes(8, "big") * (BLOCK // 8) + bytes(BLOCK))
        with image.open("wb") as file:
            file.truncate(count * BLOCK * 5 // 4 + 16 * MIB)
        quietly("mke2fs", "-q", "-t", "ext4", "-b", BLOCK, "-O", "^has_journal", "-d", tree, image)
        with costs(image, "file") as cost:
            in_order = cost.of(partial(sequential, cost.mount.path))
            row(f"{count:,} fragments", cost.ready, in_order, cost.of_reads(), cost.peak)
        shutil.rmtree(tree)
        image.unlink()


BENCHES = {"disks": bench_disks, "names": bench_names, "tree": bench_tree, "fragments": bench_fragments}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHES:
        with tempfile.TemporaryDirectory(prefix="imgmount-scale-") as folder:
            BENCHES[name](Path(folder))
