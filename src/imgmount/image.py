"""An image with its files: what ``import imgmount`` gives."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from imgmount.chain import open as chain
from imgmount.core.cache import ReadCache
from imgmount.core.format import Options
from imgmount.vfs.files import Files, TreeFiles
from imgmount.vfs.tree import View, build_vfs
from imgmount.vfs.vfs import Vfs


class Image(chain.Image, Files):
    """An image, opened as deep as its bytes allow. Its files have the paths that a mount shows."""

    @cached_property
    def vfs(self) -> Vfs:
        return build_vfs(self, View.TREE)

    def view(self, name: str) -> Files:
        """The files that ``--view`` shows: ``"tree"``, ``"raw"``, ``"all"`` or ``"deleted"``."""
        return TreeFiles(build_vfs(self, View(name)))


def open_image(path: Path | str, options: Options | None = None, cache: ReadCache | None = None) -> Image:
    """Open ``path`` as deep as its bytes allow. Raises ``ImgMountError``.

    No file system is opened yet, and no thread is started: ``image.context.cache.start()`` does that, and
    decodes ahead of the reader.
    """
    return Image(**vars(chain.open_image(path, options, cache)))
