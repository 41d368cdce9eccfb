"""``imgmount IMAGE [MOUNTPOINT]``: the command that the program is named after."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Final

from imgmount.cli.desktop import add_install_arguments
from imgmount.cli.options import (
    DEFAULT_VIEW,
    add_image_arguments,
    add_notify_argument,
    add_view_arguments,
    open_from,
    vfs_from,
    warn,
)
from imgmount.cli.parser import UsageError

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY: Final = "Mount a disk image as files."
MAX_NUMBER: Final = 1_000_000
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that only mounting has."""
    parser.add_argument("image", metavar="IMAGE", help="the image, or one part of it")
    parser.add_argument(
        "mountpoint",
        metavar="MOUNTPOINT",
        nargs="?",
        help="a folder; one that is not there is made and removed",
    )
    parser.add_argument(
        "-o", dest="mount_options", metavar="OPTS", action="append", default=[],
        help="mount options: allow_other, uid=USER, gid=GROUP, umask=M, or long options of this command",
    )  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground")
    how.add_argument(
        "--open", action="store_true", help="open the mounted folder in the file manager; for desktops"
    )
    add_notify_argument(parser)
    parser.add_argument(
        "--idle-timeout",
        metavar="TIME",
        type=duration,
        help="unmount after so long without use: 10min; units are s, min, h and d",
    )
    add_view_arguments(parser)
    add_image_arguments(parser)
    add_install_arguments(parser)
    parser.set_defaults(sloppy=False, long_options={}, by_hand=True)  # what main finds out for us


def duration(text: str) -> float:
    """``10min`` as seconds. Raises ``ArgumentTypeError``."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = _SECONDS.get(text[len(number) :])
    if unit is None or not (number.isascii() and number.isdecimal() and 0 < int(number) <= MAX_NUMBER):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: 30s, 10min, 2h")
    return float(int(number) * unit)


def run(args: argparse.Namespace) -> int:
    """Mount; 0 when the mount answers (in the foreground: when it has ended in good order)."""
    return _open(args) if args.open else _mount(args)


def _open(args: argparse.Namespace) -> int:
    """Mount and show the folder. What is mounted already is only shown."""
    from pathlib import Path

    from imgmount.desktop.windows import show
    from imgmount.fuse.places import mounted_at, one_at_a_time

    path = Path(args.image)
    with one_at_a_time(path):
        there = None if args.mountpoint or args.view != DEFAULT_VIEW else mounted_at(path)
        code = 0 if there else _mount(args)
        there = there or mounted_at(path)
    if there is not None:
        show(there)
    return code


def _mount(args: argparse.Namespace) -> int:
    from pathlib import Path

    from imgmount.fuse import mountpoint
    from imgmount.fuse.options import parse, split
    from imgmount.fuse.places import default_target
    from imgmount.fuse.session import Session, raise_read_ahead

    path = Path(args.image)
    _check_order(path, args.mountpoint)
    if args.by_hand and any("rw" in split(text) for text in args.mount_options):  # mount(8) says so each time
        warn("-o rw does nothing: an image is never written")
    options = parse(args.mount_options, args.long_options, sloppy=args.sloppy)
    if options.remount:
        mountpoint.remount(Path(args.mountpoint or path), options.passed)
        return 0
    image = open_from(args)
    vfs = vfs_from(args, image)
    label = image.label if args.view == DEFAULT_VIEW else ""
    target = args.mountpoint or default_target(path, label, listed=args.open)
    target = Path(os.path.abspath(target))  # noqa: PTH100  keeps symlinks
    created = mountpoint.prepare(target)
    session = Session(image, path.resolve(), vfs, target, options, created, args.idle_timeout)
    if args.foreground:
        return session.foreground()
    code = session.background()
    if code == 0:
        raise_read_ahead(target, coded=image.context.cache.enrolled > 0)
        if args.mountpoint is None:
            print(target)
        if args.notify and vfs.notes:
            from imgmount.desktop.messages import tell

            tell(path.name, "; ".join(vfs.notes))
    return code


def _check_order(image: Path, mountpoint: str | None) -> None:
    """Raise ``UsageError`` where the two were swapped."""
    is_image = mountpoint is not None and os.path.isfile(mountpoint)  # noqa: PTH113
    if is_image and (image.is_dir() or not image.exists()):
        raise UsageError(f"the image comes first: imgmount {mountpoint} {image}; see 'imgmount --help'")
