"""How CHD hunks are coded. Source: MAME, src/lib/util/chdcodec.cpp."""

from __future__ import annotations

import lzma
import sys
from collections.abc import Callable
from typing import Any, Final

from imgmount.codecs import cdrom, flac, zstd
from imgmount.codecs.deflate import inflate
from imgmount.codecs.lzma import decode_raw
from imgmount.containers.optical.chd.huffman import decode_bytes
from imgmount.core.cache import Content
from imgmount.errors import FormatError, UnsupportedError

Decode = Callable[[bytes, int], Content]

SECTOR: Final = 2352
SUBCODE: Final = 96
FRAME: Final = SECTOR + SUBCODE
FLAC_BLOCK: Final = 2048  # most samples in a frame of "flac"; "cdfl" allows a sector's worth
# the encoder's level 9
_LZMA: Final = {"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 26}


def _lzma(data: bytes, size: int) -> bytes:
    return decode_raw(data, size, _LZMA)


def _zstd(data: bytes, size: int) -> bytes:
    """One or several frames."""
    library = zstd.library()
    pieces: list[bytes] = []
    left = size
    try:
        while left and data:
            stream: Any = library.ZstdDecompressor()
            piece = stream.decompress(data, left + 1)
            if not stream.eof or len(piece) > left:
                break
            pieces.append(piece)
            left -= len(piece)
            data = stream.unused_data
    except library.ZstdError as exc:
        raise FormatError("zstd", "the frame is damaged") from exc
    if left:
        raise FormatError("zstd", f"the frame holds {size - left} bytes, not {size}")
    return b"".join(pieces)


def _huff(data: bytes, size: int) -> bytes:
    try:
        return decode_bytes(data, size)
    except ValueError as exc:
        raise FormatError("huff", "a code or the table of codes is damaged") from exc


def _block(size: int, largest: int) -> int:
    """Samples in a FLAC frame: what MAME's encoder chose for so many bytes."""
    samples = size // flac.SAMPLE
    while samples > largest:
        samples //= 2
    return samples


def _samples(decoded: flac.Decoded, order: str) -> bytes:
    if order == sys.byteorder:
        return decoded.samples.tobytes()
    swapped = bytearray(decoded.samples.nbytes)
    raw = decoded.samples.cast("B")
    swapped[0::2], swapped[1::2] = raw[1::2], raw[0::2]
    return bytes(swapped)


def _flac(data: bytes, size: int) -> bytes:
    order = {b"L": "little", b"B": "big"}.get(data[:1])
    if order is None:
        raise FormatError("flac", "the first byte is not L or B, the order of the samples")
    return _samples(flac.decode(data[1:], size // flac.SAMPLE, _block(size, FLAC_BLOCK)), order)


def _frames(sectors: Content, subcode: Content) -> bytes:
    """Sectors and subcode interleaved again."""
    pieces = []
    for number in range(len(subcode) // SUBCODE):
        pieces.append(sectors[number * SECTOR : (number + 1) * SECTOR])
        pieces.append(subcode[number * SUBCODE : (number + 1) * SUBCODE])
    return b"".join(pieces)


def _cd_frames(size: int) -> int:
    frames, rest = divmod(size, FRAME)
    if rest:
        raise FormatError(
            "chd", f"a hunk of {size} bytes is not a whole number of CD frames of {SECTOR + SUBCODE} bytes"
        )
    return frames


def _cdfl(data: bytes, size: int) -> bytes:
    frames = _cd_frames(size)
    decoded = flac.decode(data, frames * SECTOR // flac.SAMPLE, _block(frames * SECTOR, SECTOR))
    return _frames(_samples(decoded, "big"), inflate(data[decoded.used :], frames * SUBCODE))


def _cd(sectors: Decode, subcode: Decode) -> Decode:
    def decode(data: bytes, size: int) -> bytes:
        frames = _cd_frames(size)
        flags = -(-frames // 8)
        start = flags + (2 if size < 1 << 16 else 3)
        length = int.from_bytes(data[flags:start], "big")
        if start + length > len(data):
            raise FormatError("chd", f"sectors are coded in {length} bytes, the hunk has {len(data)}")
        base = sectors(data[start : start + length], frames * SECTOR)
        if flagged := [n for n in range(frames) if data[n >> 3] >> (n & 7) & 1]:
            base = _guarded(base, flagged)
        return _frames(base, subcode(data[start + length :], frames * SUBCODE))

    return decode


def _guarded(sectors: Content, numbers: list[int]) -> bytes:
    """Sync and parity put back where the encoder saw that they can be."""
    out = bytearray(sectors)
    bodies = []
    for number in numbers:
        body = bytes(sectors[number * SECTOR + cdrom.HEADER : number * SECTOR + cdrom.PARITY])
        bodies.append(body if body[3] != 2 else bytes(4) + body[4:])
    for number, codes in zip(numbers, cdrom.parity(bodies), strict=True):
        start = number * SECTOR
        out[start : start + cdrom.HEADER] = cdrom.SYNC
        out[start + cdrom.PARITY : start + SECTOR] = codes
    return bytes(out)


CODECS: Final[dict[bytes, Decode]] = {
    b"zlib": inflate,
    b"lzma": _lzma,
    b"huff": _huff,
    b"flac": _flac,
    b"zstd": _zstd,
    b"cdzl": _cd(inflate, inflate),
    b"cdlz": _cd(_lzma, inflate),
    b"cdzs": _cd(_zstd, _zstd),
    b"cdfl": _cdfl,
}


def codec(name: bytes) -> Decode | None:
    """The decoder called ``name``; None for an unused slot. Raises ``UnsupportedError``."""
    if not any(name) or name == b"none":
        return None
    if name == b"avhu":
        raise UnsupportedError("chd: laserdisc video (codec avhu) is not supported")
    if name not in CODECS:
        known = ", ".join(sorted(one.decode("ascii") for one in CODECS))
        raise UnsupportedError(
            f"chd: codec {name.decode('ascii', 'backslashreplace')!r} is not one of {known}"
        )
    return CODECS[name]
