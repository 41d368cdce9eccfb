"""``imgmount info``: what an image is made of.

The JSON is described in docs/info-json.md and only ever grows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from imgmount.cli.options import add_image_arguments, open_from
from imgmount.cli.text import both_sizes
from imgmount.core.printable import printable

SUMMARY: Final = "Say what an image is made of: containers, partitions, filesystems."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """IMAGE."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument(
        "--json", action="store_true", help="print the facts as a JSON object; see docs/info-json.md"
    )
    add_image_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the facts."""
    from imgmount.jobs.describe import describe

    with open_from(args) as image:
        facts = describe(image)
    print(json.dumps(facts, indent=2) if args.json else "\n".join(_lines(facts)))
    return 0


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield printable(facts["chain"])
    for layer in facts["layers"]:
        yield printable(f"{layer['name']}: {layer['title']}, {both_sizes(layer['size'])}")
        yield from _indented(layer["info"])
    if facts["partition_table"]:
        yield f"partition table: {facts['partition_table']}"
        yield from _indented(facts["partition_table_info"])
    several = len({volume["session"] for volume in facts["volumes"]} - {None}) > 1
    for volume in facts["volumes"]:
        yield from _volume_lines(volume, session=several and not volume["kind"].startswith("session"))
    for path in facts["files"]:
        yield f"opened: {printable(path)}"


def _volume_lines(volume: Mapping[str, Any], *, session: bool) -> Iterator[str]:
    where = f" at {volume['offset']:#x}" if volume["offset"] else ""
    label = volume["label"] and repr(volume["label"])
    of = f"session {volume['session']}" if session and volume["session"] else ""
    about = "".join(f", {text}" for text in (volume["kind"], label, volume["uuid"], of) if text)
    yield printable(f"{volume['name']}: {both_sizes(volume['size'])}{where}{about}")
    yield from _indented(volume["info"])
    if volume["problem"] and not volume["partition_table"]:
        yield f"  {printable(volume['problem'])}"
    yield from _indented(volume["partition_table_info"], "    ")
    if volume["filesystem"]:
        filesystem = volume["filesystem"]
        yield printable(f"  {filesystem['name']}: {filesystem['title']}")
        label = {"label": filesystem["label"]} if filesystem["label"] else {}
        yield from _indented(label | filesystem["info"], "    ")
    if volume["recognised"]:
        yield f"  also: {printable(volume['recognised'])}"
    if volume["also"]:
        yield f"  also, with --fs: {', '.join(volume['also'])}"


def _indented(info: Mapping[str, str], indent: str = "  ") -> Iterator[str]:
    for name, value in info.items():
        yield f"{indent}{printable(f'{name}: {value}')}"
