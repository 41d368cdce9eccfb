"""The transactions in the records of a log: which items each holds.

A record is a run of operations, each a header and a region of bytes that belongs to a transaction; a region
may go on in the next record. An item is one region that says how many belong to it, and those. Source: XFS
Algorithms and Data Structures, "Log Operations"; the kernel's ``xlog_recover_process_data``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct, unpack_from
from typing import Final, NamedTuple

from imgmount.errors import FormatError
from imgmount.filesystems.xfs.log import Place, Record
from imgmount.filesystems.xfs.superblock import NAME

_OPERATION: Final = Struct(">IIBB2x")  # transaction, length, client, flags
START, COMMIT, CAME_ON = 1, 2, 8  # flags of an operation
_CLIENTS: Final = (0x69, 0x02, 0xAA)  # transaction, volume, log
_LOG: Final = 0xAA
_HEAD: Final = 16  # bytes: of the whole transaction
MAX_PENDING: Final = 256 << 20  # bytes of transactions that are not committed yet


class Item(NamedTuple):
    """What happens to one thing; the first region says to what. ``order`` is that of bytes in it."""

    kind: int
    order: str
    regions: list[bytes]


class Transaction(NamedTuple):
    """A committed transaction, and the record that it begins in."""

    place: Place
    items: list[Item]


class _Pending:
    """A transaction that is being read."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.head = b""
        self.regions: list[list[bytes]] = []  # of each item

    def add(self, data: bytes, order: str) -> None:
        """A further region."""
        if len(self.head) < _HEAD:
            self.head += data
            return
        if not self.regions or len(self.regions[-1]) >= _wanted(self.regions[-1], order):
            self.regions.append([])
        self.regions[-1].append(data)

    def extend(self, data: bytes) -> None:
        """The rest of the last region."""
        if not self.regions:
            self.head += data
        else:
            self.regions[-1][-1] += data

    def committed(self, order: str) -> Transaction:
        items = [
            Item(unpack_from(f"{order}H", regions[0])[0], order, regions)
            for regions in self.regions
            if len(regions) >= _wanted(regions, order)
        ]
        if len(items) != len(self.regions):
            raise FormatError(NAME, "an item of the log lacks some of its regions")
        return Transaction(self.place, items)


def _wanted(regions: list[bytes], order: str) -> int:
    """How many regions the item has that begins with the first of ``regions``. Raises ``FormatError``."""
    if len(regions[0]) < 4:
        raise FormatError(NAME, f"an item of the log has {len(regions[0])} bytes, 4 at least are wanted")
    return max(1, int(unpack_from(f"{order}2xH", regions[0])[0]))


def transactions(records: Iterable[Record]) -> Iterator[Transaction]:
    """The committed transactions in ``records``, in order of their commits. Raises ``FormatError``."""
    pending: dict[int, _Pending] = {}
    room = MAX_PENDING
    for record in records:
        for number, flags, data in _operations(record):
            if flags & START:
                pending[number] = _Pending(record.place)
                continue
            found = pending.get(number)
            if found is None:
                continue
            room -= len(data)
            if room < 0:
                raise FormatError(NAME, f"a transaction of the log with more than {MAX_PENDING} bytes")
            if flags & COMMIT:
                del pending[number]
                yield found.committed(record.order)
                room = MAX_PENDING
            elif flags & CAME_ON:
                found.extend(data)
            elif data:
                found.add(data, record.order)


def _operations(record: Record) -> Iterator[tuple[int, int, bytes]]:
    """(transaction, flags, region) of each operation in a record. Raises ``FormatError``."""
    data, at = record.data, 0
    for _ in range(record.operations):
        if at + _OPERATION.size > len(data):
            raise FormatError(NAME, f"a record of the log has fewer than its {record.operations} operations")
        number, length, client, flags = _OPERATION.unpack_from(data, at)
        at += _OPERATION.size
        if client not in _CLIENTS or at + length > len(data):
            raise FormatError(NAME, f"an operation of {length} bytes by client {client:#x} in the log")
        if client != _LOG:
            yield number, flags, data[at : at + length]
        at += length
