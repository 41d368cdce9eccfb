"""Amiga hard files."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.images import DATA, NAMES, Image, of
from benchmarks.reading import FIND
from benchmarks.row import FILE, RAW_VIEW, Decoder, file, tree

XDFTOOL = str(Path(sys.executable).with_name("xdftool"))  # of amitools

FFS = Image(
    "file.hdf",
    of(DATA, f"{XDFTOOL} {{target}} create size={{room}} + format Work DOS3 + write {{source}} {FILE}"),
)
FFS_NAMES = Image("names.hdf", of(NAMES, f"{XDFTOOL} {{target}} pack {{source}} size=60Mi DOS3"))

READ = Decoder("xdftool read", (XDFTOOL, "{image}", "read", FILE, "{scratch}/file"))
LIST = Decoder("xdftool list", (XDFTOOL, "{image}", "list"))

ROWS = (
    file("ffs", "FFS, one file", FFS, RAW_VIEW, READ),
    tree("ffs-find", "FFS, find 20,000 files", FFS_NAMES, FIND, LIST),
)
