"""``imgmount timeline``: the times of all files, deleted ones too, for mactime."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from imgmount.cli.options import add_image_arguments, open_from
from imgmount.cli.text import complain

if TYPE_CHECKING:
    from imgmount.errors import ImageError

SUMMARY: Final = "Print the times of all files, deleted ones too, in the body format that mactime reads."
EXIT_DAMAGED: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """IMAGE."""
    parser.add_argument("image", metavar="IMAGE")
    add_image_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print one line a file; 2 where something is damaged."""
    from imgmount.jobs.timeline import lines

    damaged = False

    def problem(path: str, error: ImageError) -> None:
        nonlocal damaged
        damaged = True
        sys.stdout.flush()
        complain(f"{path or '/'}: {error}")

    with open_from(args) as image:
        for line in lines(image, problem):
            print(line)
    return EXIT_DAMAGED if damaged else 0
