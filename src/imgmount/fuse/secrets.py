"""Keys and passwords leave a daemon's environment, and other processes of its user cannot read its memory."""

from __future__ import annotations

import ctypes
import os
from typing import Final

VARIABLES: Final = ("IMGMOUNT_PASSWORD", "IMGMOUNT_KEYS")
_PR_SET_DUMPABLE: Final = 4  # prctl(2)


def forget_secrets() -> None:
    """Wipe secrets from the environment, as ``/proc/PID/environ`` shows it, and forbid memory dumps."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.getenv.restype = ctypes.c_void_p
    for name in VARIABLES:
        value = libc.getenv(name.encode())
        if value:
            ctypes.memset(value, 0, len(ctypes.string_at(value)))
        os.environ.pop(name, None)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
