"""The file allocation table: which cluster follows which, as runs.

It is read in pages when a chain leads there, so opening a volume costs the same whatever its size. Where a
link is impossible the other copies are asked before the chain is given up.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from itertools import compress, count
from operator import ne
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.fat.bpb import Bpb

log = logging.getLogger(__name__)

PAGE: Final = 1 << 14  # entries: 64 KiB of FAT32, all of FAT12
MAX_PAGES: Final = 256  # kept: 16 MiB of FAT32, the links of 128 GiB in clusters of 32 KiB
_MASK: Final = {12: 0xFFF, 16: 0xFFFF, 32: 0x0FFF_FFFF}  # the top four bits of a FAT32 entry are reserved
_BAD: Final = {12: 0xFF7, 16: 0xFFF7, 32: 0x0FFF_FFF7}


class Chain(NamedTuple):
    """The runs of a chain: ``firsts[n]`` and the ``counts[n]`` clusters that follow each other.

    ``damage`` ended it early.
    """

    firsts: array[int]
    counts: array[int]
    damage: ImageError | None = None

    @property
    def clusters(self) -> int:
        """The number of clusters."""
        return sum(self.counts)


class FatTable:
    """The FAT of a volume. Any number of threads may use it: pages are written once and dropped whole."""

    def __init__(self, device: BlockDevice, bpb: Bpb) -> None:
        self._device = device
        self.bpb = bpb
        self.end = bpb.clusters + 2  # one past the last cluster
        self.mask = _MASK[bpb.bits]
        self.bad = _BAD[bpb.bits]
        self.copy = _sound_copy(device, bpb) if bpb.only_fat is None else bpb.only_fat
        self._pages: dict[int, array[int]] = {}

    def page(self, number: int) -> array[int]:
        """Entries ``number * PAGE`` and on. Raises ``ImageError`` where no copy can be read."""
        found = self._pages.get(number)
        if found is None:
            found = self._load(number)
            while len(self._pages) >= MAX_PAGES:
                self._pages.pop(next(iter(self._pages.copy()), -1), None)
            self._pages[number] = found
        return found

    def _load(self, number: int) -> array[int]:
        try:
            return self.read(number, self.copy)
        except ImageError:
            for copy in self._others():
                try:
                    found = self.read(number, copy)
                except ImageError:
                    continue
                log.warning(
                    "fat: FAT %d cannot be read at cluster %d, using FAT %d", self.copy, number * PAGE, copy
                )
                return found
            raise

    def read(self, number: int, copy: int) -> array[int]:
        """Page ``number`` as FAT ``copy`` has it."""
        first = number * PAGE
        count = min(PAGE, self.end - first)
        start = self._place(first, copy)
        data = self._device.read_exactly(start, -(-count * self.bpb.bits // 8), "fat")
        return (
            _unpack_12(data, count)
            if self.bpb.bits == 12
            else table(data, 2 if self.bpb.bits == 16 else 4, "little")
        )

    def __getitem__(self, cluster: int) -> int:
        return self.page(cluster // PAGE)[cluster % PAGE] & self.mask

    def chain(self, first: int, limit: int) -> Chain:
        """The runs from ``first`` on: ``limit`` clusters, or as many as there are.

        Damage is kept in the result, not raised.
        """
        firsts, counts = array("Q"), array("Q")
        ends: set[int] = (
            set()
        )  # runs are maximal, so a chain that meets itself ends a run where one has ended
        total, cluster = 0, first
        while total < limit:
            try:
                if not 2 <= cluster < self.end:
                    raise FormatError("fat", f"cluster {cluster} of {self.end - 2} begins a chain")
                last, following = self._run(cluster)
                if last in ends:
                    raise FormatError("fat", f"the chain from cluster {first} loops at {last}")
            except ImageError as exc:
                return Chain(firsts, counts, exc)
            ends.add(last)
            length = min(last + 1 - cluster, limit - total)
            firsts.append(cluster)
            counts.append(length)
            total += length
            if following is None:
                break
            cluster = following
            if not 2 <= cluster < self.end:
                return Chain(firsts, counts, self._broken(last, cluster))
        return Chain(firsts, counts)

    def _run(self, cluster: int) -> tuple[int, int | None]:
        """(last cluster of the run that ``cluster`` is in, what follows it: None is the end of the chain)."""
        while (link := self[cluster]) == cluster + 1 < self.end:
            ahead = memoryview(self.page(cluster // PAGE))[cluster % PAGE :]
            links = next(
                compress(count(), map(ne, ahead, count(cluster + 1))), len(ahead)
            )  # that lead to the next cluster
            cluster = min(
                cluster + max(1, links), self.end - 1
            )  # at least this one, whatever its reserved bits
        if not (2 <= link < self.end or link > self.bad):
            link = self._second_opinion(cluster, link)
        return cluster, None if link > self.bad else link

    def _second_opinion(self, cluster: int, link: int) -> int:
        """What another copy says of ``cluster``, whose ``link`` is impossible; the same where it says no better."""
        for copy in self._others():
            try:
                other = self.entry(cluster, copy)
            except ImageError:
                continue
            if 2 <= other < self.end or other > self.bad:
                log.warning(
                    "fat: FAT %d links cluster %d to %#x, using FAT %d: %#x",
                    self.copy,
                    cluster,
                    link,
                    copy,
                    other,
                )
                return other
        return link

    def entry(self, cluster: int, copy: int) -> int:
        """The link of ``cluster`` as FAT ``copy`` has it, read by itself."""
        start = self._place(cluster, copy)
        if self.bpb.bits != 12:
            return (
                int.from_bytes(self._device.read_exactly(start, self.bpb.bits // 8, "fat"), "little")
                & self.mask
            )
        pair = int.from_bytes(self._device.read_exactly(start, 2, "fat"), "little")
        return pair >> 4 if cluster & 1 else pair & self.mask

    def _place(self, cluster: int, copy: int) -> int:
        return self.bpb.fat_offset + copy * self.bpb.fat_size + cluster * self.bpb.bits // 8

    def _others(self) -> Iterator[int]:
        return (copy for copy in range(self.bpb.fats) if copy != self.copy and self.bpb.only_fat is None)

    def _broken(self, cluster: int, link: int) -> FormatError:
        what = {0: "a free cluster", self.bad: "a bad cluster"}.get(link, f"cluster {link} of {self.end - 2}")
        return FormatError(
            "fat", f"cluster {cluster} is linked to {what}", offset=self._place(cluster, self.copy)
        )


def _sound_copy(device: BlockDevice, bpb: Bpb) -> int:
    """The first copy that begins as a FAT must; the first of all where none does."""
    for copy in range(bpb.fats):
        try:
            sound = bpb.first_entries(device, copy)
        except ImageError:
            continue
        if sound:
            if copy:
                log.warning("fat: FAT 0 is damaged, using FAT %d", copy)
            return copy
    return 0


def _unpack_12(data: bytes, count: int) -> array[int]:
    """Entries of 12 bits, two in three bytes."""
    data += bytes(-len(data) % 3)
    values = array("H", bytes(2 * (len(data) // 3) * 2))
    low, middle, high = data[0::3], data[1::3], data[2::3]
    values[0::2] = array("H", [a | (b & 15) << 8 for a, b in zip(low, middle, strict=True)])
    values[1::2] = array("H", [b >> 4 | c << 4 for b, c in zip(middle, high, strict=True)])
    return values[:count]
