"""``imgmount info``: what an image is made of.

The JSON is described in docs/info-json.md and only ever grows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from imgmount.cli.options import add_image_arguments, open_from
from imgmount.cli.text import both_sizes, printable

if TYPE_CHECKING:
    from imgmount.chain.open import Image
    from imgmount.chain.volumes import Volume
    from imgmount.core.device import BlockDevice

SUMMARY: Final = "Say what an image is made of: containers, partitions, filesystems."
SCHEMA: Final = 1
UNREAD: Final = "unread"  # the format of what has no reader: no choice for --fs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """IMAGE."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("--json", action="store_true", help="the same as an object; docs/info-json.md")
    add_image_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the facts."""
    with open_from(args) as image:
        facts = describe(image)
    print(json.dumps(facts, indent=2) if args.json else "\n".join(_lines(facts)))
    return 0


def describe(image: Image) -> dict[str, Any]:
    """The facts as plain values."""
    volumes = [
        _volume(volume, image) for volume in image.volumes
    ]  # opens them, which the chain then tells of
    return {
        "schema": SCHEMA,
        "image": str(image.path),
        "chain": str(image),
        "layers": [
            {"name": layer.name, "title": layer.title, "size": layer.device.size, "info": _info(layer.device)}
            for layer in image.layers
        ],
        "partition_table": image.table or None,
        "partition_table_info": _table_info(image.disk, image.table),
        "volumes": volumes,
        "files": [str(path) for path in image.opened],
    }


def _volume(volume: Volume, image: Image) -> dict[str, Any]:
    filesystem: dict[str, Any] | None = None
    if volume.problem is None and volume.format is not None:
        opened = volume.filesystem
        fmt = volume.format
        passed = {"passed over": str(volume.passed_over)} if volume.passed_over else {}
        filesystem = {"name": fmt.name, "title": fmt.title, "label": opened.label, "uuid": opened.uuid}
        filesystem["info"] = {**opened.info(), **passed}
    return {
        "index": volume.index,
        "name": volume.name,
        "kind": volume.partition.kind,
        "label": volume.partition.name,
        "uuid": volume.partition.uuid,
        "session": volume.partition.session or None,
        "offset": _offset(volume.device, image.disk),
        "size": volume.device.size,
        "info": dict(volume.partition.info),
        "filesystem": filesystem,
        "partition_table": volume.table or None,
        "partition_table_info": _table_info(volume.device, volume.table),
        "also": [view for fmt in volume.others if fmt.name != UNREAD for view in (fmt.name, *fmt.views)],
        "recognised": _recognised(volume),
        "problem": str(volume.problem) if volume.problem else None,
    }


def _recognised(volume: Volume) -> str | None:
    """What else is in the same bytes and is not read: the HFS side of a hybrid disc."""
    from imgmount.errors import ImageError

    for fmt in volume.others:
        if fmt.name == UNREAD:
            try:
                fmt.open(volume.device, volume.context)
            except ImageError as exc:
                return str(exc)
    return None


def _offset(device: BlockDevice, disk: BlockDevice) -> int | None:
    from imgmount.core.slices import Slice

    if device is disk:
        return 0
    return device.offset if isinstance(device, Slice) and device.device is disk else None


def _info(device: BlockDevice) -> dict[str, str]:
    from imgmount.core.format import Described

    return dict(device.info()) if isinstance(device, Described) else {}


def _table_info(device: BlockDevice, table: str) -> dict[str, str]:
    from imgmount.core.format import PartitionsFormat
    from imgmount.registry import named

    formats = [named(PartitionsFormat, name) for name in table.split("+") if name not in ("", "tracks")]
    return {name: value for fmt in formats if fmt.about for name, value in fmt.about(device).items()}


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
