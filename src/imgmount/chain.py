"""From a path to volumes: source, containers, partition table, filesystems. The chain is a value that prints itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, FilesystemFormat, Kind, Match, Options, Partition, Partitioned
from imgmount.core.node import Filesystem
from imgmount.errors import ImageError, MissingPartError, UnknownFormatError, UnsupportedError
from imgmount.registry import best_match
from imgmount.sources.siblings import FolderSiblings
from imgmount.sources.split import open_source

MAX_LAYERS: Final = 8  # an image of itself must end somewhere
MAX_TABLES: Final = 4  # inside each other: a disk in a logical volume in a partition has three
MAX_VOLUMES: Final = 1024  # of nested tables


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of the chain."""

    name: str
    title: str
    device: BlockDevice


class Volume:
    """One partition, or the undivided disk (``index`` 0), and the filesystem in it. The filesystem opens when it is asked for.

    ``outer`` is the name of the partition that it is a part of, ``table`` what divides it in turn, and ``fault`` why that failed.
    """

    def __init__(self, partition: Partition, context: Context, outer: str = "", fault: ImageError | None = None) -> None:
        self.partition = partition
        self.outer = outer
        self.table = ""
        self.context = context
        self.fault = fault

    @property
    def index(self) -> int:
        return self.partition.index

    @property
    def name(self) -> str:
        """``p5`` for slot 5, ``p5p1`` for the first slot of the table in it; ``disk`` for the undivided disk."""
        return f"{self.outer}p{self.index}" if self.index else "disk"

    @property
    def device(self) -> BlockDevice:
        return self.partition.device

    @cached_property
    def format(self) -> FilesystemFormat | None:
        """The filesystem's format. Raises ``ImageError`` where two formats are equally sure."""
        wanted = self.context.options.fs
        found = best_match(Kind.FILESYSTEM, self.device, wanted)
        if found is not None and found[0] is Match.NO and self.index:  # --fs need not be true of every partition
            found = best_match(Kind.FILESYSTEM, self.device)
        return found[1] if found else None

    @property
    def known_format(self) -> FilesystemFormat | None:
        """The filesystem's format, None also where it cannot be told: ``problem`` says why."""
        try:
            return self.format
        except ImageError:
            return None

    @cached_property
    def _opened(self) -> Filesystem | ImageError:
        try:
            if self.format is None:
                return self.fault or UnknownFormatError(f"a {self.table} table" if self.table else "no known filesystem")
            return self.format.open(self.device, self.context)
        except ImageError as exc:
            return exc

    @property
    def filesystem(self) -> Filesystem:
        """The open filesystem. Raises ``ImageError``, ``UnknownFormatError`` where there is none."""
        if isinstance(self._opened, ImageError):
            raise self._opened
        return self._opened

    @property
    def problem(self) -> ImageError | None:
        """Why there is no tree, if there is none."""
        return self._opened if isinstance(self._opened, ImageError) else None


@dataclass(frozen=True)
class Image:
    """An image, opened as deep as its bytes allow."""

    path: Path
    layers: tuple[Layer, ...]
    table: str  # the partition table's format, "" if the disk is not divided
    volumes: tuple[Volume, ...]
    context: Context
    siblings: FolderSiblings

    @property
    def disk(self) -> BlockDevice:
        """What the innermost container holds: the raw view."""
        return self.layers[-1].device

    @property
    def whole(self) -> Volume | None:
        """The filesystem that covers the undivided disk, if there is one."""
        return next((volume for volume in self.volumes if volume.index == 0), None)

    def __str__(self) -> str:
        steps = [layer.name for layer in self.layers]
        if self.table:
            steps.append(self._counted(self.table, ""))
            steps += [self._counted(volume.table, volume.name) for volume in self.volumes if volume.table]
        kinds = dict.fromkeys(fmt.name for volume in self.volumes if (fmt := volume.known_format))
        return " > ".join([*steps, *([", ".join(kinds)] if kinds else [])])

    def _counted(self, table: str, outer: str) -> str:
        """``mbr[2]``: a table and how many parts it has."""
        return f"{table}[{sum(1 for volume in self.volumes if volume.index and volume.outer == outer)}]"

    def close(self) -> None:
        """Close every layer, innermost first. Idempotent."""
        self.context.cache.close()
        for layer in reversed(self.layers):
            layer.device.close()
        self.siblings.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_image(path: Path | str, options: Options | None = None, cache: ReadCache | None = None) -> Image:
    """Open ``path`` as deep as its bytes allow. Raises ``ImgMountError``.

    No filesystem is opened yet, and no thread is started: ``cache.start()`` does that, after a fork if there is one.
    """
    path = Path(path)
    siblings = FolderSiblings(path)
    context = Context(path, siblings, ReadCache() if cache is None else cache, options or Options())
    layers: list[Layer] = []
    try:
        layers.append(Layer("file", "file", open_source(path, siblings)))
        _peel(layers, context)
        table, volumes = _divide(layers[-1].device, context)
    except BaseException:
        for layer in reversed(layers):
            layer.device.close()
        siblings.close()
        raise
    return Image(path, tuple(layers), table, tuple(volumes), context, siblings)


def _peel(layers: list[Layer], context: Context) -> None:
    """Append containers until none matches. ``--container raw`` stops at the file, another name is the outermost one."""
    if layers[0].device.size == 0:
        raise ImageError("the file is empty")
    wanted = context.options.container
    while wanted != "raw":
        found = best_match(Kind.CONTAINER, layers[-1].device, wanted)
        if found is None:
            return
        if len(layers) > MAX_LAYERS:
            raise ImageError(f"more than {MAX_LAYERS} containers inside each other")
        fmt, wanted = found[1], None
        layers.append(Layer(fmt.name, fmt.title, fmt.open(layers[-1].device, context)))


def _divide(disk: BlockDevice, context: Context) -> tuple[str, list[Volume]]:
    """The table's name and the volumes. A disk may hold both a filesystem and a table (hybrid discs): the former is first."""
    try:
        table, parts = _partitions(disk, context)
    except (UnsupportedError, MissingPartError) as exc:
        return "", [Volume(Partition(0, "", "", disk), context, fault=exc)]
    whole = Volume(Partition(0, "", "", disk), context)
    if not parts:
        return table, [whole]
    found = best_match(Kind.FILESYSTEM, disk, context.options.fs)
    covers = found is not None and found[0] is Match.CERTAIN
    volumes = [whole] if covers else []
    for part in parts:
        _nest(Volume(part, context), (table,), volumes)
    return table, volumes


def _partitions(disk: BlockDevice, context: Context) -> tuple[str, Sequence[Partition]]:
    if isinstance(disk, Partitioned):
        return "tracks", disk.partitions()
    wanted = context.options.partitions
    if wanted == "none" or (found := best_match(Kind.PARTITIONS, disk, wanted)) is None:
        return "", ()
    fmt = found[1]
    return fmt.name, fmt.open(disk, context)


def _nest(volume: Volume, tables: tuple[str, ...], volumes: list[Volume]) -> None:
    """Append ``volume``, and the parts of the table in it: one that is certain, or any where there is no filesystem.

    A table inside one of its own kind is that one seen again (a slice from sector 0), or a claim that could go on for ever.
    """
    volumes.append(volume)
    if len(tables) == MAX_TABLES or volume.context.options.partitions == "none":
        return
    try:
        found = best_match(Kind.PARTITIONS, volume.device)
        if found is None or found[0] < Match.LIKELY or found[1].name in tables:
            return
        if found[0] is not Match.CERTAIN and volume.format is not None:
            return
        parts = found[1].open(volume.device, volume.context)
    except ImageError as exc:
        volume.fault = exc
        return
    if parts and len(volumes) + len(parts) <= MAX_VOLUMES:
        volume.table = found[1].name
        for part in parts:
            _nest(Volume(part, volume.context, volume.name), (*tables, volume.table), volumes)
