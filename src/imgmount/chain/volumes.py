"""What a disk is divided into: partitions, tracks, sessions, nested tables, and the filesystems in them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

from imgmount.chain.contest import table_wins
from imgmount.chain.volume import Volume
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
from imgmount.errors import (
    ImageError,
    KeyRequiredError,
    MissingPartError,
    UnknownFormatError,
    UnsupportedError,
)
from imgmount.families.optical.options import no_session, session
from imgmount.registry import beside, best_match

log = logging.getLogger(__name__)

TRACKS: Final = "tracks"  # the name of a container's own division
MAX_TABLES: Final = 4  # inside each other: a disk in a logical volume in a partition has three
MAX_VOLUMES: Final = 1024  # of nested tables
MAX_NESTED: Final = 16  # tables in partitions of one disk, sound or not
# what one table costs; the table of a disc costs its parts, as a file may have hundreds of discs
TABLE: Final = 64


class Division(NamedTuple):
    """What a disk is divided into.

    ``table`` is the table's format, "" if there is none, ``volumes`` what is shown, ``hidden`` a file system
    of the whole disk that the table stands before. ``tables`` are all of them: (the part that each is in, ""
    for the disk, the table's format, the device).
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
    others, more = (
        _beside(main, max((part.index for part in parts), default=0), context)
        if main is not None
        else ([], [])
    )
    tables = [("", one, disk) for one in (fmt,) if one is not None]
    tables += [("", one, main) for one in others if main is not None]
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
        asked = context.options.partitions is not None
        if sure is not None and table_wins(whole, volumes, sure, asked=asked):
            hidden = [whole]
        else:
            volumes = [whole, *volumes]
    volumes += [Volume(part, context) for part in more]
    tables += [
        (volume.name, volume.divided_by, volume.device) for volume in volumes if volume.divided_by is not None
    ]
    names = [*([table] if table else []), *(other.name for other in others)]
    return Division("+".join(names), volumes, hidden, tables)


def _raw_only(exc: ImageError) -> ImageError:
    """Why only the undivided disk is shown: a damaged table is no damage of a file system."""
    if isinstance(exc, UnsupportedError | MissingPartError | KeyRequiredError):
        return exc
    return UnknownFormatError(f"the disk cannot be divided: {exc}")


def _around(parts: Sequence[Partition], context: Context) -> Context:
    return context._replace(parts=tuple(part.device for part in parts))


def _covers(device: BlockDevice, context: Context, *, of_disc: bool) -> bool:
    """Whether a filesystem surely uses the whole of a device that is divided as well.

    Tracks do not divide a filesystem: the filesystem of a disc may also be found by what is left of it.
    """
    found = best_match(FilesystemFormat, device, context.options.fs, rescue=False)
    if found is None and of_disc:
        return best_match(FilesystemFormat, device) is not None
    return found is not None and found[0] is Match.CERTAIN


def _beside(
    device: BlockDevice, taken: int, context: Context
) -> tuple[list[PartitionsFormat], list[Partition]]:
    """What lies in ``device`` beside its partitions: (formats, parts numbered from ``taken``)."""
    formats, parts = [], []
    for fmt in beside(device) if context.options.partitions is None else ():
        try:
            found = fmt.open(device, context)
        except ImageError as exc:
            log.warning("%s: the parts of this table are lost", exc)
            continue
        formats.append(fmt)
        for part in found:
            taken += 1
            parts.append(part._replace(index=taken))
    return formats, parts


def _chosen(sessions: Sequence[Partition], wanted: int | None) -> BlockDevice:
    """The newest session, or the one that the user wants."""
    if wanted is None:
        return sessions[-1].device
    for part in sessions:
        if part.session == wanted:
            return part.device
    raise ImageError(no_session(wanted, len(sessions)))


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
