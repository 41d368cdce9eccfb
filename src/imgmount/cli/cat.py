"""``imgmount cat``: files of an image to standard output."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from imgmount.cli.options import add_image_arguments, add_view_arguments, open_from, vfs_from
from imgmount.cli.text import complain

SUMMARY: Final = "Write files of an image to standard output."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """IMAGE and PATHs."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="as ls shows it: /p1/dir/file, or '*.txt'")
    add_view_arguments(parser)
    add_image_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the files, up to the first that cannot be read: the next would look like its continuation."""
    from imgmount.core.node import as_file
    from imgmount.core.read_through import read_through
    from imgmount.vfs.paths import expand

    with open_from(args) as image:
        vfs = vfs_from(args, image)
        image.context.cache.start()
        for path, node in (entry for name in args.paths for entry in expand(vfs, name)):
            if node.guess:
                complain(f"{path}: a guess: {node.guess}")
            with as_file(node, path or "/").open() as content:
                for data in read_through(content):
                    sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    return 0
