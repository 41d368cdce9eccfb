"""``mount.imgmount``: what mount(8), fstab and systemd call. It translates their arguments to ours."""

from __future__ import annotations

import argparse
from typing import Final

from imgmount.cli.commands import run_command
from imgmount.cli.parser import Parser

EXIT_MOUNT_FAILED: Final = 32  # mount(8)
_USAGE: Final = "mount.imgmount IMAGE DIR [-sfnvrw] [-t TYPE] [-N NAMESPACE] [-o OPTIONS]"


def run(argv: list[str]) -> int:
    """Mount as mount(8) asks: 0 when the mount answers."""
    args = parser().parse_intermixed_args(argv)
    options = [*args.o, *(["ro"] if args.r else [])]
    words = [
        args.image,
        args.mountpoint,
        *(["-o", ",".join(options)] if options else []),
        *["-v"] * args.verbose,
    ]
    if args.f:  # fake: everything but the mount itself
        return 0
    return EXIT_MOUNT_FAILED if run_command("mount", words, sloppy=args.s, by_hand=False) else 0


def parser() -> argparse.ArgumentParser:
    """The arguments that mount(8) gives to its helpers."""
    parser = Parser("mount.imgmount", "Mount a disk image, as mount(8) asks for it.", usage=_USAGE)
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("mountpoint", metavar="DIR")
    parser.add_argument(
        "-o", metavar="OPTIONS", action="append", default=[], help="the same as for imgmount -o"
    )
    parser.add_argument("-s", action="store_true", help="tolerate unknown options")
    parser.add_argument("-f", action="store_true", help="fake: do everything but mount")
    parser.add_argument("-n", action="store_true", help="ignored: there is no mtab")
    parser.add_argument("-r", action="store_true", help="read only, as always")
    parser.add_argument("-w", action="store_true", help="ignored: images are never written")
    parser.add_argument("-t", metavar="TYPE", help="ignored")
    parser.add_argument("-N", metavar="NAMESPACE", help="ignored")
    return parser
