"""Whether a volume's journal is to be replayed, and the volume with it."""

from __future__ import annotations

import logging

from imgmount.core.device import BlockDevice
from imgmount.errors import ImageError
from imgmount.filesystems.hfsplus.header import read_header
from imgmount.filesystems.hfsplus.journal import (
    WITHOUT_JOURNALS,
    JournalHeader,
    Patch,
    ReplayedVolume,
    read_journal,
    transactions,
)  # fmt: skip

log = logging.getLogger(__name__)


class Replay:
    """``device`` is the volume to read. ``state`` says what became of the journal, "" where there is none.

    ``fault`` is why some of the journal could not be replayed.
    """

    def __init__(self, volume: BlockDevice, *, wanted: bool) -> None:
        self.device = volume
        self.state = ""
        self.fault: ImageError | None = None
        self.transactions = 0
        try:
            header = read_header(volume)
            journal = read_journal(volume, header)
            if journal is not None:
                self._apply(volume, journal, header.mounted_by, wanted=wanted)
        except ImageError as exc:
            self._failed(exc)

    def _apply(self, volume: BlockDevice, journal: JournalHeader, mounted_by: bytes, *, wanted: bool) -> None:
        if journal.is_empty:
            self.state = "empty"
        elif not wanted:
            self.state = "not replayed, as asked"
        elif mounted_by in WITHOUT_JOURNALS:
            self.state = "not replayed: a system without journals has written to the volume since"
        else:
            patches: list[Patch] = []
            try:
                for transaction in transactions(volume, journal):
                    patches += transaction
                    self.transactions += 1
            except ImageError as exc:
                self._failed(exc)
            if patches:
                self.device = ReplayedVolume(volume, patches)
            if self.fault is None:
                self.state = f"replayed, {self.transactions} transactions"

    def _failed(self, problem: ImageError) -> None:
        self.fault = problem
        self.state = f"damaged after {self.transactions} transactions"
        log.warning("%s: what was written last may be missing", problem)
