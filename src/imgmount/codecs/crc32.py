"""CRC-32 of long runs of zeros, which zlib would have to see byte by byte. Source: RFC 1952, 8."""

from __future__ import annotations

import zlib
from functools import cache
from typing import Final

from imgmount.codecs.crcs import ShiftedCrc
from imgmount.core.device import Buffer

_POLYNOMIAL: Final = 0xEDB8_8320
_ONES: Final = 0xFFFF_FFFF


@cache
def _crc() -> ShiftedCrc:
    return ShiftedCrc(_POLYNOMIAL)


def extend_by_zeros(crc: int, count: int) -> int:
    """What ``zlib.crc32(bytes(count), crc)`` is, for any ``count``."""
    return _crc().zeros(count, crc ^ _ONES) ^ _ONES


class Crc32:
    """A CRC-32 in the making: that of what was taken in, behind ``start``'s."""

    def __init__(self, start: int = 0) -> None:
        self._crc = start

    def update(self, data: Buffer, /) -> None:
        """Take ``data`` in."""
        self._crc = zlib.crc32(data, self._crc)

    def zeros(self, count: int, /) -> None:
        """Take ``count`` zero bytes in."""
        self._crc = extend_by_zeros(self._crc, count)

    def digest(self) -> bytes:
        """The checksum, the high byte first."""
        return self._crc.to_bytes(4, "big")
