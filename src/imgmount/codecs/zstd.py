"""Zstandard (RFC 8878), whole frames of known size. Python 3.14 has it; PyPI ``backports.zstd`` before that."""

from __future__ import annotations

import sys
from typing import Any

from imgmount.errors import FormatError, UnsupportedError


def library() -> Any:
    """The module with ``ZstdDecompressor`` and ``ZstdError``. Raises ``UnsupportedError`` where it is not installed."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as exc:
        raise UnsupportedError("zstd: no decoder here: pip install imgmount[zstd]") from exc
    return zstd


def decode(data: bytes, size: int) -> bytes:
    """The ``size`` bytes of one frame; its checksum, if it has one, is checked. Raises ``FormatError``."""
    chunk = decode_upto(data, size)
    if len(chunk) != size:
        raise FormatError("zstd", f"{len(chunk)} bytes, {size} expected")
    return chunk


def decode_upto(data: bytes, limit: int) -> bytes:
    """What one frame holds, ``limit`` bytes at most. Raises ``FormatError``."""
    zstd = library()
    try:
        told = zstd.get_frame_info(data).decompressed_size
        if told is not None and told <= limit and zstd.get_frame_size(data) == len(data):  # a sixth faster than a stream
            chunk: bytes = zstd.decompress(data)
            return chunk
        stream = zstd.ZstdDecompressor()  # one per call: it keeps a position
        chunk = stream.decompress(data, limit + 1)
    except zstd.ZstdError as exc:
        raise FormatError("zstd", str(exc)) from exc
    if len(chunk) > limit or not stream.eof:
        raise FormatError("zstd", f"more than {limit} bytes, or cut short")
    return chunk
