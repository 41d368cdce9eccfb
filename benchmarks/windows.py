"""WIM beside wimmount: a large file in order and at random, and the names of many small ones.

    python benchmarks/windows.py [NAME ...]

Needs wimtools. The data are the libraries of this machine. A ratio above 1 means that imgmount is faster.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from coded import MIB, SMALL_FILES, find_small, programs, quietly
from run import (
    IMGMOUNT,
    compare,
    compare_mounted,
    main,
    mounted,
    read_at_random,
    read_whole,
)

SIZE = 96 * MIB
BIG = Path("big.bin")


def bench_wim(title: str, *options: str, at_random: bool) -> Callable[[Path], None]:
    """One large file in an image that wimlib captures with ``options``."""

    def bench(scratch: Path) -> None:
        (scratch / "tree").mkdir()
        (scratch / "tree" / BIG).write_bytes(programs(SIZE))
        image = scratch / "disk.wim"
        quietly("wimlib-imagex", "capture", scratch / "tree", image, *options)
        actions = {"sequential": read_whole, "4 KiB at random": read_at_random}
        for name, action in actions.items() if at_random else [("sequential", read_whole)]:
            with ExitStack() as stack:
                ours = stack.enter_context(mounted([*IMGMOUNT, str(image)], scratch / "ours", BIG))
                peer = stack.enter_context(mounted(["wimmount", str(image), "1"], scratch / "peer", BIG))
                paths = {"imgmount": ours / BIG, "wimmount": peer / BIG}
                compare(f"{title}, {name}", {who: partial(action, path) for who, path in paths.items()})

    return bench


def bench_find(scratch: Path) -> None:
    """10,000 files in 100 folders, found, each time from a new mount."""
    for number in range(SMALL_FILES):
        path = scratch / "small" / f"folder {number % 100:02}" / f"file {number:05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    image = scratch / "small.wim"
    quietly("wimlib-imagex", "capture", scratch / "small", image, "--compress=LZX")
    peers = {"imgmount": [*IMGMOUNT, str(image)], "wimmount": ["wimmount", str(image), "1"]}
    compare_mounted("WIM, 10,000 files, find", peers, scratch / "mnt", Path("folder 00"), find_small)


BENCHES: dict[str, Callable[[Path], None]] = {
    "lzx": bench_wim("WIM LZX", "--compress=LZX", at_random=True),
    "esd": bench_wim("ESD", "--solid", "--solid-chunk-size=16M", at_random=False),
    "find": bench_find,
}

if __name__ == "__main__":
    main(BENCHES)
