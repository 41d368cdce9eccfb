"""FILETIME: what Windows formats store as times."""

from __future__ import annotations

from typing import Final

FILETIME_EPOCH: Final = 116_444_736_000_000_000  # 1601 to 1970, in 100 ns


def filetime_ns(value: int) -> int:
    """Windows FILETIME: 100 ns since 1601 UTC; 0 stays 0."""
    return (value - FILETIME_EPOCH) * 100 if value else 0


def filetime_text(value: int) -> bytes:
    """A FILETIME to the last digit, for extended attributes: ``2026-11-29T14:07:45.1234567Z``."""
    from datetime import UTC, datetime, timedelta  # which most files are read without

    seconds, hundreds = divmod(value, 10_000_000)
    try:
        moment = datetime(1601, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return b"%d" % value
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{hundreds:07}Z".encode()
