"""AmigaDOS sectors in a raw MFM track.

Source: "Amiga ROM Kernel Reference Manual: Devices", trackdisk.device.
"""

from __future__ import annotations

from struct import unpack
from typing import Final

SECTOR: Final = 512
SYNC: Final = format(0x44894489, "032b")  # twice a byte that no data encodes to
_DATA_BITS: Final = 0x55  # of each byte; the others are the clock
_FORMAT: Final = 0xFF
_INFO, _LABEL, _SUM = 4, 16, 4  # bytes of the parts of a header, each stored twice as long
_SIZE: Final = 2 * (_INFO + _LABEL + _SUM + _SUM + SECTOR)  # of a sector behind the sync


def _joined(odd: bytes, even: bytes) -> bytes:
    """The bytes whose odd bits come first."""
    mask = int.from_bytes(bytes([_DATA_BITS]) * len(odd), "big")
    value = (int.from_bytes(odd, "big") & mask) << 1 | int.from_bytes(even, "big") & mask
    return value.to_bytes(len(odd), "big")


def _sum(raw: bytes) -> int:
    """The checksum of encoded bytes: their longs, exclusively or-ed, without the clock."""
    total = 0
    for value in unpack(f">{len(raw) // 4}I", raw):
        total ^= value
    return total & 0x5555_5555


def sectors(raw: bytes, bits: int, track: int) -> dict[int, bytes]:
    """The sectors of ``track`` that are whole, by number; its ``bits`` bits begin anywhere in its turn."""
    once = format(int.from_bytes(raw, "big"), f"0{8 * len(raw)}b")[:bits]
    turn = once + once[: 8 * _SIZE + 2 * len(SYNC)]  # a sector may lie across the end
    found: dict[int, bytes] = {}
    at = turn.find(SYNC)
    while 0 <= at < len(once):
        at += len(SYNC)
        piece = turn[at : at + 8 * _SIZE]
        if len(piece) < 8 * _SIZE:
            break
        sector = _sector(int(piece, 2).to_bytes(_SIZE, "big"), track)
        if sector is not None:
            found.setdefault(*sector)
        at = turn.find(SYNC, at)
    return found


def _sector(raw: bytes, track: int) -> tuple[int, bytes] | None:
    """(number, data) of an encoded sector, None where it is damaged or another track's."""
    head = raw[: 2 * (_INFO + _LABEL)]
    sums = raw[len(head) : len(head) + 4 * _SUM]
    data = raw[len(head) + len(sums) :]
    kind, number_of_track, number, _ = _joined(head[:_INFO], head[_INFO : 2 * _INFO])
    head_sum, data_sum = (
        int.from_bytes(_joined(sums[at : at + 4], sums[at + 4 : at + 8]), "big") for at in (0, 8)
    )
    if (kind, number_of_track) != (_FORMAT, track) or _sum(head) != head_sum or _sum(data) != data_sum:
        return None
    return number, _joined(data[:SECTOR], data[SECTOR:])
