"""From a path to volumes: source, containers, partition table, filesystems.

The chain is a value that prints itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from imgmount.chain.parents import with_parents
from imgmount.chain.unused import check_use
from imgmount.chain.volume import Volume
from imgmount.chain.volumes import TRACKS, Division, divide
from imgmount.core.cache import ReadCache
from imgmount.core.checks import Finding
from imgmount.core.device import BlockDevice
from imgmount.core.format import (
    Cataloged,
    ContainerFormat,
    Context,
    Format,
    Options,
    Partitioned,
    PartitionsFormat,
    Snapshotted,
)
from imgmount.core.option import SNAPSHOT
from imgmount.errors import ImageError
from imgmount.families.nintendo.split_sets import RULES
from imgmount.families.optical.options import SESSION
from imgmount.format_options import check_options
from imgmount.registry import best_match, named, sheet_by_name
from imgmount.sources.image_folder import main_file
from imgmount.sources.siblings import FolderSiblings
from imgmount.sources.split import open_source

MAX_LAYERS: Final = 8  # an image of itself must end somewhere


class Layer(NamedTuple):
    """One step of the chain. ``format`` is None for the host file.

    ``tables`` are those in the innermost layer, see ``volumes.Division``.
    """

    name: str
    title: str
    device: BlockDevice
    format: ContainerFormat | None = None
    tables: tuple[tuple[str, PartitionsFormat, BlockDevice], ...] = ()

    def check(self) -> Iterator[Finding]:
        """What ``verify`` tells of the container, and of the tables in it.

        Raises ``ImageError``.
        """
        if self.format is not None:
            yield from self.format.check(self.device)
        for part, fmt, device in self.tables:
            where = f"{part}, " if part else ""
            yield from (f"{where}{fmt.title}: {line}" for line in (fmt.check(device) if fmt.check else ()))


class Image:
    """An image, opened as deep as its bytes allow.

    ``table`` is the partition table's format, "" if the disk is not divided. ``hidden`` is a file system that
    an older use of the disk left: shown with --view all.
    """

    def __init__(
        self,
        path: Path,
        layers: tuple[Layer, ...],
        table: str,
        volumes: tuple[Volume, ...],
        *,
        context: Context,
        siblings: FolderSiblings,
        hidden: tuple[Volume, ...] = (),
    ) -> None:
        self.path = path
        self.layers = layers
        self.table = table
        self.volumes = volumes
        self.context = context
        self.siblings = siblings
        self.hidden = hidden

    @property
    def opened(self) -> list[Path]:
        """Every host file that was opened, by its real path, the image first."""
        own = Path(os.path.realpath(self.path))
        return [own, *(path for path in self.siblings.files.paths if path != own)]

    @property
    def disk(self) -> BlockDevice:
        """What the innermost container holds: the raw view."""
        return self.layers[-1].device

    @property
    def whole(self) -> Volume | None:
        """The filesystem that covers the undivided disk, if there is one."""
        return next((volume for volume in self.volumes if volume.index == 0), None)

    @property
    def is_disk(self) -> bool:
        """Whether a container or a partition table says that it is one, rather than a file of any kind."""
        formats = [layer.format for layer in self.layers if layer.format is not None]
        return bool(self.table) or not all(fmt.packs_files for fmt in formats)

    @property
    def label(self) -> str:
        """The label that its filesystems have, empty if they have none or different ones."""
        labels = {volume.filesystem.label for volume in self.volumes if volume.problem is None}
        return labels.pop() if len(labels) == 1 else ""

    def __str__(self) -> str:
        steps = [layer.name for layer in self.layers]
        if self.table:
            steps.append(self._counted(self.table, ""))
            steps += [self._counted(volume.table, volume.name) for volume in self.volumes if volume.table]
        kinds = dict.fromkeys(fmt.name for volume in self.volumes if (fmt := volume.known_format))
        return " > ".join([*steps, *([", ".join(kinds)] if kinds else [])])

    def _counted(self, table: str, outer: str) -> str:
        """A table and how many parts it has: ``mbr[2]``."""
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

    No filesystem is opened yet, and no thread is started: ``cache.start()`` does that, after a fork if there
    is one.
    """
    path, options = main_file(Path(path)), options or Options()
    check_options(options.extra)
    siblings = FolderSiblings(path, options.refs)
    context = Context(path, siblings, ReadCache() if cache is None else cache, options)
    layers: list[Layer] = []
    try:
        source = open_source(path, siblings, RULES)
        layers.append(Layer("file", "file", source))
        context = with_parents(context, source)
        _peel(layers, context)
        if any(isinstance(layer.device, Snapshotted) for layer in layers):  # whose snapshot it is
            others = {name: value for name, value in options.extra.items() if name != SNAPSHOT.name}
            context = context._replace(options=options._replace(extra=others))
        found = divide(layers[-1].device, context)
        layers[-1] = layers[-1]._replace(tables=tuple(found.tables))
        _check_snapshot(layers, [*found.volumes, *found.hidden], SNAPSHOT.of(context.options.extra))
        _check_use(layers, found, options)
    except BaseException:
        for layer in reversed(layers):
            layer.device.close()
        siblings.close()
        raise
    return Image(
        path,
        tuple(layers),
        found.table,
        tuple(found.volumes),
        context=context,
        siblings=siblings,
        hidden=tuple(found.hidden),
    )


def _check_snapshot(layers: list[Layer], volumes: list[Volume], wanted: str) -> None:
    """Refuse --snapshot where no layer reads it, so that the present state is not taken for an old one."""
    formats = [fmt for volume in volumes if (fmt := volume.known_format) is not None] if wanted else []
    for fmt in formats:
        if SNAPSHOT not in fmt.options:
            raise ImageError(f"--snapshot {wanted}: {fmt.name} filesystems have no snapshots in them")
    if wanted and not formats:
        raise ImageError(f"--snapshot {wanted}: {layers[-1].name} images have no snapshots in them")


def _check_use(layers: list[Layer], found: Division, options: Options) -> None:
    """Tell of options that do nothing here. Raises ``ImageError``."""
    if not options.extra:
        return  # what the volumes are is then found out when somebody asks
    formats: list[Format | None] = [layer.format for layer in layers]
    formats += [named(PartitionsFormat, name) for name in found.table.split("+") if name not in ("", TRACKS)]
    for volume in [*found.volumes, *found.hidden]:
        formats += [volume.divided_by, volume.known_format]
    others = [SNAPSHOT.name]  # which has been checked
    others += [SESSION.name] if isinstance(layers[-1].device, Partitioned) else []
    check_use(options.extra, [fmt for fmt in formats if fmt is not None], others)


def _peel(layers: list[Layer], context: Context) -> None:
    """Append containers until none matches or one is no plain disk.

    ``--container raw`` stops at the file; any other name is the format of the first container. The disk of a
    virtual machine is the last: a guest that writes a QCOW2 header to it must not choose which of our files
    are opened.
    """
    if layers[0].device.size == 0:
        raise ImageError("the file is empty")
    wanted = context.options.container or sheet_by_name(layers[0].device, context.path.name)
    while wanted != "raw" and not isinstance(layers[-1].device, Partitioned | Cataloged):
        found = best_match(ContainerFormat, layers[-1].device, wanted)
        if found is None:
            return
        if len(layers) > MAX_LAYERS:
            raise ImageError(f"more than {MAX_LAYERS} containers inside each other")
        fmt, wanted = found[1], None
        layers.append(Layer(fmt.name, fmt.title, fmt.open(layers[-1].device, context), fmt))
        if fmt.guest:
            return
