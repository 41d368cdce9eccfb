"""Snappy blocks (google/snappy, format_description.txt) of known size.

By PyPI ``cramjam`` where it is installed, else in Python, slower.
"""

from __future__ import annotations

from typing import Any, Final

from imgmount.codecs.match import copy
from imgmount.errors import FormatError

_library: Any
try:
    import cramjam as _library
except ImportError:
    _library = None

_LONG: Final = 60  # literal lengths from here on are in the following bytes


def decode(data: bytes, size: int) -> bytes:
    """The ``size`` bytes of one block. Raises ``FormatError``."""
    stated, at = _varint(data)
    if stated != size:
        raise FormatError("snappy", f"{stated} bytes, {size} expected")
    if _library is not None:
        try:
            return bytes(_library.snappy.decompress_raw(data))
        except _library.DecompressionError as exc:
            raise FormatError("snappy", "the compressed data is damaged") from exc
    return _decode(data, at, size)


def _varint(data: bytes) -> tuple[int, int]:
    """The value that ``data`` begins with, and where it ends."""
    value = 0
    for at, byte in enumerate(data[:5]):
        value |= (byte & 127) << (7 * at)
        if byte < 128:
            return value, at + 1
    raise FormatError("snappy", "no length")


def _decode(data: bytes, at: int, size: int) -> bytes:
    out = bytearray()
    while at < len(data) and len(out) <= size:
        tag = data[at]
        at += 1
        kind, count = tag & 3, tag >> 2
        if kind == 0:
            if count >= _LONG:
                width = count - _LONG + 1
                count = int.from_bytes(data[at : at + width], "little")
                at += width
            out += data[at : at + count + 1]
            at += count + 1
            continue
        width = (0, 1, 2, 4)[kind]
        distance = int.from_bytes(data[at : at + width], "little")
        at += width
        if kind == 1:
            distance |= tag >> 5 << 8
            count = (count & 7) + 3
        copy(out, distance, count + 1, "snappy")
    if len(out) != size or at > len(data):
        raise FormatError("snappy", f"{len(out)} bytes, {size} expected")
    return bytes(out)
