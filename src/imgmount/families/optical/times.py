"""Times of ISO 9660 and UDF, in nanoseconds since 1970 UTC; 0 where void."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from typing import Final

from imgmount.core.fields import NS, local_ns

_UNIX_EPOCH_DAY: Final = datetime(1970, 1, 1, tzinfo=UTC).toordinal()


@lru_cache(4096)
def _iso_day(date: bytes) -> int | None:
    """Seconds from 1970 to a day of three bytes; None where there is no such day."""
    try:
        return (datetime(1900 + date[0], date[1], date[2], tzinfo=UTC).toordinal() - _UNIX_EPOCH_DAY) * 86400
    except ValueError:
        return None


@lru_cache(4096)
def iso_time_ns(raw: bytes) -> int:
    """ISO 9660 9.1.5: seven bytes, years since 1900 and quarters of an hour east of UTC; 0 where void."""
    day = _iso_day(raw[:3])  # cached, as there are few days: a third of the time of a datetime for each
    hour, minute, second, zone = raw[3:7]
    if day is None or hour > 23 or minute > 59 or second > 59:
        return 0
    return (day + hour * 3600 + minute * 60 + second - (zone - 256 if zone > 127 else zone) * 900) * NS


_LONG_TIME: Final = Struct("4s2s2s2s2s2s")  # year to second, as digits


@lru_cache(4096)
def iso_long_time_ns(raw: bytes) -> int:
    """ISO 9660 8.4.26.1: sixteen digits and the same zone byte; 0 where void."""
    digits = raw[:16]
    if not digits.isdigit():
        return 0
    try:
        year, month, day, hour, minute, second = map(int, _LONG_TIME.unpack_from(digits))
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        return _zoned_ns(moment, raw[16]) + int(digits[14:]) * 10_000_000
    except (ValueError, OverflowError):  # the year 1, east of UTC
        return 0


def _zoned_ns(moment: datetime, zone: int) -> int:
    quarters = zone - 256 if zone > 127 else zone
    return int((moment - timedelta(minutes=15 * quarters)).timestamp()) * NS


_UDF_TIME: Final = Struct("<HhBBBBBBBB")
_UDF_NO_ZONE: Final = -2047


@lru_cache(4096)
def udf_time_ns(raw: bytes) -> int:
    """ECMA-167 1/7.3: twelve bytes, to the microsecond, with minutes east of UTC; 0 where void."""
    kind, year, month, day, hour, minute, second, centis, hundreds, micros = _UDF_TIME.unpack(raw)
    minutes = kind & 0xFFF
    minutes -= (minutes & 0x800) << 1
    try:
        moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  wall-clock time
    except ValueError:
        return 0
    fraction = (
        (centis * 10_000 + hundreds * 100 + micros) * 1000 if max(centis, hundreds, micros) < 100 else 0
    )
    if kind >> 12 == 1 and minutes == _UDF_NO_ZONE:
        return local_ns(moment) + fraction
    zone = timedelta(minutes=minutes if kind >> 12 == 1 else 0)
    return int((moment.replace(tzinfo=UTC) - zone).timestamp()) * NS + fraction
