"""``imgmount IMAGE [MOUNTPOINT]``: the command that the program is named after."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that only mounting has."""
    parser.add_argument("image", metavar="IMAGE", help="the image, or one part of it")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", help="a folder; one that is not there is made and removed")
    parser.add_argument(
        "-o", dest="mount_options", metavar="OPTS", action="append", default=[],
        help="mount options, separated by commas: allow_other, uid=N, gid=N, umask=M... and the long options of this command",
    )  # fmt: skip
    parser.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground")
    parser.add_argument("--raw", action="store_const", const="raw", dest="view", help="the same as --view raw")


def run(args: argparse.Namespace) -> int:
    """Mount; 0 when the mount answers (in the foreground: when it has ended in good order)."""
    from imgmount.chain import open_image
    from imgmount.cli.options import make_cache, make_options
    from imgmount.fuse import mountpoint
    from imgmount.fuse.options import parse
    from imgmount.fuse.session import Session, raise_read_ahead
    from imgmount.vfs.tree import View, build_vfs

    path = Path(args.image)
    options = parse(args.mount_options, frozenset())
    image = open_image(path, make_options(args), make_cache(args))
    vfs = build_vfs(image, View(args.view))
    for note in vfs.notes:
        print(f"imgmount: {path}: {note}", file=sys.stderr)
    target = Path(os.path.abspath(args.mountpoint or mountpoint.default_target(path)))  # noqa: PTH100  keeps symlinks
    created = mountpoint.prepare(target)
    session = Session(image, path.resolve(), vfs, target, options, created)
    if args.foreground:
        return session.foreground(lambda: None)
    code = session.background()
    if code == 0:
        if image.context.cache.enrolled:
            raise_read_ahead(target)
        if args.mountpoint is None:
            print(target)
    return code
