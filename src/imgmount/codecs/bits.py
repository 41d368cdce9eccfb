"""Bits of bytes, the most significant first, with zeros behind the end."""

from __future__ import annotations

from typing import Final

_WORD: Final = 8


class BitReader:
    """A position in ``data``. What lies behind the end reads as 0; ``beyond`` says how far it went."""

    __slots__ = ("_at", "_data", "_held", "_kept")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = self._held = self._kept = 0

    def peek(self, count: int) -> int:
        """The next ``count`` bits, 32 or fewer."""
        if self._held < count:
            self._refill()
        return self._kept >> (self._held - count) & ((1 << count) - 1)

    def _refill(self) -> None:
        piece = self._data[self._at : self._at + _WORD].ljust(_WORD, b"\0")
        self._at += _WORD
        self._kept = (self._kept & ((1 << self._held) - 1)) << 64 | int.from_bytes(piece, "big")
        self._held += 64

    def drop(self, count: int) -> None:
        """Go on by ``count`` bits that were looked at."""
        self._held -= count

    def take(self, count: int) -> int:
        """Both."""
        value = self.peek(count)
        self._held -= count
        return value

    @property
    def beyond(self) -> int:
        """How many bits behind the end have been taken; negative before it."""
        return 8 * (self._at - len(self._data)) - self._held
