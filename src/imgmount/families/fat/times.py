"""Times and serial numbers of FAT and exFAT: wall-clock time, in the zone of the process."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from imgmount.core.fields import NS, local_ns


def dos_time_ns(date: int, time: int, centis: int = 0) -> int:
    """FAT date and time words and the 10 ms count (0-199) of creation times; 0 where the date is void."""
    hour = _dos_hour_ns(date, time >> 11)
    minute = time >> 5 & 63
    return hour + (minute * 60 + (time & 31) * 2) * NS + centis * 10_000_000 if hour and minute < 60 else 0


@lru_cache(4096)
def _dos_hour_ns(date: int, hour: int) -> int:
    """When an hour began.

    Files have as many times as seconds, but few hours, and no zone changes its clock inside one.
    """
    try:
        return local_ns(datetime(1980 + (date >> 9), date >> 5 & 15, date & 31, hour))  # noqa: DTZ001
    except ValueError:
        return 0


def dos_serial(number: int) -> str:
    """A FAT volume's serial number as DOS shows it: ``12AB-34CD``."""
    return f"{number >> 16:04X}-{number & 0xFFFF:04X}"
