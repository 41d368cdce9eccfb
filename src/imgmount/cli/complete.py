"""What a shell cannot know when TAB is pressed: paths inside an image, and what is mounted.

``imgmount --complete WORD...`` has the words of a command line as they are typed, up to the cursor. 0: the
lines that are printed are what the last word may be. 1: the shell knows better.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from imgmount.cli.commands import command_of, parser_for
from imgmount.cli.parser import UsageError
from imgmount.cli.words import without_end

if TYPE_CHECKING:
    import argparse

MAX_SECONDS: Final = 4  # nobody waits longer for a TAB
CURSOR: Final = "\0"
NOTHING: Final = 1


def run(words: Sequence[str]) -> int:
    """Print what the last of ``words`` may become."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(NOTHING))
    signal.alarm(MAX_SECONDS)
    try:
        return _complete(words)
    finally:
        signal.alarm(0)


def _complete(words: Sequence[str]) -> int:
    *before, current = [_plain(word) for word in _rejoined(words)] or [""]
    command, others = command_of([*before, CURSOR])
    found: Iterator[str] | None = None
    if not current.startswith("-"):
        try:
            args = parser_for(command).parse_intermixed_args(without_end(others))
        except UsageError:
            return NOTHING
        found = _possible(command, args, current)
    if found is None:
        return NOTHING
    sys.stdout.writelines(f"{one}\n" for one in found if one.isprintable() and one.startswith(current))
    return 0


def _rejoined(words: Sequence[str]) -> Iterator[str]:
    """``--fs``, ``=`` and ``udf`` as one word: bash parts them."""
    line = list(words)
    while line:
        word = line.pop(0)
        if word.startswith("--") and line[:1] == ["="]:
            word += "".join(line[:2])
            del line[:2]
        yield word


def _plain(word: str) -> str:
    """A word without its quotes, of which the last may be missing."""
    for end in ("", "'", '"'):
        try:
            # not pathlib, which drops the slash at the end
            return os.path.expanduser("".join(shlex.split(word + end)))  # noqa: PTH111
        except ValueError:
            continue
    return word


def _possible(command: str, args: argparse.Namespace, current: str) -> Iterator[str] | None:
    if command == "unmount":
        return _mounted(current)
    if args.image in (None, CURSOR) or CURSOR not in getattr(args, "paths", ()):
        return None
    return _inside(args, current)


def _mounted(current: str) -> Iterator[str]:
    """Mount points and their images; those below the current folder as they are seen from there."""
    from imgmount.fuse.mountpoint import mounts

    here = f"{os.getcwd()}/"  # noqa: PTH109
    for mount in mounts():
        for path in (str(mount.target), mount.source):
            yield path.removeprefix(here) if not current.startswith("/") else path


def _inside(args: argparse.Namespace, current: str) -> Iterator[str]:
    """The entries of the folder that ``current`` is in, with a slash behind folders."""
    from imgmount.cli.options import open_from, vfs_from
    from imgmount.core.node import Directory
    from imgmount.errors import ImgMountError
    from imgmount.vfs.paths import resolve

    head, slash, start = current.rpartition("/")
    with open_from(args) as image:
        vfs = vfs_from(args, image)
        folder, _ = resolve(vfs, head)
        for name in sorted(vfs.listing(folder).nodes):
            if name.startswith(start) and (start or not name.startswith(".")):
                try:
                    _, node = resolve(vfs, f"{folder}/{name}")
                    yield f"{head}{slash}{name}" + "/" * isinstance(node, Directory)
                except (OSError, ImgMountError):
                    yield f"{head}{slash}{name}"
