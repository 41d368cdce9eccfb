"""How the C library keeps the memory of chunks, of which a mount takes and frees some thousand a second."""

from __future__ import annotations

import ctypes
from typing import Final

# glibc, malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
KEPT: Final = 16 << 20  # a larger block comes from the kernel and goes back to it, as does more that is free


def keep_freed_chunks() -> None:
    """Have all threads use one heap, and freed chunks again instead of giving them back to the kernel.

    Otherwise each page of a chunk would be fetched and cleared anew, and each thread have a heap of its own.
    Nothing changes where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; TypeError: Windows
        return
    for option, value in ((TRIM_THRESHOLD, KEPT), (MMAP_THRESHOLD, KEPT), (ARENA_MAX, 1)):
        mallopt(option, value)
