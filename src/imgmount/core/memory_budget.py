"""How much memory the decoders of a mount take together: dictionaries and windows that the image asks for."""

from __future__ import annotations

import threading
from typing import Final

DECODING: Final = 256 << 20


class MemoryBudget:
    """Bytes that may be taken and are given back.

    ``take`` never waits: a device that gets nothing waits until one of its own decoders has ended.
    """

    def __init__(self, limit: int = DECODING) -> None:
        self.limit = limit
        self.taken = 0
        self._lock = threading.Lock()

    def take(self, size: int, *, must: bool = False) -> bool:
        """Whether ``size`` bytes are there, and are taken.

        With ``must`` they are taken even beyond the limit.
        """
        with self._lock:
            if self.taken + size > self.limit and not must:
                return False
            self.taken += size
            return True

    def give(self, size: int) -> None:
        """Give ``size`` bytes back."""
        with self._lock:
            self.taken -= size
