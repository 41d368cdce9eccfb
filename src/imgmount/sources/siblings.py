"""The other files that an image names: those beside it, and more only where ``--refs`` says so.

A name locates by its last part alone. Folders, ``..`` and links in it are followed only under ``any``;
devices, FIFOs and URLs never are.
"""

from __future__ import annotations

import os
import re
import resource
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.errors import ImageError, MissingPartError, MountError, UnsupportedError
from imgmount.sources.file import FileDevice

SAME_DIR: Final = "same-dir"
ANY: Final = "any"
FEW_OPEN: Final = 128  # files; only sets of evidence need more descriptors than every process has
MAX_OPEN: Final = 14_295  # segments of the largest EWF set that its naming rule allows
# nbd://, json:, fat:...; a single letter is a Windows drive
_PROTOCOL = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:")
_FILE_URL = re.compile(r"file:(//)?(?=.)")


class OpenFiles:
    """The host files that are open for one image, each once, in the order of ``paths``."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self._devices: dict[Path, FileDevice] = {}

    def open(self, path: Path) -> FileDevice:
        """The regular file at ``path``, which is no link. Raises ``ImgMountError``."""
        if path not in self._devices:
            if len(self._devices) >= MAX_OPEN:
                raise ImageError(f"more than {MAX_OPEN} files belong to this image")
            if len(self._devices) == FEW_OPEN:
                _allow_descriptors(MAX_OPEN + 2 * FEW_OPEN)
            self._devices[path] = FileDevice(path, named=True)
            self.paths.append(path)
        return self._devices[path]

    def close(self) -> None:
        """Close them all. Idempotent."""
        while self._devices:
            self._devices.popitem()[1].close()


class FolderSiblings:
    """Regular files in the folder of ``image`` and in those of ``refs``; with ``any``, wherever names lead.

    ``refs`` are folders and the words ``same-dir`` (which adds none) and ``any``. Raises ``MountError`` for
    what is no folder.
    """

    def __init__(self, image: Path, refs: Sequence[str] = (), files: OpenFiles | None = None) -> None:
        self.files = OpenFiles() if files is None else files
        self._image = image
        self._refs = refs
        self._anywhere = ANY in refs
        # Path.resolve() raises RuntimeError for a loop of links
        self._folders = [
            Path(os.path.realpath(image)).parent,
            *(_folder(ref) for ref in refs if ref not in (SAME_DIR, ANY)),
        ]

    def beside(self, file: BlockDevice) -> FolderSiblings:
        """What ``file``, which was opened here, may name in its turn."""
        return FolderSiblings(file.path, self._refs, self.files) if isinstance(file, FileDevice) else self

    def within(self, folder: str) -> FolderSiblings:
        """The files in ``folder`` beside the image; none where that is no folder, or a link to one."""
        path = self._folders[0] / folder
        return (
            FolderSiblings(path / "image", (), self.files)
            if path.is_dir() and not path.is_symlink()
            else self._none()
        )

    def _none(self) -> FolderSiblings:
        """Siblings in no folder at all."""
        none = FolderSiblings(self._folders[0], (), self.files)
        none._folders = []
        return none

    def fenced(self) -> FolderSiblings:
        """The same without ``any``, for an image whose format is guessed."""
        return FolderSiblings(self._image, [ref for ref in self._refs if ref != ANY], self.files)

    def names(self) -> Sequence[str]:
        """What lies in the image's folder, and behind that what only the other folders have."""
        return list(dict.fromkeys(name for folder in self._folders for name in _names(folder)))

    def open(self, name: str) -> BlockDevice:
        """The file called ``name``.

        Raises ``MissingPartError``, and ``UnsupportedError`` for what is called like no file.
        """
        if not _is_storable(name):
            raise MissingPartError(f"{name!r} is missing: no file can be called that")
        said = _FILE_URL.sub("", name).replace("\\", "/")
        base = said.rpartition("/")[2]
        found = self._find(name)
        if found is None and _PROTOCOL.match(name):
            raise UnsupportedError(f"{name!r} is not a file: nothing else is opened")
        found = found or self._follow(said) or self._find(base)
        if found is None:
            raise MissingPartError(self._absent(name, base))
        return self.files.open(found)

    def _follow(self, said: str) -> Path | None:
        """The file that a path leads to from the image's folder, if the user allows that."""
        if not self._anywhere:
            return None
        path = Path(os.path.realpath(self._folders[0] / said))
        return path if _is_regular(path) else None

    def _find(self, base: str) -> Path | None:
        """The file called ``base`` in the first folder that has it, else in another case."""
        if base in ("", ".", "..") or "/" in base:
            return None
        for folder in self._folders:
            if _is_regular(folder / base):
                return folder / base
        folded = base.casefold()
        return next(
            (
                folder / name
                for folder in self._folders
                for name in _names(folder)
                if name.casefold() == folded
            ),
            None,
        )

    def _absent(self, name: str, base: str) -> str:
        places = " and ".join(map(str, self._folders))
        if base == name:
            return f"{name!r} is missing: looked in {places}; --refs DIR adds a folder"
        if self._anywhere:
            return f"{name!r} is missing, and no {base!r} is in {places}; --refs DIR adds a folder"
        allowed = "--refs DIR adds a folder, --refs any follows paths"
        return f"{name!r} is not followed, and no {base!r} is in {places}; {allowed}"

    def close(self) -> None:
        """Close every file that was opened."""
        self.files.close()


def _allow_descriptors(count: int) -> None:
    """Raise the limit of this process as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _folder(ref: str) -> Path:
    path = Path(os.path.realpath(ref))
    if not path.is_dir():
        raise MountError(f"--refs: {ref!r} is neither a folder nor 'same-dir' nor 'any'")
    return path


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except OSError:
        return []


def _is_storable(name: str) -> bool:
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


class NoSiblings:
    """For an image that may not name files, because its format was only guessed."""

    def __init__(self, image: str) -> None:
        self._image = image

    def beside(self, file: BlockDevice) -> NoSiblings:  # noqa: ARG002
        return self

    def within(self, folder: str) -> NoSiblings:  # noqa: ARG002
        return self

    def names(self) -> Sequence[str]:
        return []

    def open(self, name: str) -> BlockDevice:
        raise MissingPartError(
            f"{self._image!r} wants {name!r}, but the image that names it does not declare its format"
        )
