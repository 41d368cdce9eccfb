"""One file or folder as ``ls`` tells it: a line for people, or plain values."""

from __future__ import annotations

import os
import stat as s
from typing import TYPE_CHECKING, Final

from imgmount.cli.text import short_size

if TYPE_CHECKING:
    from imgmount.core.node import Node, Stat

UNKNOWN: Final = "??????????"
_TYPES: Final = {
    s.S_IFREG: "file",
    s.S_IFDIR: "directory",
    s.S_IFLNK: "symlink",
    s.S_IFCHR: "char",
    s.S_IFBLK: "block",
    s.S_IFIFO: "fifo",
    s.S_IFSOCK: "socket",
}


def long_facts(stat: Stat, *, human: bool) -> str:
    """The columns of ``ls -l`` before the name; owners as numbers, time in the zone of the user."""
    uid = os.getuid() if stat.uid is None else stat.uid
    gid = os.getgid() if stat.gid is None else stat.gid
    size = f"{_size(stat):>5}" if human else f"{_bytes(stat):>12}"
    return f"{s.filemode(stat.mode)} {stat.nlink:>3} {uid:>5} {gid:>5} {size} {_moment(stat.mtime_ns)}"


def _size(stat: Stat) -> str:
    return _bytes(stat) if _is_device(stat) else short_size(stat.size)


def _bytes(stat: Stat) -> str:
    return f"{os.major(stat.rdev)}, {os.minor(stat.rdev)}" if _is_device(stat) else str(stat.size)


def _is_device(stat: Stat) -> bool:
    return s.S_ISCHR(stat.mode) or s.S_ISBLK(stat.mode)


def _moment(nanoseconds: int) -> str:
    from datetime import datetime

    try:
        return datetime.fromtimestamp(nanoseconds // 1_000_000_000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "????-??-?? ??:??:??"


def plain_facts(node: Node) -> dict[str, object]:
    """What ``--json`` tells besides the path. What cannot be read is left out, "problem" says why."""
    from imgmount.core.node import Symlink
    from imgmount.errors import ImageError

    facts: dict[str, object] = {}
    try:
        stat = node.stat()
        facts |= {
            "type": _TYPES.get(s.S_IFMT(stat.mode), "?"),
            "mode": s.S_IMODE(stat.mode),
            "size": stat.size,
            "mtime_ns": stat.mtime_ns,
            "uid": stat.uid,
            "gid": stat.gid,
            "nlink": stat.nlink,
            "id": node.id,
        }
        if node.guess:
            facts["guess"] = node.guess
        if isinstance(node, Symlink):
            facts["target"] = node.readlink()
        if _is_device(stat):
            facts["device"] = [os.major(stat.rdev), os.minor(stat.rdev)]
    except ImageError as exc:
        facts["problem"] = str(exc)
    return facts
