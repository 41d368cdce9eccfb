"""Text from images on one harmless line: a name may hold a newline or an escape code."""

from __future__ import annotations

from typing import Final

_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


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
