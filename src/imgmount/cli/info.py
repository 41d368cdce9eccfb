"""``imgmount info``: what images are made of.

The JSON is described in docs/info-json.md and only ever grows.
"""

from __future__ import annotations

import argparse
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from imgmount.cli.options import add_image_arguments, open_from
from imgmount.cli.several import Result, add_images, run_each
from imgmount.cli.text import both_sizes, human
from imgmount.core.printable import printable

SUMMARY: Final = "Say what images are made of: containers, partitions, filesystems."
HEADINGS: Final = ("", "start", "length", "size", "type", "name", "file system")
NUMBERS: Final = (1, 2, 3)  # columns to the right
Facts = Mapping[str, Any]
GAP: Final = "unpartitioned"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """IMAGE."""
    add_images(parser, "the facts as a JSON object, see docs/info-json.md")
    add_image_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the facts, those of several images with an empty line between them."""
    shown = 0

    def show(one: argparse.Namespace) -> Result:
        nonlocal shown
        from imgmount.jobs.describe import describe

        with open_from(one) as image:
            facts = describe(image)
        if not one.json:
            several = [printable(f"{one.image}:")] if len(args.image) > 1 else []
            print("\n".join([*([""] if shown else []), *several, *_lines(facts)]))
            shown += 1
        return 0, facts

    return run_each(args, show)


def _lines(facts: Facts) -> Iterator[str]:
    yield printable(facts["chain"])
    for layer in facts["layers"]:
        yield printable(f"{layer['name']}: {layer['title']}, {both_sizes(layer['size'])}")
        yield from _indented(layer["info"])
    volumes = facts["volumes"]
    if facts["partition_table"]:
        yield f"partition table: {facts['partition_table']}"
        yield from _indented(facts["partition_table_info"])
        yield from _aligned([HEADINGS, *_rows(volumes, facts["gaps"])])
    for volume in volumes:
        about = list(_about(volume))
        if not facts["partition_table"]:
            yield printable(f"{volume['name']}: {both_sizes(volume['size'])}")
            yield from [f"  {printable(volume['problem'])}"] if volume["problem"] else []
        elif about:
            yield f"{volume['name']}:"
        yield from about
    for path in facts["files"]:
        yield f"opened: {printable(path)}"


def _rows(volumes: Sequence[Facts], gaps: Sequence[Facts]) -> Iterator[Sequence[str]]:
    """A line of the table for each volume; in the order of the disk where the gaps are known."""
    groups: list[tuple[int, list[Sequence[str]]]] = []  # (start, lines of a volume and of those inside)
    several = len({volume["session"] for volume in volumes} - {None}) > 1
    for volume in volumes:
        if volume["outer"] is None:
            groups.append((volume["offset"] or 0, []))
        groups[-1][1].append(_row(volume, session=several))
    if gaps:
        groups += [(gap["offset"], [("-", *_extent(gap), GAP, "", "")]) for gap in gaps]
        groups.sort(key=operator.itemgetter(0))
    for _, lines in groups:
        yield from lines


def _row(volume: Facts, *, session: bool) -> Sequence[str]:
    kind = volume["kind"]
    if session and volume["session"] and not kind.startswith("session"):
        kind += f", session {volume['session']}"
    holds = volume["partition_table"] or volume["problem"]
    if filesystem := volume["filesystem"]:
        holds = f"{filesystem['name']} {filesystem['label']!r}".removesuffix(" ''")
    return volume["name"], *_extent(volume), kind, volume["label"], holds or ""


def _extent(part: Facts) -> Sequence[str]:
    start = "" if part["offset"] is None else str(part["offset"])
    return start, str(part["size"]), human(part["size"])


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        fields = (
            cell.rjust(width) if index in NUMBERS else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield f"  {'  '.join(fields)}".rstrip()


def _about(volume: Facts) -> Iterator[str]:
    """What there is to tell of a volume besides its line of the table."""
    uuid = {"partition UUID": volume["uuid"]} if volume["uuid"] else {}
    yield from _indented(uuid | volume["info"])
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


def _indented(info: Facts, indent: str = "  ") -> Iterator[str]:
    for name, value in info.items():
        yield f"{indent}{printable(f'{name}: {value}')}"
