"""Deflate (RFC 1951), bare or in a zlib (RFC 1950) or gzip (RFC 1952) wrapper: whole chunks of bounded size.

libdeflate does it where PyPI ``deflate`` is installed, or, for chunks of known size, where the system has it:
about twice as fast as zlib.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable, Iterable
from ctypes import c_size_t, c_void_p
from functools import cache, partial
from importlib.util import find_spec
from itertools import compress, repeat
from typing import Any, Final, Literal

from imgmount.codecs.pieces import Piece, addresses, blank, borrowed, decode_each, inside
from imgmount.core.cache import Content
from imgmount.core.system_library import first_loadable
from imgmount.errors import FormatError

SYSTEM: Final = ("libdeflate.so.0", "libdeflate.0.dylib")
Wrapper = Literal["raw", "zlib", "gzip"]
_WBITS: Final[dict[Wrapper, int]] = {"raw": -15, "zlib": 15, "gzip": 31}

_Decode = Callable[[bytes, int], bytearray]
_idle: Final[list[Any]] = []  # decompressors, as many as ever worked at once
_LIBDEFLATE: dict[Wrapper, _Decode] = {}
adler32: Callable[[bytes | memoryview], int] = zlib.adler32  # four times as fast in libdeflate
try:
    import deflate
except ImportError:
    pass
else:
    adler32 = deflate.adler32
    _LIBDEFLATE = {
        "raw": deflate.deflate_decompress,
        "zlib": deflate.zlib_decompress,
        "gzip": deflate.gzip_decompress,
    }


def inflate(data: bytes, size: int, *, wrapper: Wrapper = "raw") -> Content:
    """The ``size`` bytes that one complete deflate stream holds; a wrapper's checksum is checked.

    Raises ``FormatError``.
    """
    if not size:  # libdeflate decodes nothing and calls that right
        return _exactly(_upto_zlib(data, size, wrapper), size)
    if not _LIBDEFLATE and wrapper != "gzip" and _libdeflate() is not None:
        out = blank(size)
        inflate_all(bytes(data), out, [(0, len(data), 0, size)], wrapper=wrapper)
        return out
    chunk = inflate_upto(data, size, wrapper=wrapper)
    return chunk if len(chunk) == size else _exactly(chunk, size)


def inflate_upto(data: bytes, limit: int, *, wrapper: Wrapper = "raw") -> Content:
    """What one complete deflate stream holds, ``limit`` bytes at most (not 0). Raises ``FormatError``."""
    if not _LIBDEFLATE:
        return _upto_zlib(data, limit, wrapper)
    try:
        return _LIBDEFLATE[wrapper](data, limit)
    except deflate.DeflateError as exc:
        raise FormatError("deflate", f"{len(data)} bytes do not decode to {limit}, or fewer") from exc


def inflate_all(
    data: bytes, out: bytearray, pieces: Iterable[Piece], *, wrapper: Literal["raw", "zlib"] = "raw"
) -> None:
    """A complete stream for each of ``pieces``, from ``data`` to ``out``. Raises ``FormatError``."""
    library = _libdeflate()
    if library is None:
        decode_each(partial(inflate, wrapper=wrapper), data, out, pieces)
        return
    decompress = (
        library.libdeflate_zlib_decompress if wrapper == "zlib" else library.libdeflate_deflate_decompress
    )
    checked = list(inside("deflate", pieces, data, out))
    if not checked:
        return
    starts, stored, places, sizes = zip(*checked, strict=True)
    source, target, _held = addresses(data, out)
    coded, decoded = map(source.__add__, starts), map(target.__add__, places)
    with borrowed(_idle, library.libdeflate_alloc_decompressor) as decompressor:
        # no step of Python between two calls: another thread that decodes would have it wait
        codes = map(decompress, repeat(decompressor), coded, stored, decoded, sizes, repeat(None))
        for _, length, _, size in compress(checked, codes):
            raise FormatError("deflate", f"{length} bytes do not decode to {size}")


@cache
def _libdeflate() -> Any:
    """The libdeflate inside of PyPI ``deflate``, or the system's, or None. It decodes to any place."""
    spec = find_spec("deflate._deflate") if _LIBDEFLATE else None
    name = spec.origin if spec is not None else first_loadable(SYSTEM)
    if name is None:
        return None
    library = ctypes.CDLL(name)  # each call lets other threads run
    try:
        library.libdeflate_alloc_decompressor.restype = c_void_p
        for function in (library.libdeflate_deflate_decompress, library.libdeflate_zlib_decompress):
            function.argtypes = [c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p]
    except AttributeError:
        return None
    return library


def _upto_zlib(data: bytes, limit: int, wrapper: Wrapper) -> bytes:
    stream = zlib.decompressobj(_WBITS[wrapper])
    try:
        # a limit of 0 would mean no limit, and the end of the stream follows the last byte
        chunk = stream.decompress(data, limit + 1)
    except zlib.error as exc:
        raise FormatError("deflate", "the compressed data is damaged") from exc
    if len(chunk) > limit:
        raise FormatError("deflate", f"{len(chunk)} bytes or more, {limit} expected")
    if not stream.eof:
        raise FormatError("deflate", f"the data ends after {len(chunk)} of {limit} bytes")
    return chunk


def _exactly(chunk: Content, size: int) -> Content:
    if len(chunk) != size:
        raise FormatError("deflate", f"{len(chunk)} bytes or more, {size} expected")
    return chunk
