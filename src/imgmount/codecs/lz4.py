"""LZ4 blocks (lz4_Block_format.md) of known size.

PyPI ``lz4`` decodes where it is installed, Python elsewhere, slower.
"""

from __future__ import annotations

from typing import Final

from imgmount.codecs.match import copy
from imgmount.errors import FormatError

try:
    from lz4 import block as _library
except ImportError:
    _library = None

MIN_MATCH: Final = 4
_LONG: Final = 15  # a length that goes on in the following bytes


def decode(data: bytes, size: int) -> bytes:
    """The ``size`` bytes of one block. Raises ``FormatError``."""
    if _library is not None:
        try:
            chunk: bytes = _library.decompress(data, uncompressed_size=size)
        except _library.LZ4BlockError:
            pass  # it does not forgive padding
        else:
            if len(chunk) == size:
                return chunk
    return _decode(data, size)


def decode_upto(data: bytes, limit: int) -> bytes:
    """One block of at most ``limit`` bytes that ends where ``data`` does. Raises ``FormatError``."""
    if _library is not None:
        try:
            chunk: bytes = _library.decompress(data, uncompressed_size=limit)
        except _library.LZ4BlockError as exc:
            raise FormatError("lz4", "the compressed data is damaged") from exc
        return chunk
    return _decode_upto(data, limit)


def _decode(data: bytes, size: int) -> bytes:
    out, at = _expand(data, size, exact=True)
    if len(out) != size or at > len(data):
        raise FormatError("lz4", f"{len(out)} bytes, {size} expected")
    return bytes(out)


def _decode_upto(data: bytes, limit: int) -> bytes:
    out, at = _expand(data, limit, exact=False)
    if len(out) > limit or at > len(data):
        raise FormatError("lz4", f"more than {limit} bytes, or cut short")
    return bytes(out)


def _expand(data: bytes, limit: int, *, exact: bool) -> tuple[bytearray, int]:
    """(output, input used).

    A block ends with literals: where the data do, or, if ``exact``, where the output is full.
    """
    out = bytearray()
    at = 0
    try:
        while len(out) <= limit:
            token = data[at]
            count, at = _length(data, token >> 4, at + 1)
            out += data[at : at + count]
            at += count
            if at >= len(data) or (exact and len(out) >= limit):
                break
            distance = data[at] | data[at + 1] << 8
            count, at = _length(data, token & 15, at + 2)
            copy(out, distance, count + MIN_MATCH, "lz4")
            if exact and len(out) >= limit:
                break
    except IndexError as exc:
        raise FormatError("lz4", f"the data ends after {len(out)} of {limit} bytes") from exc
    return out, at


def _length(data: bytes, nibble: int, at: int) -> tuple[int, int]:
    if nibble == _LONG:
        while data[at] == 255:
            nibble += 255
            at += 1
        nibble += data[at]
        at += 1
    return nibble, at
