"""What a disk is divided into: partitions, tracks, sessions, tables inside partitions, and the filesystems in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.format import Cataloged, Context, FilesystemFormat, Kind, Match, Partition, Partitioned, PartitionTable
from imgmount.core.node import Filesystem
from imgmount.errors import ImageError, MissingPartError, UnknownFormatError, UnsupportedError
from imgmount.registry import beside, best_match, matches

MAX_TABLES: Final = 4  # inside each other: a disk in a logical volume in a partition has three
MAX_VOLUMES: Final = 1024  # of nested tables


class Volume:
    """One partition, or the undivided disk (``index`` 0), and the filesystem in it. The filesystem opens when it is asked for.

    ``outer`` is the name of the partition that it is a part of, ``table`` what divides it in turn (``table_info`` are facts about
    that), and ``fault`` why that failed or the partition is not whole.
    """

    def __init__(self, partition: Partition, context: Context, outer: str = "", fault: ImageError | None = None) -> None:
        self.partition = partition
        self.outer = outer
        self.table = ""
        self.table_info: Mapping[str, str] = {}
        self.context = context
        self.fault = fault or partition.fault

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


class Division(NamedTuple):
    """What divides a disk, and into what: the table's name, facts about it, the volumes."""

    table: str
    info: Mapping[str, str]
    volumes: Sequence[Volume]


def divide(disk: BlockDevice, context: Context) -> Division:
    """How ``disk`` is divided. It may hold both a filesystem and a table (hybrid discs): the former is first."""
    try:
        table, parts = _partitions(disk, context)
    except (UnsupportedError, MissingPartError) as exc:
        return Division("", {}, [Volume(Partition(0, "", "", disk), context, fault=exc)])
    main = disk.main(context.options.session) if isinstance(disk, Partitioned) else disk
    names, more = _beside(main, max((part.index for part in parts), default=0), context) if main is not None else ([], [])
    if sessions := [part for part in more if part.session]:
        main = _chosen(sessions, context.options.session)
    whole = Volume(Partition(0, "", "", disk if main is None else main), context)
    volumes = [whole] if not parts or (main is not None and _covers(whole.device, context)) else []
    for part in parts:
        _nest(Volume(part, context), (table,), volumes)
    volumes += [Volume(part, context) for part in more]
    return Division("+".join([*([table] if table else []), *names]), _info(parts), volumes)


def _info(parts: Sequence[Partition]) -> Mapping[str, str]:
    return parts.info() if isinstance(parts, PartitionTable) else {}


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
    if wanted == "none" or isinstance(disk, Cataloged) or (found := best_match(Kind.PARTITIONS, disk, wanted)) is None:
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
        volume.table, volume.table_info = found[1].name, _info(parts)
        for part in parts:
            _nest(Volume(part, volume.context, volume.name), (*tables, volume.table), volumes)
