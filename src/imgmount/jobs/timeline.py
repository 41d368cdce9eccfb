"""A time line: one line for each file of an image, deleted ones too, in the body format of the Sleuth Kit 3.

``MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime``, which mactime(1) sorts. What is not known is 0.
"""

from __future__ import annotations

import logging
import re
import stat as s
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from imgmount.chain.open import Image
from imgmount.core.node import Directory, Node, Stat, Symlink
from imgmount.core.printable import printable
from imgmount.errors import ImageError, UnknownFormatError
from imgmount.vfs.tree import places
from imgmount.vfs.vfs import Problem, Vfs

log = logging.getLogger(__name__)

NS: Final = 1_000_000_000
# mactime splits at bars, and takes %41 for the letter
_ODD: Final = re.compile("[|]|%(?=[0-9A-Fa-f]{2})")
_TYPES: Final = {
    s.S_IFREG: "r",
    s.S_IFDIR: "d",
    s.S_IFIFO: "p",
    s.S_IFCHR: "c",
    s.S_IFBLK: "b",
    s.S_IFLNK: "l",
    s.S_IFSOCK: "h",
}
_NOTHING: Final = Stat(0)
_NO_MORE: Final[Mapping[str, Stat]] = {}
DELETED: Final = " (deleted)"
REUSED: Final = " (deleted-realloc)"  # something else has its place


def lines(image: Image, problem: Problem) -> Iterator[str]:
    """The lines of all volumes, as files are found. Damage goes to ``problem(path, error)``."""
    for name, volume in places(image):
        top = f"/{name}" if name else ""
        if isinstance(volume.problem, UnknownFormatError):
            if volume.partition.holds_files:
                log.warning("%s: %s", volume.name, volume.problem)
            continue
        if volume.problem is not None:
            problem(top, volume.problem)
            continue
        tree = Vfs(volume.filesystem.root, {}, (), volume.device.size)
        for path, node in tree.walk(problem=partial(_below, problem, top)):
            yield from _lines(top + path, node, problem)
        try:
            for path, node in volume.deleted() or ():
                yield from _deleted_lines(f"{top}/{path}", node)
        except ImageError as exc:
            problem(top, exc)


def _below(problem: Problem, top: str, path: str, error: ImageError) -> None:
    problem(top + path, error)


def _lines(path: str, node: Node, problem: Problem) -> Iterator[str]:
    stat, more, target = _NOTHING, _NO_MORE, ""
    try:
        stat = node.stat()
        target = f" -> {node.readlink()}" if isinstance(node, Symlink) else ""
        more = node.more_stats(path.rpartition("/")[2])
    except ImageError as exc:
        problem(path, exc)
    yield _body(path + target, node, stat)
    for where, facts in more.items():
        yield _body(f"{path} ({where})", node, facts)


def _deleted_lines(path: str, node: Node) -> Iterator[str]:
    try:
        stat, more = node.stat(), node.more_stats(path.rpartition("/")[2])
    except ImageError:
        yield _body(path + REUSED, node, _NOTHING)
        return
    yield _body(path + DELETED, node, stat)
    for where, facts in more.items():
        yield _body(f"{path} ({where}){DELETED}", node, facts)


def _body(name: str, node: Node, stat: Stat) -> str:
    kind = _TYPES.get(s.S_IFMT(stat.mode), "-")
    named = "d" if isinstance(node, Directory) else kind
    times = (stat.atime_ns, stat.mtime_ns, stat.ctime_ns, stat.birth_ns)
    facts = [
        "0",
        _ODD.sub(lambda found: f"%{ord(found[0]):02X}", printable(name)),
        node.id,
        f"{named}/{kind}{s.filemode(stat.mode)[1:]}",
        stat.uid or 0,
        stat.gid or 0,
        stat.size,
        *((time or 0) // NS for time in times),
    ]
    return "|".join(map(str, facts))
