"""Whether the log ends with an unmount. XFS Algorithms and Data Structures, "Journaling Log".

The log is a ring of sectors, each stamped with the number of its round. The newest record ends where the
stamp falls.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError
from imgmount.filesystems.xfs.superblock import NAME, Superblock

SECTOR: Final = 512
_STAMP: Final = Struct(">II")
_HEADER: Final = Struct(">4sIII24xI276xI")  # magic, round, version, length, operations, size of the buffer
_MAGIC: Final = b"\xfe\xed\xba\xbe"
_LARGE: Final = 2  # version whose headers may take several sectors
_BUFFER: Final = 32768  # of a record that one header sector describes
_OPERATION_FLAGS: Final = 9  # where they are in an operation
_UNMOUNT: Final = 0x20
MAX_RECORD: Final = 1024  # sectors searched for the newest header: records are of 256 KiB at most


def is_clean(device: BlockDevice, spb: Superblock) -> bool | None:
    """Whether nothing waits in the log to be written; None where the log is on another device."""
    if not spb.log_start:
        return None
    start, count = spb.block(spb.log_start) * spb.block_size, spb.log_blocks * spb.block_size // SECTOR
    if not count:
        raise FormatError(NAME, "a log of no blocks")

    def sector(number: int) -> bytes:
        return device.read_exactly(start + number % count * SECTOR, SECTOR, NAME)

    def stamp(number: int) -> int:
        first: int
        second: int
        first, second = _STAMP.unpack_from(sector(number))
        return second if first == int.from_bytes(_MAGIC, "big") else first

    head = _head(stamp, count)
    for back in range(1, min(count, MAX_RECORD) + 1):
        raw = sector(head - back)
        if raw[:4] != _MAGIC:
            continue
        _, _, version, length, operations, buffer = _HEADER.unpack_from(raw)
        headers = -(-buffer // _BUFFER) if version & _LARGE and buffer > _BUFFER else 1
        if headers + -(-length // SECTOR) != back or operations != 1:
            return False
        return bool(sector(head - back + headers)[_OPERATION_FLAGS] & _UNMOUNT)
    return False


def _head(stamp: Callable[[int], int], count: int) -> int:
    """The sector after the newest: the first that is not of the round that the first sector is of."""
    newest = stamp(0)
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if stamp(middle) == newest:
            low = middle
        else:
            high = middle
    return high
