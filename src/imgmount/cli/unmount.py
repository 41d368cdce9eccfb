"""``imgmount -u MOUNTPOINT|IMAGE``."""

from __future__ import annotations

import argparse
import os
from itertools import islice
from typing import TYPE_CHECKING, Final

from imgmount.cli.options import add_notify_argument
from imgmount.cli.parser import UsageError
from imgmount.cli.text import complain

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY: Final = "Unmount images, by their mount points or by their own names."
MAX_NAMED: Final = 10  # processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of unmounting."""
    parser.add_argument("mounted", metavar="MOUNTPOINT|IMAGE", nargs="*", help="what to unmount")
    parser.add_argument("-a", "--all", action="store_true", help="unmount all that you have mounted")
    parser.add_argument(
        "-l", "--lazy", action="store_true", help="detach now, end when it is no longer in use"
    )
    add_notify_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Unmount each. Every failure is told, the last one is raised after all were tried."""
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
            _unmount(one, lazy=args.lazy)
        except MountError as exc:
            failures.append(exc)
    for failure in failures[:-1]:
        complain(failure.with_advice())
    if failures:
        raise failures[-1].again()
    return 0


def _unmount(wanted: Path, *, lazy: bool) -> None:
    """Raises ``MountError``, with a note of who keeps the mount busy."""
    from imgmount.errors import MountError
    from imgmount.fuse import mountpoint
    from imgmount.fuse.processes import holders

    mount = mountpoint.find(wanted)
    try:
        mountpoint.detach(mount.target, lazy=lazy)
    except MountError as exc:
        users = [str(process) for process in islice(holders(mount.target), MAX_NAMED)]
        if users:
            exc.advise(f"in use by {', '.join(users)}", "-l detaches it now and ends it when they are done")
        raise
    mountpoint.discard(mount.target)
