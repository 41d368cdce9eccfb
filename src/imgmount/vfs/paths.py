"""Paths that the user names inside an image."""

from __future__ import annotations

from collections import deque
from errno import ELOOP
from typing import Final

from imgmount.core.node import Node, Symlink
from imgmount.vfs.vfs import Vfs

MAX_LINKS: Final = 40  # as in the kernel


def resolve(vfs: Vfs, path: str, *, follow: bool = True) -> tuple[str, Node]:
    """(path without links, ``.`` and ``..``, node).

    The last link is kept unless ``follow``; none leads out of the image.

    The root's path is empty. Raises ``OSError`` and ``ImageError``.
    """
    names = deque(path.split("/"))
    done: list[str] = []
    links = 0
    while names:
        name = names.popleft()
        if name in ("", ".", ".."):
            if name == "..":
                done = done[:-1]
            continue
        here = _joined([*done, name])
        node = vfs.find(here)
        if not isinstance(node, Symlink) or not (follow or any(names)):
            done.append(name)
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(ELOOP, "Too many levels of symbolic links", path)
        target = node.readlink()
        if target.startswith("/"):  # an absolute target begins at the root of its own volume
            done = done[:1] if vfs.space(here) else []
        names.extendleft(reversed(target.split("/")))
    return _joined(done), vfs.find(_joined(done))


def _joined(names: list[str]) -> str:
    return "".join(f"/{name}" for name in names)
