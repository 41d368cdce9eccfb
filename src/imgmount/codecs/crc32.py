"""CRC-32 of long runs of zeros, which zlib would have to see byte by byte. Source: RFC 1952, 8."""

from __future__ import annotations

from functools import cache
from typing import Final

from imgmount.codecs.crcs import ShiftedCrc

_POLYNOMIAL: Final = 0xEDB8_8320
_ONES: Final = 0xFFFF_FFFF


@cache
def _crc() -> ShiftedCrc:
    return ShiftedCrc(_POLYNOMIAL)


def extend_by_zeros(crc: int, count: int) -> int:
    """What ``zlib.crc32(bytes(count), crc)`` is, for any ``count``."""
    return _crc().zeros(count, crc ^ _ONES) ^ _ONES
