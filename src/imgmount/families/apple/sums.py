"""The checksum of Disk Copy 4.2, which DART and ShrinkWrap keep as well.

Source: Apple File Type Note $E0/$0005.
"""

from __future__ import annotations

from imgmount.core.device import Buffer
from imgmount.core.fields import table


class DiskCopySum:
    """Each big-endian word is added, and the sum turned to the right by a bit. Pieces are whole words."""

    def __init__(self) -> None:
        self._total = 0

    def update(self, data: Buffer, /) -> None:
        """Take ``data`` in."""
        total = self._total
        for word in table(bytes(data), 2, "big"):
            total = total + word & 0xFFFF_FFFF
            total = total >> 1 | (total & 1) << 31
        self._total = total

    def zeros(self, count: int, /) -> None:
        """Take ``count`` zero bytes in: the sum is turned alone."""
        turns = count // 2 % 32
        self._total = (self._total >> turns | self._total << 32 - turns) & 0xFFFF_FFFF

    def digest(self) -> bytes:
        """The sum, the high byte first."""
        return self._total.to_bytes(4, "big")
