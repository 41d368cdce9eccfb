"""How mounting, listing and memory grow with an image: processor time of the mount, which other work does not lengthen.

    python benchmarks/scale.py [disks] [names] [tree] [fragments]

Needs qemu-img, mksquashfs, genisoimage and mke2fs, and 2 GB of free space. Prints the rows of docs/scale.md.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from run import IMGMOUNT, MIB, forget, main, sequential, wait_for

READS = 10_000
BLOCK = 1024
TICKS = os.sysconf("SC_CLK_TCK")


class Mount:
    """A mount and its process."""

    def __init__(self, folder: Path, process: int) -> None:
        self.folder = folder
        self._process = Path("/proc", str(process))

    def processor_time(self) -> float:
        """Seconds since it began."""
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def peak(self) -> int:
        """The most memory that it had at once, in MB."""
        lines = (self._process / "status").read_text().splitlines()
        return round(int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024 / 1e6)

    def cost(self, action: Callable[[], object]) -> str:
        """The seconds of processor time that ``action`` takes of it."""
        before = self.processor_time()
        action()
        return f"{self.processor_time() - before:.2f} s"

    def list(self, *options: str) -> None:
        """What ls(1) prints of all below, thrown away."""
        subprocess.run(["ls", "-R", *options, str(self.folder)], stdout=subprocess.DEVNULL, check=True)


@contextmanager
def mounted(image: Path, *options: str) -> Iterator[Mount]:
    folder = image.with_suffix(".mnt")
    folder.mkdir(exist_ok=True)
    with subprocess.Popen(
        [*IMGMOUNT, "-f", *options, str(image), str(folder)], stdout=subprocess.DEVNULL
    ) as process:
        wait_for(lambda: os.path.ismount(folder), f"{image.name} is not mounted")
        try:
            yield Mount(folder, process.pid)
        finally:
            subprocess.run(["fusermount3", "-u", str(folder)], check=True)


def row(*cells: object) -> None:
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def quietly(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def bench_disks(scratch: Path) -> None:
    """Disks of which every block is allocated; the blocks themselves are holes of the host file."""
    row("disk", "tables", "mount", f"{READS:,} x 4 KiB at random", "peak memory")
    qcow2, vhdx = "preallocation=metadata", "subformat=fixed,block_size=1M"
    for terabytes in (0.25, 1, 2):
        for fmt, options, entries in (("qcow2", qcow2, 1 << 16), ("vhdx", vhdx, 1 << 20)):
            size = int(terabytes * (1 << 40))
            image = scratch / f"{terabytes}.{fmt}"
            quietly("qemu-img", "create", "-f", fmt, "-o", options, image, size)
            with mounted(image, "--raw") as mount:
                ready = f"{mount.processor_time():.2f} s"
                reads = mount.cost(lambda mount=mount: read_at_random(mount.folder / "disk.raw"))  # type: ignore[misc]
                tables = f"{8 * size / entries / 1e6:.0f} MB"
                row(f"{fmt}, {terabytes:g} TiB", tables, ready, reads, f"{mount.peak()} MB")
            image.unlink()


def read_at_random(path: Path) -> None:
    fd, rng, blocks = forget(path), random.Random(1), path.stat().st_size // 4096
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for _ in range(READS):
        os.pread(fd, 4096, rng.randrange(blocks) * 4096)
    os.close(fd)


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
        with mounted(image) as mount:
            ready = f"{mount.processor_time():.2f} s"
            costs = [mount.cost(mount.list), mount.cost(mount.list), mount.cost(lambda: mount.list("-l"))]
            row(f"{name}, {what}", ready, *costs, f"{mount.peak()} MB")
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
        with mounted(image) as mount:
            ready, path = f"{mount.processor_time():.2f} s", mount.folder / "file"
            costs = [mount.cost(lambda path=path: read(path)) for read in (sequential, read_at_random)]  # type: ignore[misc]  # noqa: B023
            row(f"{count:,} fragments", ready, *costs, f"{mount.peak()} MB")
        shutil.rmtree(tree)
        image.unlink()


BENCHES = {"disks": bench_disks, "names": bench_names, "tree": bench_tree, "fragments": bench_fragments}

if __name__ == "__main__":
    main(BENCHES)
