"""The system's libzstd, where there is one, and the standard library's ``ZstdDecompressor`` made of it.

API: zstd.h. Debian has no package of ``backports.zstd``, but libzstd on every machine.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, addressof, byref, c_char_p, c_size_t, c_void_p
from functools import cache
from typing import Any, Final

from imgmount.core.system_library import first_loadable

SYSTEM: Final = ("libzstd.so.1", "libzstd.1.dylib")
PIECE: Final = 128 << 10  # decoded at a time
NO_MEMORY: Final = 64  # ZSTD_error_memory_allocation
TOO_SMALL: Final = 70  # ZSTD_error_dstSize_tooSmall


class ZstdError(Exception):
    """The data is damaged."""


class _Buffer(ctypes.Structure):
    """``ZSTD_inBuffer`` or ``ZSTD_outBuffer``."""

    _fields_ = (("place", c_void_p), ("size", c_size_t), ("position", c_size_t))


@cache
def load() -> Any:
    """libzstd, None where the system has none."""
    name = first_loadable(SYSTEM)
    if name is None:
        return None
    found = ctypes.CDLL(name)
    found.ZSTD_createDCtx.restype = c_void_p
    found.ZSTD_freeDCtx.argtypes = [c_void_p]
    found.ZSTD_findFrameCompressedSize.argtypes = [c_void_p, c_size_t]
    found.ZSTD_findFrameCompressedSize.restype = c_size_t
    found.ZSTD_decompressDCtx.argtypes = [c_void_p, c_void_p, c_size_t, c_void_p, c_size_t]
    found.ZSTD_decompressDCtx.restype = c_size_t
    found.ZSTD_decompressStream.argtypes = [c_void_p, POINTER(_Buffer), POINTER(_Buffer)]
    found.ZSTD_decompressStream.restype = c_size_t
    found.ZSTD_isError.argtypes = [c_size_t]
    return found


def error_code(result: int) -> int:
    """Which ``ZSTD_ErrorCode`` a result is that ``ZSTD_isError`` says is one."""
    return (1 << 8 * ctypes.sizeof(c_size_t)) - result


class ZstdDecompressor:
    """Decodes one frame, piece by piece; made and used like the class of the standard library."""

    def __init__(self) -> None:
        self._library = load()
        self._context = self._library.ZSTD_createDCtx()
        if not self._context:
            raise MemoryError
        self._waiting = b""  # given, not yet decoded
        self.eof = False
        self.needs_input = True
        self.unused_data = b""

    def __del__(self) -> None:
        self._library.ZSTD_freeDCtx(self._context)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """What follows from ``data``, at most ``max_length`` bytes. Raises ``ZstdError``, ``EOFError``."""
        if self.eof:
            raise EOFError("the frame has ended already")
        data = self._waiting + data
        source = _Buffer(ctypes.cast(c_char_p(data), c_void_p), len(data), 0)
        decoded = bytearray()
        full = True
        while full and not self.eof and (max_length < 0 or len(decoded) < max_length):
            piece = PIECE if max_length < 0 else min(PIECE, max_length - len(decoded))
            full = self._step(source, decoded, piece)
        rest = data[source.position :]
        self._waiting, self.unused_data = (b"", rest) if self.eof else (rest, b"")
        self.needs_input = not full and not self.eof
        return bytes(decoded)

    def _step(self, source: _Buffer, decoded: bytearray, size: int) -> bool:
        """Decode up to ``size`` bytes; whether there were so many."""
        place = ctypes.create_string_buffer(size)
        target = _Buffer(addressof(place), size, 0)
        left = self._library.ZSTD_decompressStream(self._context, byref(target), byref(source))
        if self._library.ZSTD_isError(left):
            raise MemoryError if error_code(left) == NO_MEMORY else ZstdError(f"error {error_code(left)}")
        decoded += memoryview(place)[: target.position]
        self.eof = left == 0
        return bool(target.position == size)
