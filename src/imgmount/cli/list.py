"""``imgmount list``: the images that are mounted now, as the kernel knows them."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from imgmount.cli.text import for_stdout

SUMMARY: Final = "List the images that are mounted now."


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
    from imgmount.fuse.processes import servers

    found = list(mounts())
    pids = servers(found) if found else {}
    return [
        {
            "image": mount.source,
            "mountpoint": str(mount.target),
            "options": list(mount.options),
            "pid": pids.get(mount.device),
        }
        for mount in found
    ]
