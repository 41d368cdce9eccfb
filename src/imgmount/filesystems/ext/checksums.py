"""The checksums over metadata: CRC-32C with ``metadata_csum``, CRC-16 with the older ``uninit_bg``."""

from __future__ import annotations

from typing import Final

from imgmount.codecs import crc32c

_ONES: Final = 0xFFFF_FFFF
_IBM: Final = 0xA001  # the polynomial 0x8005, reflected


def metadata_crc(data: bytes, seed: int = _ONES) -> int:
    """CRC-32C begun at ``seed`` and, unlike everybody's, not inverted."""
    return crc32c.crc32c(data, seed ^ _ONES) ^ _ONES


def group_crc(data: bytes, seed: int = 0xFFFF) -> int:
    """CRC-16/ARC begun at ``seed``."""
    for byte in data:
        seed ^= byte
        for _ in range(8):
            seed = seed >> 1 ^ (_IBM if seed & 1 else 0)
    return seed
