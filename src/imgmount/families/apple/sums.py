"""The checksum of Disk Copy 4.2, which DART and ShrinkWrap keep as well.

Source: Apple File Type Note $E0/$0005.
"""

from __future__ import annotations

from collections.abc import Iterable

from imgmount.core.fields import table


def disk_copy_sum(pieces: Iterable[bytes]) -> int:
    """Each big-endian word is added, and the sum turned to the right by a bit. Pieces are whole words."""
    total = 0
    for piece in pieces:
        for word in table(piece, 2, "big"):
            total = total + word & 0xFFFF_FFFF
            total = total >> 1 | (total & 1) << 31
    return total
