"""``imgmount list``: the images that are mounted now, as the kernel knows them."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from imgmount.cli.text import for_stdout

SUMMARY: Final = "List the images that are mounted now."
PROGRAMS: Final = ("imgmount", "mount.imgmount", "mount.fuse.imgmount")
TYPES: Final = ("fuse.imgmount", "imgmount")
MOUNTINFO: Final = Path("/proc/self/mountinfo")  # proc_pid_mountinfo(5)
PROC: Final = Path("/proc")
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """A live mount. ``pid`` is the process that serves it, where that can be told."""

    image: str
    mountpoint: str
    options: tuple[str, ...]
    pid: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to print them."""
    parser.add_argument("--json", action="store_true", help="a list of objects")


def run(args: argparse.Namespace) -> int:
    """Print one line a mount: image, mount point, process, options."""
    mounts = live_mounts()
    if args.json:
        print(json.dumps([mount._asdict() for mount in mounts], indent=2))
        return 0
    for mount in mounts:
        print(
            for_stdout(f"{mount.image} on {mount.mountpoint} ({','.join(mount.options)})")
            + (f" pid {mount.pid}" if mount.pid else "")
        )
    return 0


def live_mounts() -> list[Mount]:
    """Every mount of ours in this mount namespace, oldest first."""
    mounts = list(parse_mountinfo(MOUNTINFO.read_bytes()))
    servers = dict(_servers()) if mounts else {}
    return [mount._replace(pid=servers.get(mount.mountpoint)) for mount in mounts]


def parse_mountinfo(table: bytes) -> Iterator[Mount]:
    """Our mounts in the text of a mountinfo file."""
    for line in table.split(b"\n"):
        left, dash, right = line.partition(b" - ")  # optional fields end here; a dash in a path is not a field of its own
        if not dash:
            continue
        here, (kind, source, more) = left.split(b" "), right.split(b" ")
        if _text(kind) in TYPES:
            options = dict.fromkeys([*_text(here[5]).split(","), *_text(more).split(",")])
            yield Mount(_text(source), _text(here[4]), tuple(options))


def _text(field: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), field))


def _servers() -> Iterator[tuple[str, int]]:
    """(mount point, pid) of processes whose command line says that they serve one; a helper's own name is enough."""
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
            folder = (entry / "cwd").readlink()
        except OSError:  # gone, or not ours to look at
            continue
        if _is_server(words):
            for word in words[1:]:
                yield os.path.normpath(folder / word), int(entry.name)


def _is_server(words: list[str]) -> bool:
    return any(Path(word).name in PROGRAMS for word in words[:3])  # after python -m
