"""The small things that on-disk structures share: integer tables, fixed strings, times.

Times are nanoseconds since 1970 UTC. Formats that store wall-clock time without a zone (DOS, Amiga, classic
Mac) are read in the zone of the reader, so that the clock shown is the clock stored; set TZ to choose
another.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from datetime import datetime

NS: Final = 1_000_000_000
build: Final = tuple.__new__  # build(Kind, values): a named tuple in half the time of Kind(*values)

_CODES: Final = {code: array(code).itemsize for code in "BHIQ"}


def table(data: bytes, width: Literal[2, 4, 8], order: Literal["little", "big"]) -> array[int]:
    """Unsigned integers of ``width`` bytes, in native order: a whole on-disk table at C speed."""
    code = next(code for code, size in _CODES.items() if size == width)
    values: array[int] = array(code)
    values.frombytes(data[: len(data) // width * width])
    if order != sys.byteorder:
        values.byteswap()
    return values


def text(data: bytes, encoding: str = "ascii") -> str:
    """A fixed-width string up to the first NUL, without trailing blanks; undecodable bytes as surrogates."""
    return data.split(b"\0", 1)[0].decode(encoding, "surrogateescape").rstrip()


def utc_text(seconds: int) -> str:
    """A moment for people. Raises ``ValueError``, ``OverflowError`` or ``OSError`` past the year 9999."""
    from datetime import UTC, datetime  # slow to import, and opening an image needs no text

    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def local_ns(moment: datetime) -> int:
    """Nanoseconds of a wall-clock time in the zone of the process; 0 where there is no such moment."""
    try:
        return int(moment.timestamp()) * NS
    except (OverflowError, ValueError, OSError):
        return 0
