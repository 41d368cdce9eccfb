"""``imgmount list``: the images that are mounted now, as the kernel knows them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from imgmount.cli.text import for_stdout

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY: Final = "List the images that are mounted now."
PROGRAMS: Final = ("imgmount", "mount.imgmount", "mount.fuse.imgmount")
PROC: Final = "/proc"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to print them."""
    parser.add_argument("--json", action="store_true", help="a list of objects")


def run(args: argparse.Namespace) -> int:
    """Print one line a mount."""
    mounts = live_mounts()
    if args.json:
        print(json.dumps(mounts, indent=2))
        return 0
    for mount in mounts:
        pid = f" pid {mount['pid']}" if mount["pid"] else ""
        print(for_stdout(f"{mount['image']} on {mount['mountpoint']} ({','.join(mount['options'])})") + pid)
    return 0


def live_mounts() -> list[dict[str, Any]]:
    """Every mount of ours, oldest first: image, mountpoint, options, pid (None where it is not known)."""
    from imgmount.fuse.mountpoint import mounts

    found = list(mounts())
    servers = dict(_servers()) if found else {}
    return [
        {
            "image": mount.source,
            "mountpoint": str(mount.target),
            "options": list(mount.options),
            "pid": servers.get(str(mount.target)),
        }
        for mount in found
    ]


def _servers() -> Iterator[tuple[str, int]]:
    """(mount point, pid) of processes whose command line says that they serve a mount."""
    from pathlib import Path

    for entry in Path(PROC).iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
        except OSError:  # gone
            continue
        if _is_server(words):
            for word in words[1:]:
                yield os.path.normpath(_folder(entry) / word), int(entry.name)


def _folder(process: Path) -> Path:
    """The folder that relative paths of a process begin in. A daemon does not tell it, and works in ``/``."""
    from pathlib import Path

    try:
        return (process / "cwd").readlink()
    except OSError:
        return Path("/")


def _is_server(words: list[str]) -> bool:
    return any(word.rpartition("/")[2] in PROGRAMS for word in words[:3])  # after python -m
