"""Where decoded bytes wait for the kernel: a memory file, which libfuse can splice like a host file.

A reply in plain memory would be copied into a pipe first; this way decoded bytes are copied once here and
once by the kernel.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterable
from typing import Final

from imgmount.core.device import Buffer

CAPACITY: Final = 1 << 20  # the kernel's largest request; more makes it grow


class Scratch(threading.local):
    """One memory file a thread. What is in it is good until the same thread clears it for its next reply."""

    def __init__(self) -> None:
        # open as long as the process, as the threads of a mount are
        self.fd = os.memfd_create("replies", os.MFD_CLOEXEC)
        self._used = 0
        self._grow(CAPACITY)

    def clear(self) -> None:
        self._used = 0

    def add(self, buffers: Iterable[Buffer]) -> tuple[int, int]:
        """Copy ``buffers`` behind what is there already. Returns (length, position)."""
        start = end = self._used
        for buffer in buffers:
            start_of_piece, end = end, end + len(buffer)
            if end > len(self._view):
                self._grow(2 * end)
            self._view[start_of_piece:end] = buffer
        self._used = end
        return end - start, start

    def _grow(self, size: int) -> None:
        os.ftruncate(self.fd, size)
        self._view = memoryview(mmap.mmap(self.fd, size))
