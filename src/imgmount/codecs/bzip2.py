"""bzip2, whole streams of known size."""

from __future__ import annotations

import bz2

from imgmount.errors import FormatError


def decode(data: bytes, size: int) -> bytes:
    """The ``size`` bytes of one bzip2 stream; its checksums are checked. Raises ``FormatError``."""
    stream = bz2.BZ2Decompressor()
    try:
        chunk = stream.decompress(data, size + 1)
    except (OSError, ValueError, EOFError) as exc:
        raise FormatError("bzip2", "the compressed data is damaged") from exc
    if len(chunk) != size or not stream.eof:
        raise FormatError("bzip2", f"{len(chunk)} bytes, {size} expected")
    return chunk
