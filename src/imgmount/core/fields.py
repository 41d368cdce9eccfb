"""The small things that on-disk structures share: integer tables, fixed strings, times.

Times are nanoseconds since 1970 UTC. Formats that store wall-clock time without a zone (DOS, Amiga, classic Mac) are read in
the zone of whoever looks, so that the clock shown is the clock stored; set TZ to choose another.
"""

from __future__ import annotations

import sys
from array import array
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from typing import Final, Literal

NS: Final = 1_000_000_000
_FILETIME_EPOCH: Final = 116_444_736_000_000_000  # 1601 to 1970, in 100 ns
_HFS_EPOCH: Final = 2_082_844_800  # 1904 to 1970, in seconds
_AMIGA_EPOCH: Final = datetime(1978, 1, 1)  # noqa: DTZ001  wall-clock time

_CODES: Final = {code: array(code).itemsize for code in "BHIQ"}


def dos_serial(number: int) -> str:
    """A FAT volume's serial number as DOS shows it: ``12AB-34CD``."""
    return f"{number >> 16:04X}-{number & 0xFFFF:04X}"


def table(data: bytes, width: Literal[2, 4, 8], order: Literal["little", "big"]) -> array[int]:
    """Unsigned integers of ``width`` bytes, in native order: a whole on-disk table at C speed."""
    code = next(code for code, size in _CODES.items() if size == width)
    values: array[int] = array(code)
    values.frombytes(data[: len(data) // width * width])
    if order != sys.byteorder:
        values.byteswap()
    return values


def text(data: bytes, encoding: str = "ascii") -> str:
    """A fixed-width string: up to the first NUL, trailing blanks off, undecodable bytes kept as surrogates."""
    return data.split(b"\0", 1)[0].decode(encoding, "surrogateescape").rstrip()


def _local_ns(moment: datetime) -> int:
    try:
        return int(moment.timestamp()) * NS
    except (OverflowError, ValueError, OSError):
        return 0


def dos_time_ns(date: int, time: int, centis: int = 0) -> int:
    """FAT date and time words and the 10 ms count (0-199) of creation times; 0 where the date is void."""
    hour = _dos_hour_ns(date, time >> 11)
    minute = time >> 5 & 63
    return hour + (minute * 60 + (time & 31) * 2) * NS + centis * 10_000_000 if hour and minute < 60 else 0


@lru_cache(4096)
def _dos_hour_ns(date: int, hour: int) -> int:
    """When an hour began. Files have as many times as seconds, but few hours, and no zone changes its clock inside one."""
    try:
        return _local_ns(datetime(1980 + (date >> 9), date >> 5 & 15, date & 31, hour))  # noqa: DTZ001
    except ValueError:
        return 0


def filetime_ns(value: int) -> int:
    """Windows FILETIME: 100 ns since 1601 UTC; 0 stays 0."""
    return (value - _FILETIME_EPOCH) * 100 if value else 0


def hfs_time_ns(value: int, *, local: bool = False) -> int:
    """Seconds since 1904, in UTC (HFS+) or wall-clock time (HFS); 0 stays 0."""
    if not value:
        return 0
    seconds = value - _HFS_EPOCH
    if not local:
        return seconds * NS
    return _local_ns(datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None))


def amiga_time_ns(days: int, minutes: int, ticks: int) -> int:
    """Days since 1978, minutes, fiftieths of a second."""
    if days > 100_000 or minutes >= 24 * 60 or ticks >= 50 * 60:
        return 0
    moment = _AMIGA_EPOCH + timedelta(days=days, minutes=minutes, seconds=ticks // 50)
    return _local_ns(moment) + ticks % 50 * (NS // 50)


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
    day = _iso_day(raw[:3])  # few days, many times: a third of what a datetime of each would cost
    hour, minute, second, zone = raw[3:7]
    if day is None or hour > 23 or minute > 59 or second > 59:
        return 0
    return (day + hour * 3600 + minute * 60 + second - (zone - 256 if zone > 127 else zone) * 900) * NS


@lru_cache(4096)
def iso_long_time_ns(raw: bytes) -> int:
    """ISO 9660 8.4.26.1: sixteen digits and the same zone byte; 0 where void."""
    digits = raw[:16]
    if not digits.isdigit():
        return 0
    try:
        moment = datetime.strptime(digits[:14].decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
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
    fraction = (centis * 10_000 + hundreds * 100 + micros) * 1000 if max(centis, hundreds, micros) < 100 else 0
    if kind >> 12 == 1 and minutes == _UDF_NO_ZONE:
        return _local_ns(moment) + fraction
    zone = timedelta(minutes=minutes if kind >> 12 == 1 else 0)
    return int((moment.replace(tzinfo=UTC) - zone).timestamp()) * NS + fraction
