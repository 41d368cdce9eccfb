"""A Parallels bundle: DiskDescriptor.xml names the files of the disk, part by part, and of its snapshots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree as ET

from imgmount.containers.vdisk.parallels.disk import MAX_BLOCKS, ParallelsDevice
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import Context
from imgmount.core.option import SNAPSHOT
from imgmount.core.slices import Concat, Slice
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError

ROOT: Final = "Parallels_disk_image"
MAX_DESCRIPTOR: Final = 1 << 20
MAX_DEPTH: Final = 64  # snapshots above each other
SECTOR: Final = 512
NO_PARENT: Final = "{00000000-0000-0000-0000-000000000000}"
CURRENT: Final = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"  # the image in use, where no TopGUID names one


def is_descriptor(file: BlockDevice) -> bool:
    """Whether ``file`` is a DiskDescriptor.xml."""
    return f"<{ROOT}".encode() in file.pread(0, 4096)


def _parse(file: BlockDevice) -> ET.Element:
    """The descriptor's root.

    It declares no entities, so that none can be made to grow. Raises ``FormatError``.
    """
    if file.size > MAX_DESCRIPTOR:
        raise FormatError(
            "parallels", f"a descriptor of {file.size} bytes: at most {MAX_DESCRIPTOR} are read"
        )
    try:
        source = file.pread(0, file.size).decode("utf-8-sig")
        if "<!DOCTYPE" in source or "<!ENTITY" in source:
            raise FormatError("parallels", "the descriptor declares entities, which none needs: not read")
        # without entities nothing can expand
        return ET.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", source))  # noqa: S314
    except (UnicodeDecodeError, ET.ParseError) as exc:
        raise FormatError("parallels", "the descriptor is not well-formed XML in UTF-8") from exc


def _text(element: ET.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _sectors(element: ET.Element, path: str) -> int:
    value = _text(element, path)
    if not value.isdecimal() or len(value) > 18:
        raise FormatError("parallels", f"{path} is {value!r}")
    return int(value)


class BundleDevice(MappedDevice):
    """The disk of a descriptor, in its newest state or at the snapshot that the user names by its GUID."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        root = _parse(file)
        self._context = context
        self._blocks = 0
        parents = {_text(shot, "GUID"): _text(shot, "ParentGUID") for shot in root.iterfind("Snapshots/Shot")}
        self.snapshot = SNAPSHOT.of(context.options.extra)
        top = _text(root, "Snapshots/TopGUID") or CURRENT
        self._ancestry = _ancestry(_chosen(self.snapshot, parents) if self.snapshot else top, parents)
        runs: list[Extent] = []
        end = 0
        storages = sorted(root.iterfind("StorageData/Storage"), key=lambda one: _sectors(one, "Start"))
        for storage in storages:
            start, stop = _sectors(storage, "Start"), _sectors(storage, "End")
            if start != end or stop < start:
                raise FormatError("parallels", f"a part from sector {start} to {stop}, {end} expected")
            runs.append(Extent((stop - start) * SECTOR, self._open(storage, (stop - start) * SECTOR)))
            end = stop
        if not runs:
            raise FormatError("parallels", "the descriptor lists no storage")
        self._disk = Concat(runs)
        self.size = self._disk.size
        self._parts = len(runs)

    def _open(self, storage: ET.Element, size: int) -> BlockDevice:
        """The images of one part, each over the one before it."""
        images = {_text(image, "GUID"): image for image in storage.iterfind("Image")}
        lineage = [identifier for identifier in self._ancestry if identifier in images]
        if not lineage and len(images) == 1:
            lineage = list(images)
        if not lineage:
            raise MissingPartError(f"parallels: no image {self._ancestry[-1]!r} in the descriptor")
        disk: BlockDevice | None = None
        for identifier in lineage:
            image = images[identifier]
            name, kind = _text(image, "File"), _text(image, "Type")
            file = self._context.siblings.open(name)
            if kind == "Plain":
                disk = file
            elif kind == "Compressed":
                disk = ParallelsDevice(file, disk)
                self._blocks += disk.blocks
                if self._blocks > MAX_BLOCKS:
                    raise FormatError("parallels", f"images with more than {MAX_BLOCKS} blocks together")
            else:
                raise UnsupportedError(f"parallels: images of type {kind!r}")
        assert disk is not None
        return disk if disk.size >= size else Slice(disk, 0, size)

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._disk, offset)

    def info(self) -> Mapping[str, str]:
        facts = {"parts": str(self._parts)}
        for number, identifier in enumerate(self._ancestry[:-1]):
            facts[f"snapshot {identifier}"] = (
                "the first" if number == 0 else f"over {self._ancestry[number - 1]}"
            )
        return facts


def _chosen(wanted: str, parents: Mapping[str, str]) -> str:
    """The GUID of the snapshot that the user means."""
    for identifier in parents:
        if identifier.strip("{}").lower() == wanted.strip("{}").lower():
            return identifier
    raise ImageError(
        f"parallels: no snapshot is called {wanted!r}; there are: {', '.join(parents) or 'none'}"
    )


def _ancestry(top: str, parents: Mapping[str, str]) -> list[str]:
    """``top`` and what it is based on, oldest first."""
    lineage = [top]
    while (parent := parents.get(lineage[-1], NO_PARENT)) != NO_PARENT:
        if parent in lineage or len(lineage) > MAX_DEPTH:
            raise FormatError("parallels", f"the snapshots of {top!r} have no beginning")
        lineage.append(parent)
    return lineage[::-1]
