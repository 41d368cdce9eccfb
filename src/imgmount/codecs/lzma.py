"""LZMA: raw LZMA1 and LZMA2 with properties kept elsewhere, and whole .xz streams.

Source: the .xz file format, 5.3.1.

Raw LZMA1 data needs no end marker here: decoding stops at the size that the container states.
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from typing import Any, Final

from imgmount.core.header import within
from imgmount.errors import FormatError, UnsupportedError

MEMORY_LIMIT: Final = 256 << 20  # of one decoder; xz -9 takes 65 MiB
_LARGEST_DICTIONARY: Final = 40  # as LZMA2 writes it
_MIN_DICTIONARY: Final = 4096  # liblzma refuses less; some packers state less

Filter = Mapping[str, Any]


def lzma1_filter(properties: bytes) -> Filter:
    """The filter of five LZMA1 property bytes.

    (pb * 5 + lp) * 9 + lc, then the dictionary size, little endian.
    """
    if len(properties) < 5 or properties[0] >= 9 * 5 * 5:
        raise FormatError(
            "lzma", f"properties {properties[:5].hex()}: the first byte is at most 0xe0, four follow"
        )
    rest, lc = divmod(properties[0], 9)
    pb, lp = divmod(rest, 5)
    if lc + lp > 4:
        raise UnsupportedError(f"lzma: lc {lc} with lp {lp}")
    dictionary = max(int.from_bytes(properties[1:5], "little"), _MIN_DICTIONARY)
    return {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": dictionary}


def lzma2_filter(prop: int) -> Filter:
    """The filter of LZMA2's one property byte: the dictionary's size, 2**n or 3 * 2**n (xz 5.3.1)."""
    within("lzma", "dictionary code", prop, 0, _LARGEST_DICTIONARY)
    size = 0xFFFF_FFFF if prop == _LARGEST_DICTIONARY else (2 | prop & 1) << (prop // 2 + 11)
    return {"id": lzma.FILTER_LZMA2, "dict_size": size}


def decode_raw(data: bytes, size: int, *filters: Filter) -> bytes:
    """``size`` bytes from raw LZMA1 or LZMA2 data. Raises ``FormatError``."""
    # a dictionary beyond the data is never looked at, and would be allocated
    largest = max(size, _MIN_DICTIONARY)
    chain = [
        {**one, "dict_size": min(one["dict_size"], largest)} if "dict_size" in one else one for one in filters
    ]
    return _decode(lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain), data, size)


def decode_xz(data: bytes, size: int) -> bytes:
    """``size`` bytes from one .xz stream; checks that it covers are checked. Raises ``FormatError``."""
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT)
    chunk = _decode(stream, data, size, more=1)
    if not stream.eof:
        raise FormatError("lzma", "the stream does not end where it should")
    return chunk


def _decode(stream: lzma.LZMADecompressor, data: bytes, size: int, *, more: int = 0) -> bytes:
    try:
        chunk = stream.decompress(data, size + more)
    except (lzma.LZMAError, EOFError) as exc:
        raise FormatError("lzma", "the compressed data is damaged") from exc
    if len(chunk) != size:
        raise FormatError("lzma", f"{len(chunk)} bytes, {size} expected")
    return chunk
