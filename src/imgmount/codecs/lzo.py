"""LZO1X, as any compressor of that family writes it.

PyPI ``lzallright`` (MIT) decodes where it is installed, Python elsewhere.

Source: the kernel's Documentation/staging/lzo.rst, which describes the stream.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from imgmount.codecs.match import copy
from imgmount.errors import FormatError

_fast: Any = None
with suppress(ImportError):
    import lzallright as _fast

_MAX_FAST: Final = 256 << 10  # coded bytes: the library has no limit, and gives at most 255 times as many
_FIRST_LITERALS: Final = 17  # a first byte above this is a count of literals, this much too large
_LONG_LITERALS: Final = 15
_MAX_ZEROS: Final = 1 << 16  # bytes that continue a length: 16 MiB
_FAR: Final = 0x4000
_NEAR: Final = 0x0801  # the distance of a match of three after four literals or more


def decode(data: bytes, size: int) -> bytes:
    """The ``size`` bytes of one stream. Raises ``FormatError``."""
    chunk = decode_upto(data, size)
    if len(chunk) != size:
        raise FormatError("lzo", f"{len(chunk)} bytes, {size} expected")
    return chunk


def decode_upto(data: bytes, limit: int) -> bytes:
    """One stream of at most ``limit`` bytes. Raises ``FormatError``."""
    if _fast is not None and len(data) <= _MAX_FAST:
        try:
            chunk: bytes = _fast.LZOCompressor.decompress(data, limit)
        except _fast.LZOError:  # perhaps only because something follows the end
            return decode_alone(data, limit)
        if len(chunk) <= limit:
            return chunk
        raise FormatError("lzo", f"more than {limit} bytes")
    return decode_alone(data, limit)


def decode_alone(data: bytes, limit: int) -> bytes:
    """What ``decode_upto`` gives, without ``lzallright``."""
    out = bytearray()
    try:
        _decode(data, limit, out)
    except IndexError as exc:
        raise FormatError("lzo", f"the data ends after {len(out)} bytes") from exc
    if len(out) > limit:
        raise FormatError("lzo", f"more than {limit} bytes")
    return bytes(out)


def _decode(data: bytes, limit: int, out: bytearray) -> None:
    at = state = 0  # state: how many literals came last, 4 for more
    if data[0] > _FIRST_LITERALS:
        count = data[0] - _FIRST_LITERALS
        out += data[1 : 1 + count]
        at, state = 1 + count, min(count, 4)
    while len(out) <= limit:
        code = data[at]
        at += 1
        if code < 16 and state == 0:
            count, at = (code + 3, at) if code else _long(data, at, _LONG_LITERALS + 3)
            if at + count > len(data):
                raise IndexError
            out += data[at : at + count]
            at, state = at + count, 4
            continue
        distance, count, at, tail = _match(data, at, code, state)
        if distance == 0:
            return  # the end
        copy(out, distance, count, "lzo")
        state = tail & 3
        if state:
            if at + state > len(data):
                raise IndexError
            out += data[at : at + state]
            at += state


def _match(data: bytes, at: int, code: int, state: int) -> tuple[int, int, int, int]:
    """(distance, length, position after it, byte whose low bits count the literals that follow).

    Distance 0 is the end.
    """
    if code >= 64:
        return 1 + (code >> 2 & 7) + (data[at] << 3), (code >> 5) + 1, at + 1, code
    if code < 16:
        near, count = (_NEAR, 3) if state == 4 else (1, 2)
        return near + (code >> 2) + (data[at] << 2), count, at + 1, code
    mask = 31 if code >= 32 else 7
    count, at = (code & mask, at) if code & mask else _long(data, at, mask)
    distance = (data[at] >> 2) + (data[at + 1] << 6)
    if code >= 32:
        distance += 1
    else:
        distance += (code & 8) << 11
        distance += _FAR if distance else 0
    return distance, count + 2, at + 2, data[at]


def _long(data: bytes, at: int, base: int) -> tuple[int, int]:
    """(length, position after it): each zero byte is 255 more."""
    start = at
    while data[at] == 0:
        at += 1
        if at - start > _MAX_ZEROS:
            raise FormatError("lzo", "a length without end")
    return base + 255 * (at - start) + data[at], at + 1
