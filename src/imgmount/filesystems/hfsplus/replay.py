"""Whether a volume's journal is to be replayed, and the volume with it."""

from __future__ import annotations

import logging

from imgmount.core.device import BlockDevice
from imgmount.errors import ChecksumError, ImageError
from imgmount.filesystems.hfsplus.header import NAME, read_header
from imgmount.filesystems.hfsplus.journal import (
    WITHOUT_JOURNALS,
    JournalHeader,
    ReplayedVolume,
    Transaction,
    read_journal,
    transactions,
)  # fmt: skip

log = logging.getLogger(__name__)

MAX_CHECKED = 8 << 20  # bytes of blocks whose checksums are looked at: about a second


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
            found: list[Transaction] = []
            try:
                for transaction in transactions(volume, journal):
                    found += [transaction] if transaction else []
            except ImageError as exc:
                self.fault = exc
            self._check(volume, found)
            self.transactions = len(found)
            if self.transactions:
                patches = [patch for transaction in found for block in transaction for patch in block.patches]
                self.device = ReplayedVolume(volume, patches)
            if self.fault is None:
                self.state = f"replayed, {self.transactions} transactions"
            else:
                self._failed(self.fault)

    def _check(self, volume: BlockDevice, found: list[Transaction]) -> None:
        """Drop the first transaction that was not written whole, and those after it, the newest first."""
        left, whole = MAX_CHECKED, len(found)
        for n in range(len(found) - 1, -1, -1):
            try:
                if not all(block.is_sound(volume) for block in found[n]):
                    whole, self.fault = (
                        n,
                        ChecksumError(NAME, f"a block of transaction {n + 1} in the journal"),
                    )
            except ImageError as exc:
                whole, self.fault = n, exc
            left -= sum(patch.size for block in found[n] for patch in block.patches)
            if left < 0:
                break
        del found[whole:]

    def _failed(self, problem: ImageError) -> None:
        self.fault = problem
        self.state = f"damaged after {self.transactions} transactions"
        log.warning("%s: what was written last may be missing", problem)
