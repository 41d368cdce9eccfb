"""The decompressors of libwim (wimlib, LGPL), a library of the system that may not be there.

They take whole chunks of known size. A decompressor serves one thread at a time, so a few of each kind wait
here to be used again. API: wimlib.h, "Decompression".
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterable
from ctypes import POINTER, byref, c_int, c_size_t, c_void_p
from enum import IntEnum
from functools import cache
from typing import Any, Final

from imgmount.codecs.pieces import Piece, addresses, blank, inside
from imgmount.core.system_library import first_loadable
from imgmount.errors import FormatError

log = logging.getLogger(__name__)

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
    name = first_loadable(LIBRARIES)
    if name is None:
        return None
    loaded = ctypes.CDLL(name)  # each call lets other threads run
    loaded.wimlib_create_decompressor.argtypes = [c_int, c_size_t, POINTER(c_void_p)]
    loaded.wimlib_decompress.argtypes = [c_void_p, c_size_t, c_void_p, c_size_t, c_void_p]
    loaded.wimlib_free_decompressor.argtypes = [c_void_p]
    loaded.wimlib_free_decompressor.restype = None
    return loaded


@cache
def tell_that_it_is_slow() -> None:
    """Say once what would make decoding faster."""
    log.warning(
        "libwim is not installed, WIM and compressed NTFS files are read slowly: 'apt install libwim15'"
    )


def decompress(kind: Kind, data: bytes, size: int, largest: int) -> bytearray:
    """The ``size`` bytes of one chunk, of those of ``largest`` bytes at most. Raises ``FormatError``."""
    out = blank(size)
    decompress_all(kind, data, out, [(0, len(data), 0, size)], largest)
    return out


def decompress_all(kind: Kind, data: bytes, out: bytearray, pieces: Iterable[Piece], largest: int) -> None:
    """Chunks from ``data`` to ``out``; one that is as long stored as decoded is copied.

    Raises ``FormatError``.
    """
    if not out:
        return
    data = bytes(data)
    idle = _idle.setdefault((kind, largest), [])
    try:
        handle = idle.pop()
    except IndexError:
        handle = _create(kind, largest)
    source, target, _held = addresses(data, out)
    expand = library().wimlib_decompress
    try:
        for start, stored, at, size in inside(kind.name.lower(), pieces, data, out):
            if stored == size:
                ctypes.memmove(target + at, source + start, size)
            elif expand(source + start, stored, target + at, size, handle):
                raise FormatError(kind.name.lower(), f"{stored} bytes do not decode to {size}")
    finally:
        if len(idle) < MAX_IDLE:
            idle.append(handle)
        else:
            library().wimlib_free_decompressor(handle)


def _create(kind: Kind, largest: int) -> c_void_p:
    handle = c_void_p()
    if library().wimlib_create_decompressor(kind, largest, byref(handle)):
        raise FormatError(kind.name.lower(), f"libwim has no decompressor for chunks of {largest} bytes")
    return handle
