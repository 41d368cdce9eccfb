"""The codes that guard a CD sector: EDC, and P and Q parity (ECMA-130, 14.3 to 14.6 and annex A)."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

_fast_edc: Callable[[bytes, int], int] | None
try:
    from fastcrc.crc32 import cd_rom_edc as _fast_edc
except ImportError:
    _fast_edc = None

SYNC: Final = b"\x00" + b"\xff" * 10 + b"\x00"
HEADER: Final = 12  # offset of address and mode
MODE: Final = 15  # offset of the mode byte
PARITY: Final = 2076  # offset of P in a sector of 2352 bytes
GUARDED: Final = PARITY - HEADER  # bytes that P covers: address, mode, data, EDC
P_WIDTH: Final = 86  # code words side by side, of 24 bytes each
Q_WIDTH: Final = 52  # code words, of 43 bytes each, along diagonals
Q_LENGTH: Final = 43

_FIELD: Final = 0x11D  # x^8 + x^4 + x^3 + x^2 + 1


def _thirds() -> bytes:
    """Division by 3 in GF(256)."""
    table = bytearray(256)
    for value in range(256):
        double = value << 1 ^ (_FIELD if value & 0x80 else 0)
        table[value ^ double] = value
    return bytes(table)


_THIRD: Final = _thirds()


class _Lanes:
    """Arithmetic on so many bytes at once, each in its lane of one integer."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.ones = int.from_bytes(b"\x01" * count, "little")
        self.low = 0x7F * self.ones

    def double(self, value: int) -> int:
        """Every lane times 2 in GF(256)."""
        return (value & self.low) << 1 ^ (value >> 7 & self.ones) * (_FIELD & 0xFF)

    def solve(self, weighted: int, plain: int) -> tuple[bytes, bytes]:
        """The two parity rows that make both sums of a code word zero."""
        first = (self.double(weighted) ^ plain).to_bytes(self.count, "little").translate(_THIRD)
        second = int.from_bytes(first, "little") ^ plain
        return first, second.to_bytes(self.count, "little")


def parity(sectors: Sequence[bytes]) -> list[bytes]:
    """The 276 bytes of P and Q for each of ``sectors``.

    Bytes 12 to 2075 of a sector, the first four zero in mode 2.
    """
    count = len(sectors)
    first, second = _p_rows(b"".join(sectors), count)
    whole = []
    for index, sector in enumerate(sectors):
        row = slice(index * P_WIDTH, (index + 1) * P_WIDTH)
        whole.append(sector + first[row] + second[row])
    third, fourth = _q_rows(b"".join(whole), count)
    rows = [slice(index * Q_WIDTH, (index + 1) * Q_WIDTH) for index in range(count)]
    return [body[GUARDED:] + third[row] + fourth[row] for body, row in zip(whole, rows, strict=True)]


def _p_rows(data: bytes, count: int) -> tuple[bytes, bytes]:
    lanes = _Lanes(P_WIDTH * count)
    weighted = plain = 0
    for start in range(0, GUARDED, P_WIDTH):
        row = b"".join([data[at : at + P_WIDTH] for at in range(start, count * GUARDED, GUARDED)])
        value = int.from_bytes(row, "little")
        weighted = lanes.double(weighted ^ value)
        plain ^= value
    return lanes.solve(weighted, plain)


def _q_rows(data: bytes, count: int) -> tuple[bytes, bytes]:
    """Sector words form 26 rows of 43; code word n takes column j from row n + j.

    The sums turn by a row between columns.
    """
    lanes = _Lanes(Q_WIDTH * count)
    words = array("H", data)
    row_bits, turn_bits = 16, 8 * (Q_WIDTH - 2)
    carry = int.from_bytes((b"\xff\xff" + bytes(Q_WIDTH - 2)) * count, "little")
    keep = int.from_bytes((b"\0\0" + b"\xff" * (Q_WIDTH - 2)) * count, "little")
    weighted = plain = 0
    for column in range(Q_LENGTH):
        value = int.from_bytes(words[column::Q_LENGTH].tobytes(), "little")
        if column:
            weighted = weighted << row_bits & keep | weighted >> turn_bits & carry
            plain = plain << row_bits & keep | plain >> turn_bits & carry
        weighted = lanes.double(weighted ^ value)
        plain ^= value
    back = (Q_LENGTH - 1) % (Q_WIDTH // 2) * 2  # the sums stand so many bytes further than their code words
    first, second = lanes.solve(weighted, plain)
    return _turned(first, back), _turned(second, back)


def _turned(data: bytes, by: int) -> bytes:
    return b"".join(
        [data[at + by : at + Q_WIDTH] + data[at : at + by] for at in range(0, len(data), Q_WIDTH)]
    )


# EDC is a CRC of 32 bits with the polynomial P = (x + 1)(x^15 + x + 1)(x^16 + x^2 + x + 1). Sparse factors
# make a remainder cheap on long integers, because squaring keeps them sparse: modulo x^15 + x + 1 also x^15K
# = x^K + 1 for every power K of two.
_C: Final = (15, (1, 0))
_B: Final = (16, (2, 1, 0))
_EVEN: Final = 0x5555_5555
_REVERSED: Final = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def _remainder(value: int, degree: int, taps: tuple[int, ...]) -> int:
    """``value``, as a polynomial over GF(2), modulo x^degree + the sum of x^tap."""
    scale = 1 << max(0, value.bit_length() // degree).bit_length()
    while scale:
        width = degree * scale
        while high := value >> width:
            value &= (1 << width) - 1
            for tap in taps:
                value ^= high << tap * scale
        scale >>= 1
    return value


def _residues(value: int, even: int) -> int:
    """The remainders of ``value`` that determine it modulo P.

    They are those by the two sparse factors, and one bit of that by (x + 1)^2.
    """
    return _remainder(value, *_C) | _remainder(value, *_B) << 15 | ((value & even).bit_count() & 1) << 31


@cache
def _tables() -> list[list[int]]:
    """What each byte of ``_residues`` contributes to the CRC, in the order of bits that EDC stores."""
    rows = [(_residues(1 << bit, _EVEN), int(f"{1 << bit:032b}"[::-1], 2)) for bit in range(32)]
    for bit in range(32):  # Gauss and Jordan
        pivot = next(index for index, (left, _) in enumerate(rows) if left >> bit & 1 and index >= bit)
        rows[bit], rows[pivot] = rows[pivot], rows[bit]
        left, right = rows[bit]
        rows = [
            (other ^ left, result ^ right) if other >> bit & 1 and index != bit else (other, result)
            for index, (other, result) in enumerate(rows)
        ]
    solved = [right for _, right in rows]
    tables = []
    for byte in range(0, 32, 8):
        table = [0] * 256
        for value in range(1, 256):
            low = value & -value
            table[value] = table[value ^ low] ^ solved[byte + low.bit_length() - 1]
        tables.append(table)
    return tables


@cache
def _even_mask(size: int) -> int:
    return int.from_bytes(b"\x55" * size, "big")


def edc_alone(data: bytes, start: int = 0) -> int:
    """What ``edc`` gives, without ``fastcrc``."""
    value = int.from_bytes(data.translate(_REVERSED), "big") << 32
    if start:
        first = int.from_bytes(start.to_bytes(4, "little").translate(_REVERSED), "big")
        value ^= first << 8 * len(data)
    residues = _residues(value, _even_mask(len(data) + 4))
    first_table, second, third, fourth = _tables()
    return (
        first_table[residues & 255]
        ^ second[residues >> 8 & 255]
        ^ third[residues >> 16 & 255]
        ^ fourth[residues >> 24]
    )


def edc(data: bytes, start: int = 0) -> int:
    """The EDC of ``data``, stored little endian; ``start`` is the EDC of what came before."""
    return edc_alone(data, start) if _fast_edc is None else _fast_edc(data, start)
