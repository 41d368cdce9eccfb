"""The file allocation table of FAT and exFAT: which cluster follows which, as runs, and files in such runs.

It is read in pages when a chain leads there, so opening a volume costs the same whatever its size. Where a
link is impossible the other copies are asked before the chain is given up.

Source: Microsoft's FAT specification 1.03, section 4; its exFAT specification, section 4.
"""

from __future__ import annotations

import logging
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, compress, count
from operator import ne
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.kept import keep
from imgmount.errors import FormatError, ImageError

log = logging.getLogger(__name__)

PAGE: Final = 1 << 14  # entries: 64 KiB of FAT32, all of FAT12
STRAIGHT: Final = "its clusters follow each other"  # a guess about deleted files
MAX_PAGES: Final = 256  # kept: 16 MiB of FAT32, the links of 128 GiB in clusters of 32 KiB


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


class ClusterTable:
    """The FAT of a volume. Any number of threads may use it: pages are written once and dropped whole.

    Entries are ``bits`` wide: 12, 16 or 32, of which those in ``mask`` count. The largest values end a chain,
    the one below them, ``bad``, marks a cluster that must not be used. ``places`` is where each copy begins,
    in bytes; ``copy`` is the one to believe, ``others`` are those to ask where it cannot be right. ``end`` is
    one past the last cluster; the first is 2.
    """

    def __init__(
        self, device: BlockDevice, fmt: str, *, bits: int, mask: int, end: int, places: Sequence[int],
        copy: int = 0, others: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self._device = device
        self._fmt = fmt
        self.bits = bits
        self.mask = mask
        self.bad = mask - 8
        self.end = end
        self.copy = copy
        self._places = places
        self._others = others
        self._pages: dict[int, array[int]] = {}

    def page(self, number: int) -> array[int]:
        """Entries ``number * PAGE`` and on. Raises ``ImageError`` where no copy can be read."""
        found = self._pages.get(number)
        if found is None:
            found = self._load(number)
            keep(self._pages, number, found, MAX_PAGES)
        return found

    def _load(self, number: int) -> array[int]:
        try:
            return self.read(number, self.copy)
        except ImageError:
            for copy in self._others:
                try:
                    found = self.read(number, copy)
                except ImageError:
                    continue
                told = (self._fmt, self.copy, number * PAGE, copy)
                log.warning("%s: FAT %d cannot be read at cluster %d, using FAT %d", *told)
                return found
            raise

    def read(self, number: int, copy: int) -> array[int]:
        """Page ``number`` as FAT ``copy`` has it."""
        first = number * PAGE
        length = min(PAGE, self.end - first)
        data = self._device.read_exactly(self._place(first, copy), -(-length * self.bits // 8), self._fmt)
        return (
            _unpack_12(data, length)
            if self.bits == 12
            else table(data, 2 if self.bits == 16 else 4, "little")
        )

    def __getitem__(self, cluster: int) -> int:
        return self.page(cluster // PAGE)[cluster % PAGE] & self.mask

    def first_used(self, first: int, count: int) -> int | None:
        """The first of ``count`` clusters that is not free, if one is. Raises ``ImageError``."""
        if not 2 <= first <= self.end - count:
            raise self._outside(first, count)
        mask = self.mask
        for start in range(first - first % PAGE, first + count, PAGE):
            low, high = max(first, start), min(first + count, start + PAGE)
            for cluster, link in enumerate(self.page(start // PAGE)[low - start : high - start], low):
                if link & mask:
                    return cluster
        return None

    def straight(self, first: int, length: int) -> Chain:
        """``length`` clusters that follow each other without links."""
        if not 2 <= first <= self.end - length:
            return Chain(array("Q"), array("Q"), self._outside(first, length))
        return Chain(array("Q", [first]), array("Q", [length]))

    def _outside(self, first: int, count: int) -> FormatError:
        reason = f"{count} clusters from {first} on do not fit in clusters 2 to {self.end - 1}"
        return FormatError(self._fmt, reason)

    def chain(self, first: int, limit: int) -> Chain:
        """The runs from ``first`` on: ``limit`` clusters, or as many as there are.

        Damage is kept in the result, not raised.
        """
        firsts, counts = array("Q"), array("Q")
        ends: set[int] = set()  # runs are maximal: a chain that meets itself ends a run where one has ended
        total, cluster, before = 0, first, 0
        while total < limit:
            if not 2 <= cluster < self.end:
                return Chain(firsts, counts, self._broken(before, cluster))
            try:
                last, following = self._run(cluster)
            except ImageError as exc:
                return Chain(firsts, counts, exc)
            if last in ends:
                damage = FormatError(self._fmt, f"the chain from cluster {first} loops at {last}")
                return Chain(firsts, counts, damage)
            ends.add(last)
            length = min(last + 1 - cluster, limit - total)
            firsts.append(cluster)
            counts.append(length)
            total += length
            if following is None:
                break
            before, cluster = last, following
        return Chain(firsts, counts)

    def _run(self, cluster: int) -> tuple[int, int | None]:
        """(last cluster of the run that ``cluster`` is in, what follows it: None is the end of the chain)."""
        while (link := self[cluster]) == cluster + 1 < self.end:
            ahead = memoryview(self.page(cluster // PAGE))[cluster % PAGE :]
            # entries that lead to the next cluster; this one does, whatever its reserved bits
            links = next(compress(count(), map(ne, ahead, count(cluster + 1))), len(ahead))
            cluster = min(cluster + max(1, links), self.end - 1)
        if not (2 <= link < self.end or link > self.bad):
            link = self._ask_others(cluster, link)
        return cluster, None if link > self.bad else link

    def _ask_others(self, cluster: int, link: int) -> int:
        """What another copy of the FAT says of ``cluster``; its impossible ``link`` if no copy is better."""
        for copy in self._others:
            try:
                other = self.entry(cluster, copy)
            except ImageError:
                continue
            if 2 <= other < self.end or other > self.bad:
                told = (self._fmt, self.copy, cluster, link, copy, other)
                log.warning("%s: FAT %d links cluster %d to %#x, using FAT %d: %#x", *told)
                return other
        return link

    def entry(self, cluster: int, copy: int) -> int:
        """The link of ``cluster`` as FAT ``copy`` has it, read by itself."""
        width = max(2, self.bits // 8)
        raw = self._device.read_exactly(self._place(cluster, copy), width, self._fmt)
        value = int.from_bytes(raw, "little")
        return (value >> 4 if self.bits == 12 and cluster & 1 else value) & self.mask

    def _place(self, cluster: int, copy: int) -> int:
        return self._places[copy] + cluster * self.bits // 8

    def _broken(self, cluster: int, link: int) -> FormatError:
        """What is wrong with ``link``, which follows ``cluster``; 0 where it begins the chain."""
        known = {0: "a free cluster", self.bad: "a bad cluster"}
        what = known.get(link, f"cluster {link}, outside 2 to {self.end - 1}")
        if not cluster:
            return FormatError(self._fmt, f"a chain begins at {what}")
        return FormatError(
            self._fmt, f"cluster {cluster} is linked to {what}", offset=self._place(cluster, self.copy)
        )


def _unpack_12(data: bytes, length: int) -> array[int]:
    """Entries of 12 bits, two in three bytes."""
    data += bytes(-len(data) % 3)
    values = array("H", bytes(2 * (len(data) // 3) * 2))
    low, middle, high = data[0::3], data[1::3], data[2::3]
    values[0::2] = array("H", [a | (b & 15) << 8 for a, b in zip(low, middle, strict=True)])
    values[1::2] = array("H", [b >> 4 | c << 4 for b, c in zip(middle, high, strict=True)])
    return values[:length]


class ClusterDevice(MappedDevice):
    """``size`` bytes in runs of clusters: where a chain ends too early, what comes after it fails when read.

    ``base`` is where cluster 0 would begin, in bytes.
    """

    def __init__(
        self, device: BlockDevice, fmt: str, chain: Chain, size: int, *, cluster_size: int, base: int
    ) -> None:
        self.size = size
        self.block_size = cluster_size
        self._device = device
        self._fmt = fmt
        self._chain = chain
        self._base = base
        self._starts = [0, *accumulate(length * cluster_size for length in chain.counts)]

    @property
    def single(self) -> int | None:
        """Where all of it is, if that is one place."""
        if len(self._starts) == 2 and self._starts[1] >= self.size:
            return self._base + self._chain.firsts[0] * self.block_size
        return None

    def _map(self, offset: int) -> Extent:
        index = bisect_right(self._starts, offset) - 1
        if index == len(self._chain.firsts):
            if self._chain.damage is not None:
                raise self._chain.damage.again()
            reason = f"the chain ends at {self._starts[-1]:#x} of {self.size:#x} bytes"
            raise FormatError(self._fmt, reason)
        skip = offset - self._starts[index]
        start = self._base + self._chain.firsts[index] * self.block_size
        return Extent(self._starts[index + 1] - offset, self._device, start + skip)
