"""Entries of a directory as the kernel asks for them: from the first on, again, from any place."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

from fake_tree import Plain
from imgmount.core.node import Node
from imgmount.core.slices import MemoryDevice
from imgmount.fuse.replies import BATCH, MAX_RECENT, Replies, Reply

LAST = 6 * MAX_RECENT * BATCH + 5  # entries: more batches than stay as they are, and a part of one


class Directory:
    """Entries called by their numbers, and how many replies were made."""

    def __init__(self, count: int) -> None:
        node = Plain(1, MemoryDevice(b""))
        self.made = 0
        self.replies = Replies({str(number): node for number in range(count)}, self.pack)

    def pack(self, first: int, entries: Iterable[tuple[str, Node]]) -> list[Reply]:
        packed: list[Reply] = []
        for place, (name, _) in enumerate(entries, first):
            assert name == str(place)
            self.made += 1
            packed.append(place.to_bytes(160, "little"))
        return packed

    def numbers(self) -> list[int]:
        """All entries, in the order in which they are told."""
        found, batch = [], 0
        while replies := self.replies[batch]:
            found += [int.from_bytes(reply, "little") for reply in replies]
            batch += 1
        return found


def test_every_entry_is_told_once_and_in_order() -> None:
    for count in (0, 1, BATCH - 1, BATCH, BATCH + 1, 10 * BATCH, LAST):
        assert Directory(count).numbers() == list(range(count))


def test_every_entry_is_prepared_once() -> None:
    for count in (3 * BATCH + 1, LAST):
        directory = Directory(count)
        assert directory.numbers() == directory.numbers() == list(range(count))
        assert directory.made == count


def test_a_long_directory_takes_a_few_bytes_an_entry() -> None:
    directory = Directory(LAST)
    tracemalloc.start()
    try:
        directory.numbers()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    all_recent = MAX_RECENT * BATCH * 400
    assert kept < all_recent + LAST * 40


def test_behind_the_last_entry_nothing_is_kept() -> None:
    directory = Directory(1)
    assert directory.numbers() == [0]
    assert not any(directory.replies[number] for number in range(1, 3 * MAX_RECENT))
    assert directory.numbers() == [0]
    assert directory.made == 1


def test_two_readers_and_any_place() -> None:
    long = Directory(LAST)
    end = LAST // BATCH
    for batch in (0, end, 1, end - 1, 2, end, end + 1, 0):
        first = batch * BATCH
        names = [int.from_bytes(reply, "little") for reply in long.replies[batch]]
        assert names == list(range(first, min(first + BATCH, LAST)))
