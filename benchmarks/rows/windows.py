"""WIM, and NTFS."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.images import DATA, NAMES, TREE, Image, Work, names, of
from benchmarks.mounts import Tool, mounted
from benchmarks.reading import FIND, START
from benchmarks.row import FILE, RAW_VIEW, Decoder, and_random, file, tool, tree

_MKNTFS = ("truncate -s {room} {target}", "mkntfs -F -Q {target}")
_CAPTURE = "wimlib-imagex capture {source} {target}"


def _lznt1(work: Work, target: Path) -> None:
    of(DATA, _MKNTFS[0], f"{_MKNTFS[1]} -C")(work, target)
    writer = tool("ntfs-3g -o compression", "")
    with mounted(writer, target, target.with_name("mount")) as mount:
        shutil.copyfile(DATA.path(work), mount.path / FILE)


def _wimmount(answers: str) -> Tool:
    return Tool("wimmount", ("wimmount", "{image}", "1", "{target}"), answers)


WIM = Image("file.wim", of(TREE, f"{_CAPTURE} --compress=LZX"))
WIM_NAMES = Image("names.wim", of(NAMES, f"{_CAPTURE} --compress=LZX"))
ESD = Image("file.esd", of(TREE, f"{_CAPTURE} --solid --solid-chunk-size=16M"))
NTFS = Image("file.ntfs", of(DATA, *_MKNTFS, f"ntfscp {{target}} {{source}} {FILE}"))
LZNT1 = Image("lznt1.ntfs", _lznt1)
NTFS_NAMES = Image(
    "names.ntfs",
    of(
        names(200, 40_000),
        "truncate -s 256M {target}",
        _MKNTFS[1],
        "wimlib-imagex capture {source} {target}.wim --compress=none",
        "wimlib-imagex apply {target}.wim 1 {target}",  # writes to a volume that is not mounted
    ),
)
APPLY = Decoder("wimlib-imagex apply", ("wimlib-imagex", "apply", "{image}", "1", "{scratch}"))
NTFS_3G = "ntfs-3g -o ro"

ROWS = (
    *and_random(file("wim", "WIM LZX", WIM, _wimmount(FILE))),
    file(
        "esd", "ESD, 16 MiB", ESD, APPLY
    ),  # wimmount decodes 16 MiB for each request: 1 MB/s, 20 minutes here
    file("ntfs", "NTFS, one file", NTFS, RAW_VIEW, tool(NTFS_3G, FILE)),
    file("ntfs-lznt1", "NTFS LZNT1", LZNT1, tool(NTFS_3G, FILE)),
    tree("wim-find", "WIM, find 20,000 files", WIM_NAMES, FIND, _wimmount("")),
    tree("ntfs-find", "NTFS, find 40,000 files", NTFS_NAMES, FIND, tool(NTFS_3G, "")),
    file("start-wim", "start, WIM", WIM, _wimmount(FILE), reading=START),
    tree("start-ntfs", "start, NTFS of 40,000 files", NTFS_NAMES, START, tool(NTFS_3G, "")),
)
