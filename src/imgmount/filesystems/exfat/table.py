"""The file allocation table, as runs. exFAT specification, section 4.

Pages of it are read when a chain leads there.
"""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.exfat.boot import NAME, Boot

PAGE: Final = 1 << 14  # entries
MAX_PAGES: Final = 64
BAD: Final = 0xFFFF_FFF7
_ENTRY: Final = 4


class Chain(NamedTuple):
    """The runs of a chain: ``firsts[n]`` and the ``counts[n]`` clusters that follow each other.

    ``damage`` ended it early.
    """

    firsts: array[int]
    counts: array[int]
    damage: ImageError | None = None


class Fat:
    """The FAT in use. Any number of threads may ask it: pages are written once and dropped whole."""

    def __init__(self, device: BlockDevice, boot: Boot) -> None:
        self._device = device
        self._boot = boot
        self._start = boot.fat_offset + boot.active_fat * boot.fat_size
        self._pages: dict[int, array[int]] = {}

    def _page(self, number: int) -> array[int]:
        page = self._pages.get(number)
        if page is None:
            first = number * PAGE
            count = min(PAGE, self._boot.end - first)
            page = table(
                self._device.read_exactly(self._start + first * _ENTRY, count * _ENTRY, NAME), 4, "little"
            )
            while len(self._pages) >= MAX_PAGES:
                for old in list(self._pages)[:1]:
                    self._pages.pop(old, None)
            self._pages[number] = page
        return page

    def straight(self, first: int, count: int) -> Chain:
        """``count`` clusters that follow each other without links."""
        if not 2 <= first <= self._boot.end - count:
            return Chain(
                array("Q"),
                array("Q"),
                FormatError(NAME, f"{count} clusters from {first} of {self._boot.end - 2}"),
            )
        return Chain(array("Q", [first]), array("Q", [count]))

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
                if not 2 <= cluster < self._boot.end:
                    what = {0: "a free cluster", BAD: "a bad cluster"}.get(
                        cluster, f"cluster {cluster} of {self._boot.end - 2}"
                    )
                    raise FormatError(NAME, f"the chain from cluster {first} leads to {what}")
                last, link = self._run(cluster)
                if last in ends:
                    raise FormatError(NAME, f"the chain from cluster {first} loops at {last}")
            except ImageError as exc:
                return Chain(firsts, counts, exc)
            ends.add(last)
            count = min(last + 1 - cluster, limit - total)
            firsts.append(cluster)
            counts.append(count)
            total += count
            if link > BAD:
                break
            cluster = link
        return Chain(firsts, counts)

    def _run(self, cluster: int) -> tuple[int, int]:
        """(last cluster of the run that ``cluster`` is in, its link)."""
        while True:
            page = self._page(cluster // PAGE)
            for link in memoryview(page)[cluster % PAGE :]:
                if link != cluster + 1 or link == self._boot.end:
                    return cluster, link
                cluster = link
