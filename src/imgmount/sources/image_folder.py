"""Images that are folders: a Parallels bundle (``.hdd``) and AFD evidence.

One file in them stands for the whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

MAIN_FILES: Final = ("DiskDescriptor.xml", "file_000.aff")


def main_file(path: Path) -> Path:
    """What to open for ``path``: of a folder that is an image its main file, otherwise ``path`` itself."""
    if path.is_dir():
        return next((path / name for name in MAIN_FILES if (path / name).is_file()), path)
    return path
