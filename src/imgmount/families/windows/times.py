"""FILETIME: what Windows formats store as times."""

from __future__ import annotations

from typing import Final

_FILETIME_EPOCH: Final = 116_444_736_000_000_000  # 1601 to 1970, in 100 ns


def filetime_ns(value: int) -> int:
    """Windows FILETIME: 100 ns since 1601 UTC; 0 stays 0."""
    return (value - _FILETIME_EPOCH) * 100 if value else 0
