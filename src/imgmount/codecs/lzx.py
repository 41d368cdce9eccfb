"""LZX as WIM and the compressed files of NTFS (WOF) have it.

Each chunk stands alone and is as long as the window. libwim decodes it; without it Python does, some hundred
times slower. Source: [MS-PATCH] LZX DELTA 2.3 to 2.7, and what wimlib's documentation says of WIM: lengths
of blocks in 16 or 24 bits, x86 translation always, for a file of 12,000,000 bytes.
"""

from __future__ import annotations

import sys
from array import array
from struct import Struct, error
from typing import Final

from imgmount.codecs import libwim
from imgmount.codecs.huffman import LENGTH_BITS, LENGTH_MASK, Code, code
from imgmount.codecs.match import copy
from imgmount.core.cache import Content
from imgmount.errors import FormatError

MIN_WINDOW: Final = 1 << 15
MAX_WINDOW: Final = 1 << 21
DEFAULT_BLOCK: Final = 1 << 15
LITERALS: Final = 256
LENGTHS: Final = 249  # symbols of the code of long lengths
HEADERS: Final = 8  # lengths that the main code tells: 2 to 8, and more
MIN_MATCH: Final = 2
RECENT: Final = 3  # offsets that are remembered
VERBATIM, ALIGNED, UNCOMPRESSED = 1, 2, 3  # kinds of blocks
_EXTRA: Final = (0, 0, *(min(slot // 2 - 1, 17) for slot in range(2, 50)))  # bits that follow an offset slot
_BASE: Final = tuple(sum(1 << bits for bits in _EXTRA[:slot]) for slot in range(50))
_THREE: Final = Struct("<III")
X86_CALL: Final = 0xE8
X86_FILE: Final = 12_000_000
X86_TAIL: Final = 10  # bytes at the end that are not translated


def decompress(data: bytes, size: int, window: int) -> Content:
    """The ``size`` bytes of one chunk; ``window`` is the size of the longest, 32 KiB to 2 MiB.

    Raises ``FormatError``.
    """
    if size > window or not 0 < window <= MAX_WINDOW:
        raise FormatError(
            "lzx", f"a chunk of {size} bytes in a window of {window}, at most {MAX_WINDOW} are possible"
        )
    window = max(window, MIN_WINDOW)
    if libwim.library() is not None:
        return libwim.decompress(libwim.Kind.LZX, data, size, window)
    libwim.tell_that_it_is_slow()
    return decode(data, size, window)


def decode(data: bytes, size: int, window: int) -> Content:
    """The same in Python. Raises ``FormatError``."""
    try:
        chunk = _Chunk(data, window)
        while len(chunk.out) < size:
            chunk.block(size)
    except (IndexError, error) as exc:
        raise FormatError("lzx", f"the data ends before its {size} bytes are decoded") from exc
    if len(chunk.out) != size:
        raise FormatError("lzx", f"the last match goes on to byte {len(chunk.out)} of {size}")
    _untranslate(chunk.out)
    return chunk.out


class _Chunk:
    """A chunk as far as it is decoded.

    Bits come in little-endian words, highest first; ``at`` is the next bit.
    """

    def __init__(self, data: bytes, window: int) -> None:
        self._data = data
        words = array("H", bytes(data) + bytes(len(data) % 2))
        if sys.byteorder == "big":
            words.byteswap()
        words.extend((0, 0))
        # the 48 bits that begin with each word
        self._views = [a << 32 | b << 16 | c for a, b, c in zip(words, words[1:], words[2:], strict=False)]
        self.at = 0
        self.out = bytearray()
        self._wide = window > 1 << 15
        slots = next(slot for slot in range(50) if slot == 49 or _BASE[slot + 1] >= window) + 1
        self._main = [0] * (LITERALS + HEADERS * slots)
        self._long = [0] * LENGTHS
        self._recent = [1] * RECENT

    def _bits(self, count: int) -> int:
        """The next ``count`` bits, 32 at most."""
        at = self.at
        self.at += count
        return self._views[at >> 4] >> 48 - count - (at & 15) & (1 << count) - 1

    def block(self, size: int) -> None:
        """Decode a block."""
        kind = self._bits(3)
        length = DEFAULT_BLOCK if self._bits(1) else self._bits(24 if self._wide else 16)
        end = len(self.out) + length
        if not VERBATIM <= kind <= UNCOMPRESSED or not length or end > size:
            raise FormatError(
                "lzx", f"a block of kind {kind} with {length} bytes at {len(self.out)} of {size}"
            )
        if kind == UNCOMPRESSED:
            self._stored(length)
            return
        aligned = code([self._bits(3) for _ in range(8)], "lzx") if kind == ALIGNED else None
        self._lengths(self._main, 0, LITERALS)
        self._lengths(self._main, LITERALS, len(self._main))
        self._lengths(self._long, 0, LENGTHS)
        self._coded(end, code(self._main, "lzx"), code(self._long, "lzx"), aligned)
        if len(self.out) != end or self.at > 8 * (len(self._data) + 1):
            raise FormatError("lzx", f"a block ends at {len(self.out)}, not {end}")

    def _stored(self, length: int) -> None:
        """Bytes as they are, from the next word that is not begun."""
        start = ((self.at >> 4) + 1) * 2
        self._recent = list(_THREE.unpack_from(self._data, start))
        start += _THREE.size
        self.out += self._data[start : start + length]
        self.at = 8 * (start + length + length % 2)
        if start + length > len(self._data):
            raise IndexError

    def _lengths(self, lengths: list[int], at: int, end: int) -> None:
        """Code lengths from ``at`` to ``end``: each by how it differs from the one before, or in runs."""
        table, width = code([self._bits(4) for _ in range(20)], "lzx")

        def symbol() -> int:
            entry = table[self._views[self.at >> 4] >> 48 - width - (self.at & 15) & (1 << width) - 1]
            self.at += entry & LENGTH_MASK
            return entry >> LENGTH_BITS

        while at < end:
            step, run = symbol(), 1
            if step == 17:
                run, value = 4 + self._bits(4), 0
            elif step == 18:
                run, value = 20 + self._bits(5), 0
            elif step == 19:
                run = 4 + self._bits(1)
                value = (lengths[at] - symbol()) % 17
            else:
                value = (lengths[at] - step) % 17
            run = min(run, end - at)
            lengths[at : at + run] = [value] * run
            at += run

    def _coded(self, end: int, main: Code, long: Code, aligned: Code | None) -> None:
        """Literals and matches up to ``end``."""
        table, width = main
        views, out, at = self._views, self.out, self.at
        shift, mask = 48 - width, (1 << width) - 1
        while len(out) < end:
            entry = table[views[at >> 4] >> shift - (at & 15) & mask]
            at += entry & LENGTH_MASK
            symbol = entry >> LENGTH_BITS
            if symbol < LITERALS:
                out.append(symbol)
                continue
            slot, length = divmod(symbol - LITERALS, HEADERS)
            if length == HEADERS - 1:
                entry = long.table[views[at >> 4] >> 48 - long.width - (at & 15) & (1 << long.width) - 1]
                at += entry & LENGTH_MASK
                length += entry >> LENGTH_BITS
            self.at = at
            distance = self._distance(slot, aligned)
            at = self.at
            copy(out, distance, length + MIN_MATCH, "lzx")
        self.at = at

    def _distance(self, slot: int, aligned: Code | None) -> int:
        """How far back a match is. A recent one changes places with the most recent."""
        recent = self._recent
        if slot < RECENT:
            recent[0], recent[slot] = recent[slot], recent[0]
            return recent[0]
        extra = _EXTRA[slot]
        if aligned is None or extra < 3:
            distance = _BASE[slot] + self._bits(extra)
        else:
            distance = _BASE[slot] + (self._bits(extra - 3) << 3)
            entry = aligned.table[
                self._views[self.at >> 4] >> 48 - aligned.width - (self.at & 15) & (1 << aligned.width) - 1
            ]
            self.at += entry & LENGTH_MASK
            distance += entry >> LENGTH_BITS
        self._recent = [distance - 2, *recent[:2]]
        return distance - 2


def _untranslate(out: bytearray) -> None:
    """Make the targets of x86 calls relative again."""
    end = len(out) - X86_TAIL
    at = out.find(X86_CALL, 0, max(0, end))
    while at >= 0:
        target = int.from_bytes(out[at + 1 : at + 5], "little", signed=True)
        if 0 <= target < X86_FILE:
            out[at + 1 : at + 5] = (target - at).to_bytes(4, "little", signed=True)
        elif -at <= target < 0:
            out[at + 1 : at + 5] = (target + X86_FILE).to_bytes(4, "little", signed=True)
        at = out.find(X86_CALL, at + 5, end)
