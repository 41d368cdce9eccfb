"""CRC-16 with the polynomial 0x1021 (CCITT, XMODEM, ECMA-182 by start value).

It is 30 times as fast where fastcrc is installed.

``crc16(data, start)`` is the checksum of ``data``, continuing ``start``.
"""

from __future__ import annotations

try:
    from fastcrc.crc16 import xmodem as crc16
except ImportError:
    from binascii import crc_hqx as crc16  # type: ignore[assignment]

__all__ = ["crc16"]
