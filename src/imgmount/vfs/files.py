"""The files of an image as Python programs ask for them: by path, as file objects. ``Vfs`` does the work."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from errno import EINVAL, EROFS
from typing import Final, Literal, overload

from imgmount.core.device_file import DeviceFile
from imgmount.core.node import Node, Stat, Symlink, as_file
from imgmount.vfs.paths import resolve
from imgmount.vfs.vfs import Problem, Vfs

BUFFER: Final = 1 << 16  # of a file object: lines are read twice as fast as with Python's 8 KiB


class Files(ABC):
    """Files by path: ``p1/etc/fstab``, with or without a slash before it.

    Links are followed, and none leads out of the image. Raises ``FileNotFoundError`` and the like, and
    ``ImageError`` where the image is damaged. Any number of threads may ask.
    """

    @property
    @abstractmethod
    def vfs(self) -> Vfs:
        """The tree of files."""

    def find(self, path: str = "", *, follow: bool = True) -> Node:
        """The node at ``path``: a ``Directory``, ``File``, ``Symlink`` or ``Special``."""
        return resolve(self.vfs, path, follow=follow)[1]

    def exists(self, path: str) -> bool:
        """Whether something is at ``path``; a link that leads nowhere is nothing."""
        try:
            self.find(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    @overload
    def open(self, path: str, mode: Literal["rb"] = "rb") -> io.BufferedReader: ...

    @overload
    def open(
        self,
        path: str,
        mode: Literal["r", "rt"],
        *,
        encoding: str = "utf-8",
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.TextIOWrapper: ...

    def open(
        self,
        path: str,
        mode: str = "rb",
        *,
        encoding: str = "utf-8",
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.BufferedReader | io.TextIOWrapper:
        """The file at ``path`` as a file object of its own: bytes, or text with ``"r"``."""
        if mode not in ("rb", "r", "rt"):
            raise OSError(EROFS, f"Images are read only, mode {mode!r} is not possible", path)
        binary: io.BufferedReader = io.BufferedReader(OpenFile(self, path), BUFFER)
        return binary if mode == "rb" else io.TextIOWrapper(binary, encoding, errors, newline)

    def listdir(self, path: str = "") -> list[str]:
        """The names in the folder at ``path``. Raises ``ImageError`` where some of them are lost."""
        listing = self.vfs.listing(resolve(self.vfs, path)[0])
        if listing.damage is not None:
            raise listing.damage.again()
        return list(listing.nodes)

    def walk(self, path: str = "", problem: Problem | None = None) -> Iterator[tuple[str, Node]]:
        """(path, node) of everything below the folder at ``path``, parents first. Links are not followed.

        Damage does not end it: it goes to ``problem(path, error)``, or to the log.
        """
        return self.vfs.walk(resolve(self.vfs, path)[0], problem)

    def stat(self, path: str, *, follow: bool = True) -> Stat:
        """What is known of the node at ``path``: mode, size, times, owner."""
        return self.find(path, follow=follow).stat()

    def readlink(self, path: str) -> str:
        """The target of the link at ``path``, as stored."""
        node = self.find(path, follow=False)
        if not isinstance(node, Symlink):
            raise OSError(EINVAL, "Not a symbolic link", path)
        return node.readlink()

    def xattrs(self, path: str, *, follow: bool = True) -> Mapping[str, bytes]:
        """Extended attributes: also what the file system knows and POSIX has no field for."""
        return self.find(path, follow=follow).xattrs()


class OpenFile(DeviceFile):
    """The content of the file at ``path``, closed with it. It holds on to ``files``."""

    def __init__(self, files: Files, path: str) -> None:
        self.files = files
        self.name = path
        self._content = as_file(files.find(path), path).open()
        super().__init__(self._content)

    def close(self) -> None:
        if not self.closed:
            self._content.close()
        super().close()


class TreeFiles(Files):
    """The files of one tree."""

    def __init__(self, vfs: Vfs) -> None:
        self._vfs = vfs

    @property
    def vfs(self) -> Vfs:
        return self._vfs
