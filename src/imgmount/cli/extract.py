"""``imgmount extract``: copy files out of an image."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from imgmount.cli.options import add_image_arguments, add_view_arguments, open_from, vfs_from

if TYPE_CHECKING:
    from imgmount.core.node import Node
    from imgmount.vfs.vfs import Vfs

EXIT_HOST: Final = 1
EXIT_IMAGE: Final = 2
SUMMARY: Final = "Copy files out of an image, with times, modes, links and holes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """IMAGE, PATHs, where to."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        default=["/"],
        help="folders and files to copy, '*.txt' too; everything if none is named",
    )
    parser.add_argument(
        "-C", "--directory", metavar="DIR", default=".", help="folder to copy to; made if it is not there"
    )
    parser.add_argument(
        "-p", "--preserve", action="store_true", help="keep modes in full; as root also owners and devices"
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there already")
    add_view_arguments(parser)
    add_image_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Copy what can be copied. 2: something could not be read; 1: something could not be written."""
    from pathlib import Path

    from imgmount.cli.progress import Progress
    from imgmount.jobs.extract import Extraction
    from imgmount.vfs.paths import expand

    with open_from(args) as image:
        vfs = vfs_from(args, image)
        chosen = dict(entry for name in args.paths for entry in expand(vfs, name, follow=False))
        chosen = {path: node for path, node in chosen.items() if not _is_below_another(path, set(chosen))}
        image.context.cache.start()
        Path(args.directory).mkdir(parents=True, exist_ok=True)
        progress = Progress(_total(vfs, chosen) if Progress.wanted() else 0)
        with Extraction(
            vfs, args.directory, preserve=args.preserve, force=args.force, report=progress
        ) as extraction:
            for path, node in chosen.items():
                extraction.extract(path, node)
        progress.clear()
        return EXIT_IMAGE if extraction.image_failed else EXIT_HOST if extraction.host_failed else 0


def _is_below_another(path: str, chosen: set[str]) -> bool:
    while path:
        path = path.rpartition("/")[0]
        if path in chosen:
            return True
    return False


def _total(vfs: Vfs, chosen: dict[str, Node]) -> int:
    from imgmount.core.node import Directory, File
    from imgmount.errors import ImageError

    total = 0
    for path, node in chosen.items():
        below = vfs.walk(path, lambda _path, _error: None) if isinstance(node, Directory) else [(path, node)]
        for _, each in below:
            try:
                total += each.stat().size if isinstance(each, File) else 0
            except ImageError:
                continue  # it will be reported when it is copied
    return total
