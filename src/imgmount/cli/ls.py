"""``imgmount ls``: what is in an image, without mounting it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from imgmount.cli.options import add_image_arguments, add_view_arguments, open_from, vfs_from
from imgmount.cli.text import complain, for_stdout

if TYPE_CHECKING:
    from imgmount.core.node import Node
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
        help="folders and files to list, '*.txt' too; '/' if none is named",
    )
    letters = {
        ("-l", "--long"): "mode, links, owner, group, size, time, name",
        ("-h", "--human-readable"): "with -l: sizes like 1.4G",
        ("-R", "--recursive"): "list folders inside folders as well",
        ("-a", "-A", "--all"): "list names that begin with a dot as well",
        ("-d", "--directory-itself"): "list folders themselves, not what is in them",
        ("-t", "--by-time"): "the newest first",
        ("-S", "--by-size"): "the largest first",
        ("-r", "--reverse"): "the other way round",
        ("-1", "--one-column"): "one name a line, on a terminal too",
    }
    for names, help_ in letters.items():
        parser.add_argument(*names, action="store_true", help=help_)
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
        self.wide = sys.stdout.isatty() and not args.one_column

    def as_text(self, names: list[str]) -> None:
        """Files first, then a block of lines for each folder, headed by its path where there are several."""
        files, folders = self._sorted_out(names)
        self._show(self._in_order(files))
        headed = self.args.recursive or len(files) + len(folders) > 1
        parted = bool(files)
        for path, node in folders:
            for folder, entries in self._blocks(path, node):
                if headed:
                    print("\n" * parted + for_stdout(folder or "/") + ":")
                parted = True
                self._show(entries)

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
        from imgmount.vfs.paths import expand

        follow = not (self.args.long or self.args.json or self.args.directory_itself)
        found = [entry for name in names for entry in expand(self.vfs, name, follow=follow)]
        folders = [
            entry for entry in found if isinstance(entry[1], Directory) and not self.args.directory_itself
        ]
        return [entry for entry in found if entry not in folders], folders

    def _blocks(self, top: str, folder: Node) -> Iterator[tuple[str, list[tuple[str, Node | None]]]]:
        """(path of a folder, its entries by their names), parents first."""
        from imgmount.core.node import Directory

        if not (self.args.long or self.args.recursive or self.args.by_time or self.args.by_size):
            yield top, [(name, None) for name in self._ordered_names(self._names(top, folder))]
            return
        blocks: dict[str, list[Entry]] = {top: []}
        for path, node in self._below(top, folder):
            blocks[path.rpartition("/")[0]].append((path, node))
            if self.args.recursive and isinstance(node, Directory):
                blocks[path] = []
        for path in sorted(blocks, key=lambda path: [_key(name) for name in path.split("/")]):
            yield path, [(below.rpartition("/")[2], node) for below, node in self._in_order(blocks[path])]

    def _names(self, path: str, folder: Node) -> Iterator[str]:
        """The names in ``folder``, for which no entry has to be looked at."""
        from imgmount.core.node import as_directory
        from imgmount.errors import ImageError

        try:
            for name in as_directory(folder, path).names():
                if self.args.all or not name.startswith("."):
                    yield name
        except ImageError as exc:
            self._problem(path, exc)

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

    def _ordered_names(self, names: Iterable[str]) -> list[str]:
        return sorted(names, key=_key, reverse=self.args.reverse)

    def _in_order(self, entries: Iterable[Entry]) -> list[Entry]:
        """By name, or by time or size and then by name. What cannot be read counts as nothing."""
        from imgmount.errors import ImageError

        def measure(node: Node) -> int:
            try:
                stat = node.stat()
            except ImageError:
                return 0
            return -stat.mtime_ns if self.args.by_time else -stat.size

        measured = self.args.by_time or self.args.by_size
        ordered = [(measure(node) if measured else 0, _key(path), (path, node)) for path, node in entries]
        ordered.sort(key=lambda each: each[:2], reverse=self.args.reverse)
        return [entry for _, _, entry in ordered]

    def _show(self, entries: Sequence[tuple[str, Node | None]]) -> None:
        if self.args.long:
            for name, node in entries:
                self._line(name, node)
            return
        names = [for_stdout(name or "/") for name, _ in entries]
        if self.wide:
            from imgmount.cli.columns import in_columns

            names = list(in_columns(names, os.get_terminal_size(sys.stdout.fileno()).columns))
        for name in names:
            print(name)

    def _line(self, name: str, node: Node | None) -> None:
        from imgmount.cli.entry import UNKNOWN, long_facts
        from imgmount.core.node import Symlink
        from imgmount.errors import ImageError

        try:
            facts = long_facts(node.stat(), human=self.args.human_readable) if node else UNKNOWN
            arrow = f" -> {node.readlink()}" if isinstance(node, Symlink) else ""
        except ImageError as exc:
            self._problem(name, exc)
            facts, arrow = UNKNOWN, ""
        guess = f" (a guess: {node.guess})" if node and node.guess else ""
        print(f"{facts} {for_stdout((name or '/') + arrow)}{guess}")

    def _facts(self, path: str, node: Node) -> dict[str, object]:
        from imgmount.cli.entry import plain_facts

        facts = plain_facts(node)
        if "problem" in facts:
            self._problem(path, facts["problem"])
        return {"path": path or "/", **facts}

    def _problem(self, path: str, error: object) -> None:
        self.damaged = True
        sys.stdout.flush()
        complain(f"{path or '/'}: {error}")


def _key(name: str) -> tuple[str, str]:
    """Names in the order in which people look for them: large and small letters together."""
    return name.casefold(), name
