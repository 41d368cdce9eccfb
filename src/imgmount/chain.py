"""From a path to volumes: source, containers, partition table, filesystems. The chain is a value that prints itself."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, FilesystemFormat, Kind, Match, Options, Partition, Partitioned
from imgmount.core.node import Filesystem
from imgmount.errors import ImageError, UnknownFormatError, UnsupportedError
from imgmount.registry import beside, best_match, matches, named
from imgmount.sources.file import FileDevice
from imgmount.sources.siblings import FolderSiblings, NoSiblings
from imgmount.sources.split import open_source

MAX_LAYERS: Final = 8  # an image of itself must end somewhere
MAX_PARENTS: Final = 64  # differencing images on top of each other
_PROTOCOL = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:")  # nbd://, json:, fat:...; one letter is a Windows drive


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of the chain."""

    name: str
    title: str
    device: BlockDevice


class Volume:
    """One partition, or the undivided disk (``index`` 0), and the filesystem in it. The filesystem opens when it is asked for."""

    def __init__(self, partition: Partition, context: Context) -> None:
        self.partition = partition
        self._context = context

    @property
    def index(self) -> int:
        return self.partition.index

    @property
    def name(self) -> str:
        """``p5`` for slot 5; ``disk`` for the undivided disk."""
        return f"p{self.index}" if self.index else "disk"

    @property
    def device(self) -> BlockDevice:
        return self.partition.device

    @cached_property
    def format(self) -> FilesystemFormat | None:
        """The filesystem's format. Raises ``ImageError`` where two formats are equally sure."""
        wanted = self._context.options.fs
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

    @property
    def others(self) -> list[FilesystemFormat]:
        """The other filesystems that can be read from the same bytes, as on a bridge disc: ``--fs`` chooses."""
        chosen = self.known_format
        return [fmt for _, fmt in matches(Kind.FILESYSTEM, self.device) if fmt is not chosen]

    @cached_property
    def _opened(self) -> Filesystem | ImageError:
        try:
            if self.format is None:
                self.device.pread(0, 1)  # a partition without its key says so here
                return UnknownFormatError("no known filesystem")
            return self.format.open(self.device, self._context)
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
            steps.append(f"{self.table}[{len([volume for volume in self.volumes if volume.index])}]")
        kinds = dict.fromkeys(fmt.name for volume in self.volumes if (fmt := volume.known_format))
        return " > ".join([*steps, *([", ".join(kinds)] if kinds else [])])

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
        source = open_source(path, siblings)
        layers.append(Layer("file", "file", source))
        context = with_parents(context, source)
        _peel(layers, context)
        table, volumes = _divide(layers[-1].device, context)
    except BaseException:
        for layer in reversed(layers):
            layer.device.close()
        siblings.close()
        raise
    return Image(path, tuple(layers), table, tuple(volumes), context, siblings)


def _peel(layers: list[Layer], context: Context) -> None:
    """Append containers until none matches or one is divided. ``--container raw`` stops at the file, a name is the outermost.

    A guest's disk is the last: a guest that writes a QCOW2 header to it must not choose which of our files are opened.
    """
    if layers[0].device.size == 0:
        raise ImageError("the file is empty")
    wanted = context.options.container
    while wanted != "raw" and not isinstance(layers[-1].device, Partitioned):
        found = best_match(Kind.CONTAINER, layers[-1].device, wanted)
        if found is None:
            return
        if len(layers) > MAX_LAYERS:
            raise ImageError(f"more than {MAX_LAYERS} containers inside each other")
        fmt, wanted = found[1], None
        layers.append(Layer(fmt.name, fmt.title, fmt.open(layers[-1].device, context)))
        if fmt.guest:
            return


def with_parents(context: Context, *lineage: BlockDevice) -> Context:
    """``context`` for an image in the file ``lineage[-1]``, based on by those before it: it can open parents.

    Only files beside the image are opened (see ``sources.siblings``): no folder that a name contains is followed, no protocol.
    """

    def open_parent(name: str, fmt: str | None) -> BlockDevice:
        if _PROTOCOL.match(name):
            raise UnsupportedError(f"parent {name!r} is not a file beside the image: nothing else is opened")
        name = re.split(r"[/\\]", name)[-1]
        file = context.siblings.open(name)
        if _identity(file) in map(_identity, lineage):
            raise ImageError(f"{name!r} is, in the end, its own parent")
        if len(lineage) > MAX_PARENTS:
            raise ImageError(f"more than {MAX_PARENTS} parents above each other")
        inner = replace(context, path=context.path.with_name(name), options=Options())
        if fmt is None:
            alone = NoSiblings(name)
            return _open_guessed(file, replace(inner, siblings=alone, open_parent=lambda other, _: alone.open(other)))
        if fmt == "raw":
            return file
        wanted: ContainerFormat = named(Kind.CONTAINER, fmt)
        return wanted.open(file, with_parents(inner, *lineage, file))

    return replace(context, open_parent=open_parent)


def _open_guessed(file: BlockDevice, context: Context) -> BlockDevice:
    found = best_match(Kind.CONTAINER, file)
    return found[1].open(file, context) if found else file


def _identity(file: BlockDevice) -> object:
    """The host's (device, inode): two names of one file are one file."""
    if not isinstance(file, FileDevice):
        return file
    status = os.fstat(file.fd)
    return status.st_dev, status.st_ino


def _divide(disk: BlockDevice, context: Context) -> tuple[str, list[Volume]]:
    """The table's name and the volumes. A disk may hold both a filesystem and a table (hybrid discs): the former is first."""
    table, parts = _partitions(disk, context)
    main = disk.main(context.options.session) if isinstance(disk, Partitioned) else disk
    names, more = _beside(main, len(parts) and max(part.index for part in parts), context) if main is not None else ([], [])
    if sessions := [part for part in more if part.session]:
        main = _chosen(sessions, context.options.session)
    whole = Volume(Partition(0, "", "", disk if main is None else main), context)
    volumes = [Volume(part, context) for part in (*parts, *more)]
    if not parts or (main is not None and _covers(whole.device, context)):
        volumes.insert(0, whole)
    return "+".join([*([table] if table else []), *names]), volumes


def _covers(device: BlockDevice, context: Context) -> bool:
    """Whether a filesystem is certain to use the whole of a device that is divided as well."""
    found = best_match(Kind.FILESYSTEM, device, context.options.fs)
    return found is not None and found[0] is Match.CERTAIN


def _beside(device: BlockDevice, taken: int, context: Context) -> tuple[list[str], list[Partition]]:
    """What lies in ``device`` beside its partitions, numbered from ``taken`` on: (names of formats, parts)."""
    names, parts = [], []
    for fmt in beside(device) if context.options.partitions is None else ():
        names.append(fmt.name)
        for part in fmt.open(device, context):
            taken += 1
            parts.append(replace(part, index=taken))
    return names, parts


def _chosen(sessions: Sequence[Partition], wanted: int | None) -> BlockDevice:
    """The newest session, or the one that the user wants."""
    for part in reversed(sessions):
        if wanted in (None, part.session):
            return part.device
    raise ImageError(f"there is no session {wanted}, only 1 to {len(sessions)}")


def _partitions(disk: BlockDevice, context: Context) -> tuple[str, Sequence[Partition]]:
    if isinstance(disk, Partitioned):
        return "tracks", disk.partitions()
    wanted = context.options.partitions
    if wanted == "none" or (found := best_match(Kind.PARTITIONS, disk, wanted)) is None:
        return "", ()
    fmt = found[1]
    return fmt.name, fmt.open(disk, context)
