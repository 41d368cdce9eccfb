"""Apple Data Compression: literal runs, and copies of what came before. Runs of UDCO and of NDIF images.

A code of 1xxxxxxx is followed by x + 1 literal bytes; 00LLLLDD and a byte copy L + 3 bytes from D + 1 (10
bits) before; 01LLLLLL and two bytes copy L + 4 bytes from D + 1 (16 bits) before. What a copy makes may be
its own source. Apple published no specification; source: the documentation of libmodi and of ClassicMac.
"""

from __future__ import annotations

from imgmount.errors import FormatError


def decode(data: bytes, size: int) -> bytearray:
    """The ``size`` bytes that ``data`` stands for; input behind them is ignored. Raises ``FormatError``."""
    out = decode_head(data, size)
    if len(out) != size:
        raise FormatError("adc", f"the data decodes to {len(out)} bytes or more, not {size}")
    return out


def decode_head(data: bytes, least: int) -> bytearray:
    """The first ``least`` bytes that ``data`` stands for, and the rest of a run. Raises ``FormatError``."""
    out = bytearray()
    at, filled, stop = 0, 0, len(data)
    while filled < least:
        if at + 3 > stop and (at >= stop or at + _length(data[at]) > stop):
            raise FormatError("adc", f"the data ends after {filled} bytes of {least}")
        code = data[at]
        if code & 0x80:
            count = (code & 0x7F) + 1
            out += data[at + 1 : at + 1 + count]
            at += 1 + count
            filled += count
            if at > stop:
                raise FormatError("adc", f"a run of literals is cut after {len(out)} bytes")
            continue
        if code & 0x40:
            count, distance = (code & 0x3F) + 4, (data[at + 1] << 8 | data[at + 2]) + 1
            at += 3
        else:
            count, distance = (code >> 2) + 3, ((code & 3) << 8 | data[at + 1]) + 1
            at += 2
        start = filled - distance
        if start < 0:
            raise FormatError("adc", f"a copy from {distance} bytes before, after {filled}")
        if distance >= count:
            out += out[start : start + count]
        else:
            out += (out[start:] * (count // distance + 1))[:count]
        filled += count
    return out


def _length(code: int) -> int:
    """Bytes of a code, without the literals."""
    return 1 if code & 0x80 else 3 if code & 0x40 else 2
