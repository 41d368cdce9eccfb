"""What a disk is divided into: partitions, tracks, sessions, tables inside partitions, and the filesystems in them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import (
    Cataloged,
    Context,
    FilesystemFormat,
    Match,
    Partition,
    Partitioned,
    PartitionsFormat,
)
from imgmount.core.node import Filesystem, Node
from imgmount.errors import FormatError, ImageError, MissingPartError, UnknownFormatError, UnsupportedError
from imgmount.families.optical.options import session
from imgmount.registry import beside, best_match, matches

log = logging.getLogger(__name__)

MAX_TABLES: Final = 4  # inside each other: a disk in a logical volume in a partition has three
MAX_VOLUMES: Final = 1024  # of nested tables
MAX_NESTED: Final = 16  # tables in partitions of one disk, sound or not
TABLE: Final = (
    64  # what one of them costs; that of a disc costs its parts, as a file may have hundreds of discs
)


class Volume:
    """One partition, or the undivided disk (``index`` 0), and the filesystem in it.

    The filesystem opens when it is asked for.

    ``outer`` is the name of the partition that it is a part of, ``table`` what divides it in turn, and
    ``fault`` why that failed or the partition is not whole. ``passed_over`` is why, once it is open, it is
    not the better filesystem of a bridge disc.
    """

    def __init__(
        self, partition: Partition, context: Context, outer: str = "", fault: ImageError | None = None
    ) -> None:
        self.partition = partition
        self.outer = outer
        self.table = ""
        self.context = context
        self.fault = fault or partition.fault
        self.passed_over: ImageError | None = None

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
        found = best_match(FilesystemFormat, self.device, wanted)
        if (
            found is not None and found[0] is Match.NO and self.index
        ):  # --fs need not be true of every partition
            found = best_match(FilesystemFormat, self.device)
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
        return [fmt for _, fmt in matches(FilesystemFormat, self.device) if fmt is not chosen]

    @cached_property
    def _opened(self) -> Filesystem | ImageError:
        try:
            if self.format is None:
                self.device.pread(0, 1)  # a partition without its key says so here
                return self.fault or UnknownFormatError(
                    f"a {self.table} table" if self.table else "no known filesystem"
                )
            return self.format.open(self.device, self.context)
        except ImageError as exc:
            return self._companion(exc) or exc.with_traceback(
                None
            )  # which would keep whatever was read up to there

    def _companion(self, problem: ImageError) -> Filesystem | None:
        """The other filesystem of a bridge disc, which has the same files, where the better one is damaged."""
        if not isinstance(problem, FormatError) or self.context.options.fs is not None or self.format is None:
            return None
        name = self.format.companion
        fmt = next((other for other in self.others if other.name == name), None)
        if fmt is None:
            return None
        try:
            opened = fmt.open(self.device, self.context)
        except ImageError:
            return None
        log.warning("%s: the files are shown as %s has them", problem, fmt.name)
        self.format = fmt
        self.passed_over = problem
        return opened

    @property
    def filesystem(self) -> Filesystem:
        """The open filesystem. Raises ``ImageError``, ``UnknownFormatError`` where there is none."""
        if isinstance(self._opened, ImageError):
            raise self._opened
        return self._opened

    def check(self) -> Iterable[str]:
        """One line for each thing that is wrong with what the filesystem stores about itself.

        Raises ``ImageError``.
        """
        filesystem = self.filesystem
        return self.format.check(filesystem) if self.format else ()

    def deleted(self) -> Iterator[tuple[str, Node]] | None:
        """(path as far as it is known, node) of deleted files; None where the format cannot tell.

        Raises ``ImageError``.
        """
        filesystem = self.filesystem
        return self.format.deleted(filesystem) if self.format and self.format.deleted else None

    @property
    def problem(self) -> ImageError | None:
        """Why there is no tree, if there is none."""
        return self._opened if isinstance(self._opened, ImageError) else None


def divide(disk: BlockDevice, context: Context) -> tuple[str, list[Volume]]:
    """The table's name and the volumes.

    A disk may hold both a filesystem and a table (hybrid discs): the former is first.
    """
    try:
        table, parts = _partitions(disk, context)
    except (UnsupportedError, MissingPartError) as exc:
        return "", [Volume(Partition(0, "", "", disk), context, fault=exc)]
    main = disk.main(session(context.options.extra)) if isinstance(disk, Partitioned) else disk
    names, more = (
        _beside(main, max((part.index for part in parts), default=0), context)
        if main is not None
        else ([], [])
    )
    if sessions := [part for part in more if part.session]:
        main = _chosen(sessions, session(context.options.extra))
    whole = Volume(Partition(0, "", "", disk if main is None else main), context)
    volumes = [whole] if not parts or (main is not None and _covers(whole.device, context)) else []
    left = MAX_NESTED * TABLE
    around = _around(parts, context)
    for part in parts:
        left -= _nest(Volume(part, around), (table,), volumes, left)
    volumes += [Volume(part, context) for part in more]
    return "+".join([*([table] if table else []), *names]), volumes


def _around(parts: Sequence[Partition], context: Context) -> Context:
    return replace(context, parts=tuple(part.device for part in parts))


def _covers(device: BlockDevice, context: Context) -> bool:
    """Whether a filesystem is certain to use the whole of a device that is divided as well."""
    found = best_match(FilesystemFormat, device, context.options.fs, rescue=False)
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
    if (
        wanted == "none"
        or isinstance(disk, Cataloged)
        or (found := best_match(PartitionsFormat, disk, wanted)) is None
    ):
        return "", ()
    fmt = found[1]
    return fmt.name, fmt.open(disk, context)


def _nest(volume: Volume, tables: tuple[str, ...], volumes: list[Volume], limit: int) -> int:
    """Append ``volume``, and the parts of the table in it: one that is certain, or any where there is no filesystem.

    A table inside one of its own kind is that one seen again (a slice from sector 0), or a claim that could
    go on for ever. The result is what the tables that were opened cost; ``limit`` is what they may.
    """
    volumes.append(volume)
    if len(tables) == MAX_TABLES or volume.context.options.partitions == "none":
        return 0
    try:
        found = best_match(PartitionsFormat, volume.device)
        if found is None or found[0] < Match.LIKELY or found[1].name in tables:
            return 0
        if found[0] is not Match.CERTAIN and volume.format is not None:
            return 0
        price = 1 if found[1].of_disc else TABLE
        if limit < price:
            raise UnsupportedError(f"more than {MAX_NESTED} tables in partitions")
        parts = found[1].open(volume.device, volume.context)
        if len(volumes) + len(parts) > MAX_VOLUMES:
            raise UnsupportedError(f"more than {MAX_VOLUMES} volumes")
    except ImageError as exc:
        volume.fault = exc.with_traceback(None)
        return min(limit, TABLE)
    spent = max(1, len(parts)) if found[1].of_disc else TABLE
    if parts:
        volume.table = found[1].name
        around = _around(parts, volume.context)
        for part in parts:
            inner = Volume(part, around, volume.name)
            spent += _nest(inner, (*tables, volume.table), volumes, limit - spent)
    return spent
