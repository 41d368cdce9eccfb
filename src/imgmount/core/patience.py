"""What takes time is announced here: decoding, or a host's disk that is waited for.

A thread that answers quick questions in turn hands that over to another thread first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class _Thread(threading.local):
    """``hand_over`` is what this thread has to do before it takes its time; None for most."""

    hand_over: Callable[[], None] | None = None


this_thread = _Thread()


def takes_time() -> None:
    """Call before anything slow."""
    hand_over = this_thread.hand_over
    if hand_over is not None:
        this_thread.hand_over = None
        hand_over()
