"""The compression of DMS, the Disk Masher System.

It has run lengths, and LZ77 with fixed, adaptive and static Huffman codes.

All decoders share one window, which a track may inherit from the one before it; so tracks are decoded in
order. Source: the behaviour of xDMS 1.3 by Andre R. de la Rocha (public domain); the adaptive code is that of
LZHUF by H. Yoshizaki.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from imgmount.codecs.bits import BitReader
from imgmount.codecs.huffman import LENGTH_BITS, LENGTH_MASK, Code, code
from imgmount.codecs.lzhuf import D_CODE, D_LEN, AdaptiveTree
from imgmount.core.header import within
from imgmount.errors import FormatError

NONE, SIMPLE, QUICK, MEDIUM, DEEP, HEAVY1, HEAVY2 = range(7)
KEEP: Final = 1  # flags of a track: the next one inherits the state
NEW_TREES: Final = 2  # HEAVY: trees come first
THEN_RLE: Final = 4  # HEAVY: run lengths inside

_ESCAPE: Final = 0x90
_LONG_RUN: Final = 0xFF
_WINDOW: Final = 0x4000
_BYTES: Final = 256  # symbols that stand for themselves; the others are lengths, from
_SHORTEST: Final = 3
_LONGEST_WORD: Final = 16  # bits of a code
_TAIL: Final = 8  # bytes behind the data: codes are looked up before it is known how short they are


def _wrong(reason: str) -> FormatError:
    return FormatError("dms", reason)


class _Bits(BitReader):
    """Bits of a track. Raises ``FormatError`` well past the end."""

    __slots__ = ()

    def _refill(self) -> None:
        if self._at >= len(self._data) + _TAIL:
            raise _wrong("the data ends too early")
        super()._refill()


class DmsDecoder:
    """The decoders and what they remember from track to track."""

    def __init__(self) -> None:
        self._last = 0  # distance, of HEAVY
        self._symbols: Code | None = None
        self._distances: Code | None = None
        self._reset()

    def _reset(self) -> None:
        self._window = bytearray(_WINDOW)
        self._quick, self._medium, self._deep, self._heavy = 251, 0x3FBE, 0x3FC4, 0
        self._tree: AdaptiveTree | None = None

    def track(self, data: bytes, mode: int, flags: int, middle: int, size: int) -> bytes:
        """A track of ``size`` bytes, ``middle`` of them before run lengths. Raises ``FormatError``."""
        try:
            return self._track(data, mode, flags, middle, size)
        finally:
            if not flags & KEEP:
                self._reset()

    def _track(self, data: bytes, mode: int, flags: int, middle: int, size: int) -> bytes:
        if mode == NONE:
            if len(data) < size:
                raise _wrong("the data ends too early")
            return data[:size]
        if mode == SIMPLE:
            return unpack_runs(data, size)
        decode: dict[int, Callable[[_Bits, int], bytes]] = {
            QUICK: self._unquick,
            MEDIUM: self._unmedium,
            DEEP: self._undeep,
        }
        if mode in decode:
            return unpack_runs(decode[mode](_Bits(data), middle), size)
        if mode not in (HEAVY1, HEAVY2):
            raise _wrong(f"compression {mode}")
        found = self._unheavy(_Bits(data), middle if flags & THEN_RLE else size, flags, large=mode == HEAVY2)
        return unpack_runs(found, size) if flags & THEN_RLE else found

    def _unquick(self, bits: _Bits, size: int) -> bytes:
        window, mask = self._window, 0xFF

        def step(at: int) -> int:
            if bits.take(1):
                window[at & mask] = bits.take(8)
                return 1
            length = bits.take(2) + 2
            return _repeat(window, mask, at, bits.take(8) + 1, length)

        found, at = _collect(window, mask, self._quick, size, step)
        self._quick = (at + 5) & mask
        return found

    def _unmedium(self, bits: _Bits, size: int) -> bytes:
        window, mask = self._window, _WINDOW - 1

        def step(at: int) -> int:
            if bits.take(1):
                window[at & mask] = bits.take(8)
                return 1
            code = bits.take(8)
            length = D_CODE[code] + _SHORTEST
            more = D_LEN[code]
            return _repeat(window, mask, at, _distance(bits, (code << more | bits.take(more)) & 0xFF), length)

        found, at = _collect(window, mask, self._medium, size, step)
        self._medium = (at + 66) & mask
        return found

    def _undeep(self, bits: _Bits, size: int) -> bytes:
        window, mask = self._window, _WINDOW - 1
        tree = self._tree = self._tree or AdaptiveTree()

        def step(at: int) -> int:
            symbol = tree.decode(bits)
            if symbol < _BYTES:
                window[at & mask] = symbol
                return 1
            return _repeat(window, mask, at, _distance(bits, bits.take(8)), symbol - _BYTES + _SHORTEST)

        found, at = _collect(window, mask, self._deep, size, step)
        self._deep = (at + 60) & mask
        return found

    def _unheavy(self, bits: _Bits, size: int, flags: int, *, large: bool) -> bytes:
        window, mask = self._window, 0x1FFF if large else 0x0FFF
        same = 14 if large else 13  # the last distance symbol: the distance before
        if flags & NEW_TREES:
            self._symbols = _read_code(bits, 9, 5)
            self._distances = _read_code(bits, 5, 4)
        symbols, distances = self._symbols, self._distances
        if symbols is None or distances is None:
            raise _wrong("no trees")

        def step(at: int) -> int:
            symbol = _next(bits, symbols)
            if symbol < _BYTES:
                window[at & mask] = symbol
                return 1
            width = _next(bits, distances)
            if width != same:
                self._last = bits.take(width - 1) | 1 << (width - 1) if width else 0
            return _repeat(window, mask, at, self._last + 1, symbol - _BYTES + _SHORTEST)

        found, self._heavy = _collect(window, mask, self._heavy, size, step)
        return found


def _read_code(bits: _Bits, count_bits: int, length_bits: int) -> Code:
    """A code in front of its words; without symbols it is that of one, whose word has no bits."""
    count = bits.take(count_bits)
    lengths = [bits.take(length_bits) for _ in range(count)]
    if not any(lengths):
        return Code([(0 if count else bits.take(count_bits)) << LENGTH_BITS], 0)
    within("dms", "length of a code word", max(lengths), 1, _LONGEST_WORD)
    return code(lengths, "dms")


def _next(bits: _Bits, code: Code) -> int:
    """The symbol that comes next."""
    entry = code.table[bits.peek(code.width)]
    bits.drop(entry & LENGTH_MASK)
    return entry >> LENGTH_BITS


def _distance(bits: _Bits, code: int) -> int:
    """A distance of 14 bits, of which ``code`` is the first byte."""
    more = D_LEN[code]
    return (D_CODE[code] << 8 | (code << more | bits.take(more)) & 0xFF) + 1


def _repeat(window: bytearray, mask: int, at: int, distance: int, length: int) -> int:
    """Copy inside the window, which the copy may run into."""
    start, place = (at - distance) & mask, at & mask
    if distance >= length and start + length <= mask and place + length <= mask:
        window[place : place + length] = window[start : start + length]
        return length
    for index in range(length):
        window[(at + index) & mask] = window[(at - distance + index) & mask]
    return length


def _collect(
    window: bytearray, mask: int, at: int, size: int, step: Callable[[int], int]
) -> tuple[bytes, int]:
    """(``size`` bytes that ``step`` writes into the window, where the window goes on).

    It is emptied before it comes around.
    """
    out = bytearray()
    first = at
    longest = 64 if mask == 0xFF else 512
    end = at + size
    while at < end:
        at += step(at)
        if at - first >= mask + 1 - longest:
            out += _ring(window, mask, first, at)
            first = at
    out += _ring(window, mask, first, at)
    return bytes(out[:size]), at


def _ring(window: bytearray, mask: int, first: int, end: int) -> bytes:
    start, length = first & mask, end - first
    head = bytes(window[start : min(start + length, mask + 1)])
    return head + bytes(window[: length - len(head)])


def unpack_runs(data: bytes, size: int) -> bytes:
    """Runs: 90 00 is 90, 90 n v is n times v, 90 FF v hh ll is hhll times v. Raises ``FormatError``."""
    pieces: list[bytes] = []
    done = at = 0
    while done < size:
        mark = data.find(_ESCAPE, at)
        plain = data[at : len(data) if mark < 0 else mark][: size - done]
        pieces.append(plain)
        done += len(plain)
        if done >= size:
            break
        if mark < 0 or mark + 1 >= len(data):
            raise _wrong("the data ends too early")
        count, at = data[mark + 1], mark + 2
        if count == 0:
            run = b"\x90"
        elif count == _LONG_RUN:
            run = data[at : at + 1] * int.from_bytes(data[at + 1 : at + 3], "big")
            at += 3
        else:
            run = data[at : at + 1] * count
            at += 1
        if at > len(data) or done + len(run) > size:
            raise _wrong("a run past the end")
        pieces.append(run)
        done += len(run)
    return b"".join(pieces)
