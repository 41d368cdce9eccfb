"""``imgmount ls``: what is in an image, without mounting it."""

from __future__ import annotations

import argparse
import json
import os
import stat as s
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from imgmount.cli.options import add_image_arguments, add_view_arguments, open_from, vfs_from
from imgmount.cli.text import complain, for_stdout

if TYPE_CHECKING:
    from imgmount.core.node import Node, Stat
    from imgmount.errors import ImageError
    from imgmount.vfs.vfs import Vfs

SUMMARY: Final = "List the files of an image."
EXIT_DAMAGED: Final = 2

Entry = tuple[str, "Node"]  # path and node


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """IMAGE, PATHs, and ls(1)'s letters."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        default=["/"],
        help="folders and files to list; '/' if none is named",
    )
    parser.add_argument(
        "-l", "--long", action="store_true", help="mode, links, owner, group, size, time, name"
    )
    parser.add_argument("-R", "--recursive", action="store_true", help="list folders inside folders as well")
    parser.add_argument("-a", "--all", action="store_true", help="list names that begin with a dot as well")
    parser.add_argument(
        "--json", action="store_true", help="print a list of JSON objects with all facts, one for each entry"
    )
    add_view_arguments(parser)
    add_image_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """List; 2 where something of it is damaged."""
    with open_from(args) as image:
        listing = _Ls(vfs_from(args, image), args)
        if args.json:
            listing.as_json(args.paths)
        else:
            listing.as_text(args.paths)
        return EXIT_DAMAGED if listing.damaged else 0


class _Ls:
    def __init__(self, vfs: Vfs, args: argparse.Namespace) -> None:
        self.vfs = vfs
        self.args = args
        self.damaged = False

    def as_text(self, names: list[str]) -> None:
        """Files first, then a block of lines for each folder, headed by its path where there are several."""
        files, folders = self._sorted_out(names)
        for path, node in files:
            self._line(path, node)
        headed = self.args.recursive or len(names) > 1
        brief = not (self.args.long or self.args.recursive)
        parted = bool(files)
        for path, node in folders:
            for folder, entries in [(path, ())] if brief else self._blocks(path, node):
                if headed:
                    print("\n" * parted + for_stdout(folder or "/") + ":")
                parted = True
                for below, child in entries:
                    self._line(below.rpartition("/")[2], child)
                if brief:
                    self._names(path, node)

    def _names(self, path: str, folder: Node) -> None:
        """The names in ``folder``, for which no entry has to be looked at."""
        from imgmount.core.node import as_directory
        from imgmount.errors import ImageError

        try:
            for name in as_directory(folder, path).names():
                if self.args.all or not name.startswith("."):
                    print(for_stdout(name))
        except ImageError as exc:
            self._problem(path, exc)

    def as_json(self, names: list[str]) -> None:
        """One object a line in one list, so that it can be read as a stream too."""
        files, folders = self._sorted_out(names)
        entries = [
            *files,
            *((path, node) for top, folder in folders for path, node in self._below(top, folder)),
        ]
        print("[", ",\n ".join(json.dumps(self._facts(path, node)) for path, node in entries), "]", sep="")

    def _sorted_out(self, names: list[str]) -> tuple[list[Entry], list[Entry]]:
        from imgmount.core.node import Directory
        from imgmount.vfs.paths import resolve

        found = [resolve(self.vfs, name, follow=not self.args.long and not self.args.json) for name in names]
        return (
            [entry for entry in found if not isinstance(entry[1], Directory)],
            [entry for entry in found if isinstance(entry[1], Directory)],
        )

    def _blocks(self, top: str, folder: Node) -> Iterator[tuple[str, Iterable[Entry]]]:
        """(path of a folder, its entries), parents first."""
        from imgmount.core.node import Directory

        blocks: dict[str, list[Entry]] = {top: []}
        for path, node in self._below(top, folder):
            blocks[path.rpartition("/")[0]].append((path, node))
            if self.args.recursive and isinstance(node, Directory):
                blocks[path] = []
        yield from blocks.items()

    def _below(self, top: str, folder: Node) -> Iterator[Entry]:
        from imgmount.core.node import as_directory

        if self.args.recursive:
            entries = self.vfs.walk(top, self._problem)
        else:
            listing = as_directory(folder, top).listing()
            if listing.damage is not None:
                self._problem(top, listing.damage)
            entries = ((f"{top}/{name}", node) for name, node in listing.nodes.items())
        skip = len(top)
        for path, node in entries:
            if self.args.all or "/." not in path[skip:]:
                yield path, node

    def _line(self, name: str, node: Node) -> None:
        from imgmount.core.node import Symlink
        from imgmount.errors import ImageError

        if not self.args.long:
            print(for_stdout(name))
            return
        try:
            facts = long_facts(node.stat())
            arrow = f" -> {node.readlink()}" if isinstance(node, Symlink) else ""
        except ImageError as exc:
            self._problem(name, exc)
            facts, arrow = "??????????", ""
        print(f"{facts} {for_stdout(name + arrow)}{node.guess and f' (a guess: {node.guess})'}")

    def _facts(self, path: str, node: Node) -> dict[str, object]:
        from imgmount.core.node import Symlink
        from imgmount.errors import ImageError

        facts: dict[str, object] = {"path": path or "/"}
        try:
            stat = node.stat()
            facts |= {
                "type": _TYPES.get(s.S_IFMT(stat.mode), "?"),
                "mode": s.S_IMODE(stat.mode),
                "size": stat.size,
            }
            facts |= {
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
            if s.S_ISCHR(stat.mode) or s.S_ISBLK(stat.mode):
                facts["device"] = [os.major(stat.rdev), os.minor(stat.rdev)]
        except ImageError as exc:
            self._problem(path, exc)
            facts["problem"] = str(exc)
        return facts

    def _problem(self, path: str, error: ImageError) -> None:
        self.damaged = True
        sys.stdout.flush()
        complain(f"{path or '/'}: {error}")


_TYPES: Final = {
    s.S_IFREG: "file",
    s.S_IFDIR: "directory",
    s.S_IFLNK: "symlink",
    s.S_IFCHR: "char",
    s.S_IFBLK: "block",
    s.S_IFIFO: "fifo",
    s.S_IFSOCK: "socket",
}


def long_facts(stat: Stat) -> str:
    """The columns of ``ls -l`` before the name; owners as numbers, time in the zone of the user."""
    uid = os.getuid() if stat.uid is None else stat.uid
    gid = os.getgid() if stat.gid is None else stat.gid
    device = s.S_ISCHR(stat.mode) or s.S_ISBLK(stat.mode)
    size = f"{os.major(stat.rdev)}, {os.minor(stat.rdev)}" if device else str(stat.size)
    return f"{s.filemode(stat.mode)} {stat.nlink:>3} {uid:>5} {gid:>5} {size:>12} {_moment(stat.mtime_ns)}"


def _moment(nanoseconds: int) -> str:
    from datetime import datetime

    try:
        return datetime.fromtimestamp(nanoseconds // 1_000_000_000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "????-??-?? ??:??:??"
