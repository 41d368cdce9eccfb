"""The decompressors of libwim (wimlib, LGPL), a library of the system that may not be there. Whole chunks of known size.

A decompressor serves one thread at a time, so a few of each kind wait here to be used again. API: wimlib.h, "Decompression".
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from enum import IntEnum
from functools import cache
from typing import Any, Final

from imgmount.core.clib import first_present
from imgmount.errors import FormatError

LIBRARIES: Final = ("libwim.so.15", "libwim.15.dylib", "libwim-15.dll")
MAX_IDLE: Final = 8  # decompressors of one kind and size that wait


class Kind(IntEnum):
    """What a decompressor decodes, in the numbers of the library and of WIM's solid resources."""

    XPRESS = 1
    LZX = 2
    LZMS = 3


_idle: dict[tuple[Kind, int], list[c_void_p]] = {}


@cache
def library() -> Any:
    """The library, or None where it is not installed."""
    name = first_present(LIBRARIES)
    if name is None:
        return None
    loaded = ctypes.CDLL(name)  # each call lets other threads run
    loaded.wimlib_create_decompressor.argtypes = [c_int, c_size_t, POINTER(c_void_p)]
    loaded.wimlib_decompress.argtypes = [c_char_p, c_size_t, c_void_p, c_size_t, c_void_p]
    loaded.wimlib_free_decompressor.argtypes = [c_void_p]
    loaded.wimlib_free_decompressor.restype = None
    return loaded


def decompress(kind: Kind, data: bytes, size: int, largest: int) -> bytearray:
    """The ``size`` bytes of one chunk, of those of ``largest`` bytes at most. Raises ``FormatError``."""
    out = bytearray(size)
    decompress_into(kind, data, memoryview(out), largest)
    return out


def decompress_into(kind: Kind, data: bytes, place: memoryview, largest: int) -> None:
    """The same into ``place``, which it fills. Raises ``FormatError``."""
    size = len(place)
    if not size:
        return
    idle = _idle.setdefault((kind, largest), [])
    try:
        handle = idle.pop()
    except IndexError:
        handle = _create(kind, largest)
    first = ctypes.c_char.from_buffer(place)
    failed = library().wimlib_decompress(bytes(data), len(data), ctypes.addressof(first), size, handle)
    if len(idle) < MAX_IDLE:
        idle.append(handle)
    else:
        library().wimlib_free_decompressor(handle)
    if failed:
        raise FormatError(kind.name.lower(), f"{len(data)} bytes do not decode to {size}")


def _create(kind: Kind, largest: int) -> c_void_p:
    handle = c_void_p()
    if library().wimlib_create_decompressor(kind, largest, byref(handle)):
        raise FormatError(kind.name.lower(), f"libwim has no decompressor for chunks of {largest} bytes")
    return handle
