"""MacBinary I, II and III: a header of 128 bytes, then both forks, each filled up to 128 bytes.

Source: "MacBinary III Conversion Guidelines" (1996) and its predecessors. Big endian.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from imgmount.codecs.crc16 import crc16
from imgmount.core.device import BlockDevice

HEADER: Final = 128
UNIT: Final = 128
MAX_NAME: Final = 63
MAX_FORK: Final = 0x7FFF_FFFF
_LENGTHS = struct.Struct(">2I")
_ZEROS: Final = (0, 74, 82)  # bytes that are 0 in every version
_MARK: Final = slice(102, 106)  # "mBIN" in version III


class Header(NamedTuple):
    """What the header says. ``version`` is 1, 2 or 3."""

    name: bytes
    type: bytes
    creator: bytes
    data: int  # bytes of each fork
    resource: int
    second: int  # bytes of a further header
    version: int

    @property
    def data_at(self) -> int:
        return HEADER + _filled(self.second)

    @property
    def resource_at(self) -> int:
        return self.data_at + _filled(self.data)


def _filled(size: int) -> int:
    return -(-size // UNIT) * UNIT


def parse(file: BlockDevice) -> Header | None:
    """The header; None where there is none: many begin with a zero, so sizes or the checksum must agree."""
    raw = file.pread(0, HEADER)
    if len(raw) < HEADER or any(raw[at] for at in _ZEROS) or not 0 < raw[1] <= MAX_NAME:
        return None
    data, resource = _LENGTHS.unpack_from(raw, 83)
    if max(data, resource) > MAX_FORK or not data + resource or b"\0" in raw[2 : 2 + raw[1]]:
        return None
    summed = int.from_bytes(raw[124:126], "big") == crc16(raw[:124], 0)
    second = int.from_bytes(raw[120:122], "big") if summed else 0
    version = 1 if not summed else 3 if raw[_MARK] == b"mBIN" else 2
    header = Header(raw[2 : 2 + raw[1]], raw[65:69], raw[69:73], data, resource, second, version)
    end = header.resource_at + resource
    if not summed and not (end <= file.size <= _filled(end) and not any(raw[99:128])):
        return None
    return header
