"""A run of coded units: where each lies among the coded bytes, and where among the decoded ones.

A codec that has ``..._all(data, out, pieces)`` decodes them straight to their places: one buffer for the run,
nothing to join.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from imgmount.core.cache import Content
from imgmount.errors import FormatError

_new: Final = ctypes.pythonapi.PyByteArray_FromStringAndSize
_new.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]
_new.restype = ctypes.py_object


# (start, stored, at, size): ``stored`` bytes at ``start`` decode to ``size`` bytes at ``at``
Piece = tuple[int, int, int, int]
DecodeAll = Callable[[bytes, bytearray, Iterable[Piece]], None]


def blank(size: int) -> bytearray:
    """``size`` bytes for a decoder to fill. Until then they are anything: clearing them takes time."""
    out: bytearray = _new(None, size)
    return out


def addresses(data: bytes, out: bytearray) -> tuple[int, int, Any]:
    """Where the bytes of ``data``, and of ``out``, which is not empty, are in memory.

    ``out`` stays there as long as the third value lives.
    """
    held = ctypes.c_char.from_buffer(out)
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0, ctypes.addressof(held), held


@contextmanager
def borrowed(idle: list[Any], create: Callable[[], Any]) -> Iterator[Any]:
    """One of the decoders that are ``idle``, or a new one: it serves one thread at a time."""
    try:
        decoder = idle.pop()
    except IndexError:
        decoder = create()
        if not decoder:
            raise MemoryError from None
    try:
        yield decoder
    finally:
        idle.append(decoder)


def inside(fmt: str, pieces: Iterable[Piece], data: bytes, out: bytearray) -> Iterator[Piece]:
    """``pieces``, as long as they lie in ``data`` and ``out``.

    Raises ``FormatError`` in the name of ``fmt``.
    """
    coded, whole = len(data), len(out)
    for piece in pieces:
        start, stored, at, size = piece
        if start < 0 or stored < 0 or at < 0 or start + stored > coded or not 0 < size <= whole - at:
            raise FormatError(fmt, f"a chunk at {start}+{stored} of {coded} bytes")
        yield piece


def decode_each(
    decode: Callable[[bytes, int], Content], data: bytes, out: bytearray, pieces: Iterable[Piece]
) -> None:
    """The same with a codec that makes a buffer of its own for each unit."""
    for start, stored, at, size in pieces:
        out[at : at + size] = decode(data[start : start + stored], size)
