"""Amiga disks through a real mount, beside the programs that people take files out of them with.

    python benchmarks/amiga.py [ffs] [fragments] [ofs] [find] [floppy]

Needs xdftool of amitools, which is the only one of them that reads hard files, unadf and genisoimage. An ISO
9660 image with the same file says what a mount costs where there is nothing to look up. Fragments are runs of
32 KiB.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from run import IMGMOUNT, MIB, ROUNDS, compare, main, mounted, read_whole, report, seconds

SIZE = 100 * MIB
FILLER = 64 << 9  # bytes of a fragment
FILES, FOLDERS = 20_000, 100
BIG = Path("big.bin")
XDFTOOL = str(Path(sys.executable).parent / "xdftool")


def xdftool(image: Path, *steps: list[str]) -> None:
    words = [word for step in steps for word in ("+", *step)][1:]
    subprocess.run([XDFTOOL, str(image), *words], check=True, stdout=subprocess.DEVNULL)


def make_file(scratch: Path) -> Path:
    """100 MB, different from place to place."""
    block = random.Random(1).randbytes(MIB)
    path = scratch / "tree" / BIG
    path.parent.mkdir()
    with path.open("wb") as file:
        for number in range(SIZE // MIB):
            file.write(number.to_bytes(8, "big") + block[8:])
    return path


def make_hard_file(big: Path, scratch: Path, dos_type: str, *, fragments: bool) -> Path:
    image = scratch / "disk.hdf"
    xdftool(image, ["create", "size=260Mi"], ["format", "Work", dos_type])
    if fragments:
        filler = scratch / "filler"
        filler.write_bytes(bytes(FILLER))
        names = [f"filler/{number}" for number in range(2 * SIZE // FILLER + 100)]
        xdftool(image, ["makedir", "filler"], *(["write", str(filler), name] for name in names))
        xdftool(image, *(["delete", name] for name in names[::2]))
    xdftool(image, ["write", str(big), str(BIG)])
    return image


def bench_file(dos_type: str, title: str, *, fragments: bool = False) -> Callable[[Path], None]:
    def bench(scratch: Path) -> None:
        big, iso = make_file(scratch), scratch / "disc.iso"
        image = make_hard_file(big, scratch, dos_type, fragments=fragments)
        subprocess.run(["genisoimage", "-quiet", "-R", "-o", str(iso), str(big.parent)], check=True)
        with ExitStack() as stack:
            ours, disc = (
                stack.enter_context(mounted([*IMGMOUNT, str(path)], scratch / path.suffix, BIG)) / BIG
                for path in (image, iso)
            )
            assert subprocess.run(["cmp", str(ours), str(big)], check=False).returncode == 0
            actions = {"imgmount": lambda: read_whole(ours), "imgmount of an ISO": lambda: read_whole(disc)}
            ours_s = compare(
                title, actions | {"xdftool": lambda: xdftool(image, ["read", str(BIG), str(scratch / "out")])}
            )
            print(f"{'':34} {SIZE / 1e6 / ours_s:.0f} MB/s")

    return bench


def bench_find(scratch: Path) -> None:
    tree, image = scratch / "Work", scratch / "disk.hdf"
    for number in range(FOLDERS):
        folder = tree / f"folder {number:03}"
        folder.mkdir(parents=True)
        for file in range(FILES // FOLDERS):
            (folder / f"file number {file:03}.txt").write_text(f"{number} {file}\n")
    xdftool(image, ["pack", str(tree), "size=60Mi", "DOS3"])
    first: dict[str, list[float]] = {"imgmount": [], "xdftool list": []}
    second: dict[str, list[float]] = {"imgmount": []}
    for _ in range(ROUNDS):
        with mounted([*IMGMOUNT, str(image)], scratch / "ours", Path("folder 000")) as folder:
            for times in (first, second):
                times["imgmount"].append(seconds(lambda folder=folder: find_files(folder)))  # type: ignore[misc]
        first["xdftool list"].append(seconds(lambda: xdftool(image, ["list"])))
    report("FFS, find over 20,000 files", first)
    report("FFS, the same again", second)


def find_files(folder: Path) -> None:
    done = subprocess.run(["find", str(folder), "-type", "f", "-size", "+0"], capture_output=True, check=True)
    assert done.stdout.count(b"\n") == FILES, done.stdout[:200]


def bench_floppy(scratch: Path) -> None:
    """All of an HD floppy, without a mount."""
    tree, image = scratch / "Work", scratch / "floppy.hdf"  # xdftool makes no HD floppies by another name
    tree.mkdir()
    for number in range(110):
        (tree / f"file {number:03}").write_bytes(random.Random(number).randbytes(12_000))
    xdftool(image, ["pack", str(tree), "size=1760Ki", "DOS1"])

    def extract(name: str, *command: str) -> Callable[[], None]:
        def action() -> None:
            shutil.rmtree(scratch / name, ignore_errors=True)
            (scratch / name).mkdir()
            subprocess.run([*command, str(scratch / name)], check=True, capture_output=True)
            subprocess.run(["diff", "-r", str(tree), str(scratch / name)], check=True)

        return action

    ours = extract("ours", *IMGMOUNT, "extract", str(image), "-C")
    compare(
        "FFS, HD floppy, everything",
        {"imgmount extract": ours, "unadf": extract("unadf", "unadf", str(image), "-d")},
    )


BENCHES: dict[str, Callable[[Path], None]] = {
    "ffs": bench_file("DOS3", "FFS, 100 MB file"),
    "fragments": bench_file("DOS3", "FFS, 100 MB file in fragments", fragments=True),
    "ofs": bench_file("DOS2", "OFS, 100 MB file"),
    "find": bench_find,
    "floppy": bench_floppy,
}


if __name__ == "__main__":
    main(BENCHES)
