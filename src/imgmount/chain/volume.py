"""One volume: a partition or the undivided disk, and the file system in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property

from imgmount.core.checks import Finding
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, FilesystemFormat, Match, Partition, PartitionsFormat
from imgmount.core.node import Filesystem, Node
from imgmount.errors import FormatError, ImageError, UnknownFormatError
from imgmount.registry import best_match, matches

log = logging.getLogger(__name__)


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

    def check(self) -> Iterator[Finding]:
        """What ``verify`` tells of the filesystem, and of a table beside it.

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
