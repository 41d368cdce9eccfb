"""Text for people: sizes, and names that a terminal can show."""

from __future__ import annotations

import sys
from typing import Final

_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def printable(text: str) -> str:
    r"""``text`` on one line that no terminal takes for a command; undecodable bytes as ``\xNN``."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    import unicodedata

    if unicodedata.category(char) == "Zs":  # U+3000 is a space like any other
        return char
    return f"\\u{code:04x}" if code < 0x1_0000 else f"\\U{code:08x}"


def for_stdout(text: str) -> str:
    """``text`` as it is, or made printable where a terminal will show it."""
    return printable(text) if sys.stdout.isatty() else text


def human(size: int) -> str:
    """``1.4 GiB``; whole numbers below 1 KiB."""
    power = min(max(0, size.bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{size / (1 << 10 * power):.1f} {_UNITS[power]}" if power else f"{size} B"


def both_sizes(size: int) -> str:
    """``1.4 GiB (1503238553 bytes)``."""
    return human(size) if size < 1024 else f"{human(size)} ({size} bytes)"


def complain(message: object) -> None:
    """One line for the user on stderr."""
    print(f"imgmount: {printable(str(message))}", file=sys.stderr)
