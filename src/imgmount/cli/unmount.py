"""``imgmount -u MOUNTPOINT|IMAGE``."""

from __future__ import annotations

import argparse
from typing import Final

SUMMARY: Final = "Unmount images, by their mount points or by their own names."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of unmounting."""
    parser.add_argument("mounted", metavar="MOUNTPOINT|IMAGE", nargs="+", help="what to unmount")
    parser.add_argument(
        "-l", "--lazy", action="store_true", help="detach now, end when it is no longer in use"
    )


def run(args: argparse.Namespace) -> int:
    """Unmount each; the first failure is raised after all were tried."""
    from pathlib import Path

    from imgmount.errors import MountError
    from imgmount.fuse import mountpoint

    failures = []
    for wanted in args.mounted:
        try:
            mount = mountpoint.find(Path(wanted))
            mountpoint.detach(mount.target, lazy=args.lazy)
            mountpoint.discard(mount.target)
        except MountError as exc:
            failures.append(exc)
    if failures:
        raise failures[0].again()
    return 0
