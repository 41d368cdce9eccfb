"""Text for people: sizes, and names that a terminal can show."""

from __future__ import annotations

import sys
from typing import Final

from imgmount.core.printable import printable

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def for_stdout(text: str) -> str:
    """``text`` as it is, or made printable where a terminal will show it."""
    return printable(text) if sys.stdout.isatty() else text


def human(size: int) -> str:
    """``1.4 GiB``; whole numbers below 1 KiB."""
    power = min(max(0, size.bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{size / (1 << 10 * power):.1f} {_UNITS[power]}" if power else f"{size} B"


def short_size(size: int) -> str:
    """``1.4G``, never less than it is: as ls(1) and df(1) write sizes with ``-h``."""
    power = max(0, size.bit_length() - 1) // 10
    unit = 1 << 10 * power
    if power and size > 1023 * unit:  # it would be rounded to 1024
        power, unit = power + 1, unit << 10
    if not power:
        return str(size)
    tenths = -(-size * 10 // unit)
    number = f"{tenths // 10}.{tenths % 10}" if tenths < 100 else str(-(-size // unit))
    return number + "KMGTPEZY"[power - 1]


def both_sizes(size: int) -> str:
    """``1.4 GiB (1503238553 bytes)``."""
    return human(size) if size < 1024 else f"{human(size)} ({size} bytes)"


def complain(message: object) -> None:
    """One line for the user on stderr."""
    print(f"imgmount: {printable(str(message))}", file=sys.stderr)
