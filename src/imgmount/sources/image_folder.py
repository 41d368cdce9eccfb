"""Images that are folders: a Parallels bundle (``.hdd``), AFD evidence, Apple's sparse bundles.

One file in them stands for the whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

MAIN_FILES: Final = ("DiskDescriptor.xml", "file_000.aff")
SPARSE_BUNDLE: Final = ("Info.plist", "bands")  # many folders have an Info.plist, few have bands beside it


def main_file(path: Path) -> Path:
    """What to open for ``path``: of a folder that is an image its main file, otherwise ``path`` itself."""
    if path.is_dir():
        main, bands = SPARSE_BUNDLE
        names = (main, *MAIN_FILES) if (path / bands).is_dir() else MAIN_FILES
        return next((path / name for name in names if (path / name).is_file()), path)
    return path
