"""What an image is made of, as plain values: the object that docs/info-json.md describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from imgmount.chain.open import Image
from imgmount.chain.volume import Volume
from imgmount.core.device import BlockDevice
from imgmount.core.format import Described, FilesystemFormat
from imgmount.core.slices import Slice
from imgmount.errors import ImageError

SCHEMA: Final = 1
UNREAD: Final = ("archive", "unread")  # formats of what is recognised and not read; --fs cannot choose it


def describe(image: Image) -> dict[str, Any]:
    """The facts as plain values."""
    # this opens the volumes; the chain tells what was found then
    volumes = [_volume(volume, image) for volume in image.volumes]
    return {
        "schema": SCHEMA,
        "image": str(image.path),
        "chain": str(image),
        "layers": [
            {"name": layer.name, "title": layer.title, "size": layer.device.size, "info": _info(layer.device)}
            for layer in image.layers
        ],
        "partition_table": image.table or None,
        "partition_table_info": _table_info(image, ""),
        "gaps": _gaps(image),
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
    others = volume.others
    return {
        "index": volume.index,
        "name": volume.name,
        "outer": volume.outer or None,
        "kind": volume.partition.kind,
        "label": volume.partition.name,
        "uuid": volume.partition.uuid,
        "session": volume.partition.session or None,
        "offset": _offset(volume.device, image.disk),
        "size": volume.device.size,
        "info": dict(volume.partition.info),
        "filesystem": filesystem,
        "partition_table": volume.table or None,
        "partition_table_info": _table_info(image, volume.name),
        "also": [view for fmt in others if fmt.name not in UNREAD for view in (fmt.name, *fmt.views)],
        "recognised": _recognised(volume, others),
        "problem": str(volume.problem) if volume.problem else None,
    }


def _recognised(volume: Volume, others: Sequence[FilesystemFormat]) -> str | None:
    """What else is recognised in the same bytes and is not read."""
    for fmt in others:
        if fmt.name in UNREAD:
            try:
                fmt.open(volume.device, volume.context)
            except ImageError as exc:
                return str(exc)
    return None


def _offset(device: BlockDevice, disk: BlockDevice) -> int | None:
    if device is disk:
        return 0
    return device.offset if isinstance(device, Slice) and device.device is disk else None


def _gaps(image: Image) -> list[dict[str, int]]:
    """What of a divided disk is in no partition, where each of those is one run of it."""
    parts = [volume for volume in image.volumes if not volume.outer]
    found = [(_offset(volume.device, image.disk), volume.device.size) for volume in parts if volume.index]
    spans = sorted((start, size) for start, size in found if start is not None)
    if len(spans) < len(parts) or not image.table:
        return []
    gaps, end = [], 0
    for start, size in spans:
        if start > end:
            gaps.append({"offset": end, "size": start - end})
        end = max(end, start + size)
    if end < image.disk.size:
        gaps.append({"offset": end, "size": image.disk.size - end})
    return gaps


def _info(device: BlockDevice) -> dict[str, str]:
    return dict(device.info()) if isinstance(device, Described) else {}


def _table_info(image: Image, part: str) -> dict[str, str]:
    """What the tables in a part say besides their parts; in the undivided disk for ""."""
    tables = [(fmt, device) for where, fmt, device in image.layers[-1].tables if where == part]
    return {name: value for fmt, device in tables if fmt.about for name, value in fmt.about(device).items()}
