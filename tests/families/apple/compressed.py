"""Writers of compressed files as Apple has them: an attribute and a resource fork for each type."""

from __future__ import annotations

import ctypes
import importlib
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from families.apple.lzbitmap_writer import stream

CHUNK = 0x10000
INLINE = (1, 3, 7, 9, 11, 13)
IN_FORK = (4, 8, 10, 12, 14)
MARKERS = {3: b"\xff", 4: b"\xff", 7: b"\x06", 8: b"\x06", 9: b"\xcc", 10: b"\xcc", 11: b"\xff", 12: b"\xff"}
MARKERS |= {13: b"\xff", 14: b"\xff"}


def lzfse_module() -> Any:
    return importlib.import_module("lzfse")


@cache
def _lzvn() -> Callable[[bytes], bytes]:
    """Apple's own LZVN encoder, which is inside the module and has no name outside."""
    library = ctypes.CDLL(lzfse_module().__file__)
    library.lzvn_encode_buffer.restype = ctypes.c_size_t
    library.lzvn_encode_scratch_size.restype = ctypes.c_size_t

    def encode(data: bytes) -> bytes:
        out = ctypes.create_string_buffer(2 * len(data) + 64)
        scratch = ctypes.create_string_buffer(library.lzvn_encode_scratch_size())
        room, length = ctypes.c_size_t(len(out)), ctypes.c_size_t(len(data))
        size = library.lzvn_encode_buffer(out, room, data, length, scratch)
        return out.raw[:size]

    return encode


def coded(kind: int, data: bytes) -> bytes:
    """One chunk, stored behind its marker where coding would not make it shorter."""
    if kind == 1:
        return data
    stored = MARKERS[kind] + data
    if kind in (3, 4):
        return min(zlib.compress(data), stored, key=len)
    if kind in (7, 8):
        found = _lzvn()(data)
        return found if 0 < len(found) < len(data) else stored
    if kind in (11, 12):
        return min(bytes(lzfse_module().compress(data)), stored, key=len)
    if kind in (13, 14):
        return min(stream(data), stored, key=len)
    return stored


def header(kind: int, size: int) -> bytes:
    return struct.pack("<4sIQ", b"fpmc", kind, size)


def compressed(kind: int, data: bytes) -> tuple[bytes, bytes]:
    """(attribute, resource fork) of a file of ``kind`` that holds ``data``."""
    if kind in INLINE:
        return header(kind, len(data)) + coded(kind, data), b""
    chunks = [coded(kind, data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]
    fork = zlib_fork(chunks) if kind == 4 else offsets_fork(chunks)
    return header(kind, len(data)), fork


def offsets_fork(chunks: list[bytes]) -> bytes:
    place = 4 * (len(chunks) + 1)
    places = [place]
    for chunk in chunks:
        place += len(chunk)
        places.append(place)
    return struct.pack(f"<{len(places)}I", *places) + b"".join(chunks)


def zlib_fork(chunks: list[bytes]) -> bytes:
    """A resource fork with the one resource ``cmpf`` 1."""
    place = 4 + 8 * len(chunks)
    pairs = b""
    for chunk in chunks:
        pairs += struct.pack("<II", place, len(chunk))
        place += len(chunk)
    resource = struct.pack("<I", len(chunks)) + pairs + b"".join(chunks)
    head = struct.pack(">4I", 0x100, 0x104 + len(resource), 4 + len(resource), 50).ljust(0x100, b"\0")
    reference = struct.pack(">hHIHHHI", 1, 0xFFFF, 0, 0, 0, 0, 0)[:12]
    tail = bytes(24) + struct.pack(">HHH4sHH", 28, 50, 0, b"cmpf", 0, 10) + reference
    return head + struct.pack(">I", len(resource)) + resource + tail
