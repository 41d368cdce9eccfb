"""Times of AmigaDOS: wall-clock time, in the zone of the process."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from imgmount.core.fields import NS, local_ns

_AMIGA_EPOCH: Final = datetime(1978, 1, 1)  # noqa: DTZ001  wall-clock time


def amiga_time_ns(days: int, minutes: int, ticks: int) -> int:
    """Days since 1978, minutes, fiftieths of a second."""
    if days > 100_000 or minutes >= 24 * 60 or ticks >= 50 * 60:
        return 0
    moment = _AMIGA_EPOCH + timedelta(days=days, minutes=minutes, seconds=ticks // 50)
    return local_ns(moment) + ticks % 50 * (NS // 50)
