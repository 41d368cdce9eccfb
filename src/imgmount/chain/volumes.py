"""What a disk is divided into: partitions, tracks, sessions, nested tables, and the filesystems in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final, NamedTuple

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
from imgmount.errors import (
    FormatError,
    ImageError,
    KeyRequiredError,
    MissingPartError,
    UnknownFormatError,
    UnsupportedError,
)
from imgmount.families.optical.options import session
from imgmount.registry import beside, best_match, matches

log = logging.getLogger(__name__)

TRACKS: Final = "tracks"  # the name of a container's own division
MAX_TABLES: Final = 4  # inside each other: a disk in a logical volume in a partition has three
MAX_VOLUMES: Final = 1024  # of nested tables
MAX_NESTED: Final = 16  # tables in partitions of one disk, sound or not
# what one table costs; the table of a disc costs its parts, as a file may have hundreds of discs
TABLE: Final = 64


class Volume:
    """One partition, or the undivided disk (``index`` 0), and the filesystem in it.

    The filesystem opens when it is asked for.

    ``outer`` is the name of the partition that it is a part of, ``table`` the name of the table inside it and
    ``divided_by`` that table. ``fault`` is why the table cannot be read or the partition is not whole.
    ``passed_over`` is why the better filesystem of a bridge disc is not shown, known once this one is open.
    """

    def __init__(
        self, partition: Partition, context: Context, outer: str = "", fault: ImageError | None = None
    ) -> None:
        self.partition = partition
        self.outer = outer
        self.table = ""
        self.divided_by: PartitionsFormat | None = None
        self.context = context
        self.fault = fault or partition.fault
        self.passed_over: ImageError | None = None

    @property
    def index(self) -> int:
        return self.partition.index

    @property
    def name(self) -> str:
        """``p5`` for slot 5, ``p5p1`` for slot 1 of a table inside it; ``disk`` for the undivided disk."""
        return f"{self.outer}p{self.index}" if self.index else "disk"

    @property
    def device(self) -> BlockDevice:
        return self.partition.device

    @cached_property
    def format(self) -> FilesystemFormat | None:
        """The filesystem's format. Raises ``ImageError`` where two formats are equally sure."""
        wanted = self.context.options.fs
        found = best_match(FilesystemFormat, self.device, wanted)
        if found is not None and found[0] is Match.NO and self._is_for_another(found[1]):
            found = best_match(FilesystemFormat, self.device)
        return found[1] if found else None

    def _is_for_another(self, wanted: FilesystemFormat) -> bool:
        """Whether ``--fs`` means other parts: another part has that format, or this part surely has not."""
        if not self.index or len(self.context.parts) < 2:
            return False
        if any(wanted in [fmt for _, fmt in matches(FilesystemFormat, part)] for part in self.context.parts):
            return True
        own = best_match(FilesystemFormat, self.device)
        if own is None or own[0] is not Match.CERTAIN:
            return False
        log.warning("%s: certainly %s, --fs %s is not used", self.name, own[1].title, self.context.options.fs)
        return True

    @property
    def known_format(self) -> FilesystemFormat | None:
        """The filesystem's format, None also where it cannot be told: ``problem`` says why."""
        try:
            return self.format
        except ImageError:
            return None

    @property
    def others(self) -> list[FilesystemFormat]:
        """The other filesystems in the same bytes, as on a bridge disc, which ``--fs`` can choose."""
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
            # its traceback would keep everything that had been read until then
            return self._companion(exc) or exc.with_traceback(None)

    def _companion(self, problem: ImageError) -> Filesystem | None:
        """The other filesystem of a bridge disc, for the same files, where the better one is damaged."""
        if not isinstance(problem, FormatError) or self.context.options.fs is not None or self.format is None:
            return None
        name = self.format.companion
        fmt = next((other for other in self.others if other.name == name), None)
        if fmt is None:
            return None
        try:
            opened = fmt.open(self.device, self.context)
        except ImageError as exc:
            log.warning("%s is damaged as well: %s", fmt.title, exc)
            return None
        log.warning("%s: the files are shown as %s has them", problem, fmt.name)
        self.format = fmt
        self.passed_over = problem
        return opened

    @property
    def filesystem(self) -> Filesystem:
        """The open filesystem. Raises ``ImageError``, ``UnknownFormatError`` where there is none."""
        if isinstance(self._opened, ImageError):
            raise self._opened.again()
        return self._opened

    def check(self) -> Iterator[str]:
        """One line for each thing that is wrong with the filesystem, or with a table beside it.

        Raises ``ImageError``.
        """
        filesystem = self.filesystem
        if self.fault is not None and self.fault is not self.partition.fault:
            yield str(self.fault)
        if self.format is not None:
            yield from self.format.check(filesystem)

    def deleted(self) -> Iterator[tuple[str, Node]] | None:
        """(path as far as it is known, node) of deleted files; None where the format cannot tell.

        Raises ``ImageError``.
        """
        filesystem = self.filesystem
        return self.format.deleted(filesystem) if self.format and self.format.deleted else None

    @property
    def problem(self) -> ImageError | None:
        """Why the filesystem cannot be shown, None if it can."""
        return self._opened if isinstance(self._opened, ImageError) else None


class Division(NamedTuple):
    """What a disk is divided into.

    ``table`` is the table's format, "" if there is none, ``volumes`` what is shown, ``hidden`` a file system
    of the whole disk that the table stands before. ``tables`` are those that say what is wrong with
    themselves: (the part that each is in, "" for the disk, the table's format, the device).
    """

    table: str
    volumes: list[Volume]
    hidden: list[Volume]
    tables: list[tuple[str, PartitionsFormat, BlockDevice]]


def divide(disk: BlockDevice, context: Context) -> Division:
    """The volumes of ``disk``: its partitions, and the file system of all of it.

    A disk may hold both (hybrid discs): the latter is first then. A damaged table costs its partitions alone.
    """
    try:
        sure, fmt, parts = _partitions(disk, context)
    except ImageError as exc:
        whole = Volume(Partition(0, "", "", disk, fault=exc), context, fault=_raw_only(exc))
        return Division("", [whole], [], [])
    table = fmt.name if fmt else TRACKS if isinstance(disk, Partitioned) else ""
    main = disk.main(session(context.options.extra)) if isinstance(disk, Partitioned) else disk
    names, more = (
        _beside(main, max((part.index for part in parts), default=0), context)
        if main is not None
        else ([], [])
    )
    if sessions := [part for part in more if part.session]:
        main = _chosen(sessions, session(context.options.extra))
    whole = Volume(Partition(0, "", "", disk if main is None else main), context)
    volumes: list[Volume] = []
    left = MAX_NESTED * TABLE
    around = _around(parts, context)
    for part in parts:
        left -= _nest(Volume(part, around), (table,) if table else (), volumes, left)
    hidden = []
    if not parts:
        volumes = [whole]
    elif main is not None and _covers(whole.device, context, of_disc=isinstance(disk, Partitioned)):
        from imgmount.chain.contest import table_wins

        asked = context.options.partitions is not None
        if sure is not None and table_wins(whole, volumes, sure, asked=asked):
            hidden = [whole]
        else:
            volumes = [whole, *volumes]
    volumes += [Volume(part, context) for part in more]
    return Division(
        "+".join([*([table] if table else []), *names]), volumes, hidden, _checked(disk, fmt, volumes)
    )


def _checked(
    disk: BlockDevice, table: PartitionsFormat | None, volumes: Sequence[Volume]
) -> list[tuple[str, PartitionsFormat, BlockDevice]]:
    """The tables that can be checked, the disk's first."""
    found = [("", table, disk), *((volume.name, volume.divided_by, volume.device) for volume in volumes)]
    return [(name, fmt, device) for name, fmt, device in found if fmt is not None and fmt.check is not None]


def _raw_only(exc: ImageError) -> ImageError:
    """Why only the undivided disk is shown: a damaged table is no damage of a file system."""
    if isinstance(exc, UnsupportedError | MissingPartError | KeyRequiredError):
        return exc
    return UnknownFormatError(f"the disk cannot be divided: {exc}")


def _around(parts: Sequence[Partition], context: Context) -> Context:
    return replace(context, parts=tuple(part.device for part in parts))


def _covers(device: BlockDevice, context: Context, *, of_disc: bool) -> bool:
    """Whether a filesystem surely uses the whole of a device that is divided as well.

    Tracks do not divide a filesystem: the filesystem of a disc may also be found by what is left of it.
    """
    found = best_match(FilesystemFormat, device, context.options.fs, rescue=False)
    if found is None and of_disc:
        return best_match(FilesystemFormat, device) is not None
    return found is not None and found[0] is Match.CERTAIN


def _beside(device: BlockDevice, taken: int, context: Context) -> tuple[list[str], list[Partition]]:
    """What lies in ``device`` beside its partitions: (names of formats, parts numbered from ``taken``)."""
    names, parts = [], []
    for fmt in beside(device) if context.options.partitions is None else ():
        try:
            found = fmt.open(device, context)
        except ImageError as exc:
            log.warning("%s: the parts of this table are lost", exc)
            continue
        names.append(fmt.name)
        for part in found:
            taken += 1
            parts.append(replace(part, index=taken))
    return names, parts


def _chosen(sessions: Sequence[Partition], wanted: int | None) -> BlockDevice:
    """The newest session, or the one that the user wants."""
    for part in reversed(sessions):
        if wanted in (None, part.session):
            return part.device
    raise ImageError(f"there is no session {wanted}, only 1 to {len(sessions)}")


def _partitions(
    disk: BlockDevice, context: Context
) -> tuple[Match | None, PartitionsFormat | None, Sequence[Partition]]:
    """(how sure the table is, its format, the parts); None and None for a container's own division."""
    if isinstance(disk, Partitioned):
        return None, None, disk.partitions()
    wanted = context.options.partitions
    if (
        wanted == "none"
        or isinstance(disk, Cataloged)
        or (found := best_match(PartitionsFormat, disk, wanted)) is None
    ):
        return None, None, ()
    sure, fmt = found
    return sure, fmt, fmt.open(disk, context)


def _nest(volume: Volume, tables: tuple[str, ...], volumes: list[Volume], limit: int) -> int:
    """Append ``volume``, and the parts of a table in it: a certain table, or any if there is no filesystem.

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
        volume.table, volume.divided_by = found[1].name, found[1]
        around = _around(parts, volume.context)
        for part in parts:
            inner = Volume(part, around, volume.name)
            spent += _nest(inner, (*tables, volume.table), volumes, limit - spent)
    return spent
