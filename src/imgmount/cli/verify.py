"""``imgmount verify``: check an image against what it stores about itself, and read all of it."""

from __future__ import annotations

import argparse
from typing import Final

from imgmount.cli.options import add_image_arguments, open_from
from imgmount.cli.text import for_stdout

SUMMARY: Final = "Check an image: its own checksums and structures, and that every byte of it can be read."
EXIT_DAMAGED: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """IMAGE and how thoroughly."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="also compare with what other libraries read, for formats that have one",
    )
    parser.add_argument(
        "--read",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="read every file and every disk to the end (default)",
    )
    add_image_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print ``ok``, or one line a problem."""
    from imgmount.cli.progress import Progress
    from imgmount.core.read_through import watched
    from imgmount.jobs.verify import problems

    progress = Progress(0)
    with open_from(args) as image, watched(progress):
        image.context.cache.start()
        found = 0
        for problem in problems(image, second_opinion=args.strict, read=args.read):
            progress.clear()
            print(for_stdout(problem), flush=True)
            found += 1
    progress.clear()
    if not found:
        print("ok")
    return EXIT_DAMAGED if found else 0
