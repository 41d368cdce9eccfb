"""Paths that the user names inside an image."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from errno import ELOOP, ENOENT
from fnmatch import fnmatchcase
from typing import Final

from imgmount.core.node import Directory, Node, Symlink
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


def expand(vfs: Vfs, pattern: str, *, follow: bool = True) -> list[tuple[str, Node]]:
    """What ``resolve`` gives for ``pattern``, or for all that it matches with ``*``, ``?`` or ``[a-z]``.

    A name that has such a letter in it is found first. Raises ``OSError`` and ``ImageError``.
    """
    try:
        return [resolve(vfs, pattern, follow=follow)]
    except (FileNotFoundError, NotADirectoryError):
        if not _is_pattern(pattern):
            raise
    paths = [""]
    for part in pattern.split("/"):
        paths = [below for path in paths for below in _matching(vfs, path, part)]
    found = [entry for path in paths for entry in _if_there(vfs, path, follow=follow)]
    if not found:
        raise FileNotFoundError(ENOENT, "No such file or directory", pattern)
    return found


def _if_there(vfs: Vfs, path: str, *, follow: bool) -> Iterator[tuple[str, Node]]:
    """The node at ``path``, which is a link where that leads nowhere; nothing where there is none."""
    for followed in dict.fromkeys((follow, False)):
        with suppress(FileNotFoundError, NotADirectoryError):
            yield resolve(vfs, path, follow=followed)
            return


def _matching(vfs: Vfs, folder: str, part: str) -> Iterator[str]:
    """The paths in ``folder`` that one part of a pattern matches; a dot at the start must be written."""
    if not _is_pattern(part):
        yield f"{folder}/{part}"
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        path, node = resolve(vfs, folder)
        if isinstance(node, Directory):
            for name in sorted(vfs.listing(path).nodes):
                if fnmatchcase(name, part) and (part.startswith(".") or not name.startswith(".")):
                    yield f"{folder}/{name}"


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _joined(names: list[str]) -> str:
    return "".join(f"/{name}" for name in names)
