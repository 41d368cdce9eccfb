"""SquashFS and ext4."""

from __future__ import annotations

from benchmarks.images import DATA, Image, names, of
from benchmarks.reading import BY_TWO, LIST_AGAIN, START
from benchmarks.row import FILE, Row, and_random, file, tool, tree

PEERS = (tool("squashfuse", FILE), tool("squashfuse_ll", FILE))
FUSE2FS = "fuse2fs -o ro"
FOLDER = "folder 000"


def _squashfs(codec: str) -> Image:
    return Image(f"{codec}.squashfs", of(DATA, f"mksquashfs {{source}} {{target}} -comp {codec} -noappend"))


def _in_order(codec: str) -> Row:
    return file(f"squashfs-{codec}", f"SquashFS {codec}", _squashfs(codec), *PEERS)


ZSTD = _squashfs("zstd")
EXT4 = Image("names.ext4", of(names(1, 1000), "mke2fs -q -t ext4 -d {source} {target} 64M"))

ROWS = (
    *and_random(file("squashfs", "SquashFS zstd", ZSTD, *PEERS)),
    file("squashfs-two", "SquashFS zstd, two readers", ZSTD, *PEERS, reading=BY_TWO),
    *(_in_order(codec) for codec in ("gzip", "xz", "lz4")),
    tree("ext4-ls", "ext4, ls -l 1,000 files, warm", EXT4, LIST_AGAIN, tool(FUSE2FS, FOLDER), folder=FOLDER),
    file("start-squashfs", "start, SquashFS", ZSTD, *PEERS, reading=START),
    tree("start-ext4", "start, ext4", EXT4, START, tool(FUSE2FS, "")),
)
