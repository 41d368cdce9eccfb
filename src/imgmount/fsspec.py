"""The files of an image for pandas, pyarrow, duckdb and all that read through fsspec: ``imgmount://``.

``imgmount://p1/data.csv::file:///home/me/disk.qcow2`` is a file in an image. Read only.
"""

from __future__ import annotations

import os
import stat as s
import weakref
from collections.abc import Mapping
from datetime import UTC, datetime
from errno import EROFS
from typing import Any, BinaryIO, Final, NoReturn

import fsspec
from fsspec.implementations.local import LocalFileSystem

from imgmount.core.format import Options
from imgmount.core.node import Node, Symlink
from imgmount.image import open_image

_OPTIONS: Final = frozenset(Options._fields)
_TYPES: Final = {s.S_IFDIR: "directory", s.S_IFREG: "file", s.S_IFLNK: "link"}
NANOSECONDS: Final = 1_000_000_000


class ImageFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The files of the image ``fo``, a local file or one that fsspec caches as a local file.

    ``view`` is what ``--view`` takes. Every field of ``imgmount.Options`` is a storage option too. The image
    is closed when the file system and the files that it opened are gone.
    """

    protocol = "imgmount"
    root_marker = ""
    cachable = False  # the next open sees what the image has become by then

    def __init__(
        self,
        fo: str | os.PathLike[str],
        view: str = "tree",
        target_protocol: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        **storage_options: Any,
    ) -> None:
        options = {name: storage_options.pop(name) for name in _OPTIONS & storage_options.keys()}
        super().__init__(**storage_options)
        # kept: a cache removes its files when it is dropped
        self._target = fsspec.open(fo, protocol=target_protocol, **(target_options or {}))
        self.image = open_image(_local_path(self._target), Options(**options))
        self.files = self.image.view(view)
        weakref.finalize(self.files, self.image.close)  # which open files hold on to

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path)).strip("/")

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002
        path = self._strip_protocol(path)
        top = self.info(path)
        if top["type"] == "directory":
            names = self.files.listdir(path)
            paths = [f"{path}/{name}".lstrip("/") for name in names]
        else:
            paths = [path]
        return [self._entry(below) for below in paths] if detail else paths

    def _entry(self, path: str) -> dict[str, Any]:
        """As ``info``, but a link to a folder stays a link: nobody walks in circles."""
        facts = self._facts(path, self.files.find(path, follow=False))
        if not facts["islink"]:
            return facts
        try:
            target = self.info(path)
        except OSError:  # it leads nowhere
            return facts
        return facts if target["type"] == "directory" else target

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        facts = self._facts(path, self.files.find(path))
        own = self.files.find(path, follow=False)
        if isinstance(own, Symlink):
            facts |= {"islink": True, "destination": own.readlink()}
        return facts

    def _facts(self, path: str, node: Node) -> dict[str, Any]:
        stat = node.stat()
        facts = {"name": path, "size": stat.size, "type": _TYPES.get(s.S_IFMT(stat.mode), "other")}
        facts |= {"mode": stat.mode, "nlink": stat.nlink, "mtime": stat.mtime_ns / NANOSECONDS}
        facts |= {"uid": stat.uid, "gid": stat.gid, "islink": isinstance(node, Symlink)}
        if isinstance(node, Symlink):
            facts["destination"] = node.readlink()
        return facts

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(self.info(path)["mtime"], UTC)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            self._refuse(path)
        return self.files.open(path)

    def _refuse(self, path: str, *_: Any, **__: Any) -> NoReturn:
        raise OSError(EROFS, "Images are read only", path)

    mkdir = makedirs = rmdir = rm_file = cp_file = _refuse


def _local_path(target: Any) -> str:
    """Where the host has the file that ``target`` opens. Raises ``ValueError``."""
    if isinstance(target.fs, LocalFileSystem):
        return str(target.path)
    if not getattr(target.fs, "local_file", False):
        raise ValueError(f"{target.path}: not a local file; 'simplecache::' before its URL makes it one")
    with target as file:
        return str(file.name)
