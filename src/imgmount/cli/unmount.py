"""``imgmount -u MOUNTPOINT|IMAGE``."""

from __future__ import annotations

import argparse
import os
from typing import Final

from imgmount.cli.options import add_notify_argument
from imgmount.cli.parser import UsageError

SUMMARY: Final = "Unmount images, by their mount points or by their own names."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of unmounting."""
    parser.add_argument("mounted", metavar="MOUNTPOINT|IMAGE", nargs="*", help="what to unmount")
    parser.add_argument("-a", "--all", action="store_true", help="unmount all that you have mounted")
    parser.add_argument(
        "-l", "--lazy", action="store_true", help="detach now, end when it is no longer in use"
    )
    add_notify_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Unmount each; the first failure is raised after all were tried."""
    from pathlib import Path

    from imgmount.errors import MountError
    from imgmount.fuse import mountpoint

    if not (args.mounted or args.all):
        raise UsageError("-u takes mount points or images, or --all")
    mine = f"user_id={os.getuid()}"
    failures = []
    wanted = [mount.target for mount in mountpoint.mounts() if args.all and mine in mount.options]
    for one in dict.fromkeys([*map(Path, args.mounted), *reversed(wanted)]):
        try:
            mount = mountpoint.find(one)
            mountpoint.detach(mount.target, lazy=args.lazy)
            mountpoint.discard(mount.target)
        except MountError as exc:
            failures.append(exc)
    if failures:
        raise failures[0].again()
    return 0
