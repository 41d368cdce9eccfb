"""The files beside an image. Names in an image locate nothing else: no folder, no link out, no device, no URL."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.errors import ImageError, MissingPartError
from imgmount.sources.file import FileDevice

MAX_OPEN: Final = 14_295  # segments of the largest EWF set that its naming rule allows


class FolderSiblings:
    """Regular files in the image's own folder. ``opened`` lists every one that was used."""

    def __init__(self, image: Path) -> None:
        self.folder = Path(os.path.realpath(image)).parent  # Path.resolve() raises RuntimeError for a loop of links
        self.opened: list[Path] = []
        self._devices: dict[Path, FileDevice] = {}

    def names(self) -> Sequence[str]:
        try:
            with os.scandir(self.folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        except OSError:
            return []

    def open(self, name: str) -> BlockDevice:
        base = name.replace("\\", "/").rsplit("/", 1)[-1]
        found = self._find(base)
        if found is None:
            raise MissingPartError(f"{base!r} is missing: looked in {self.folder}")
        if found not in self._devices:
            if len(self._devices) >= MAX_OPEN:
                raise ImageError(f"more than {MAX_OPEN} files belong to this image")
            self._devices[found] = FileDevice(found, follow=False)
            self.opened.append(found)
        return self._devices[found]

    def _find(self, base: str) -> Path | None:
        if base in ("", ".", "..") or "\0" in base:
            return None
        exact = self.folder / base
        try:
            if stat.S_ISREG(exact.lstat().st_mode):
                return exact
        except OSError:
            pass
        folded = base.casefold()
        return next((self.folder / name for name in self.names() if name.casefold() == folded), None)

    def close(self) -> None:
        """Close every file that was opened."""
        while self._devices:
            self._devices.popitem()[1].close()


class NoSiblings:
    """For an image that may not name files: its format was guessed, so its bytes are not to be believed that far."""

    def __init__(self, image: str) -> None:
        self._image = image

    def names(self) -> Sequence[str]:
        return []

    def open(self, name: str) -> BlockDevice:
        raise MissingPartError(f"{self._image!r} wants {name!r}, but the image that names it does not declare its format")
