"""Matches of the LZ77 family: bytes that repeat earlier ones."""

from __future__ import annotations

from imgmount.errors import FormatError


def copy(out: bytearray, distance: int, count: int, fmt: str) -> None:
    """Append ``count`` bytes from ``distance`` before the end; they may overlap what is appended.

    Raises ``FormatError``.
    """
    start = len(out) - distance
    if start < 0 or distance <= 0:
        raise FormatError(fmt, f"a match {distance} bytes back, {len(out)} are there")
    if distance >= count:
        out += out[start : start + count]
    else:
        out += (bytes(out[start:]) * (count // distance + 1))[:count]
