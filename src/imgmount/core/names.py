"""Names from an image are hostile: made fit for a path component, and unique."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

MAX_NAME_BYTES: Final = 255
MAX_SUFFIX: Final = 32  # characters behind the last dot: a longer ending is not the type of a file
_FORBIDDEN = str.maketrans({"/": "\u2215", "\0": "\u2400"})  # DIVISION SLASH, SYMBOL FOR NULL


def safe_name(raw: str, taken: Container[str]) -> str:
    """``raw`` as a path component: without ``/`` and NUL, neither ``.`` nor ``..``, and not one of ``taken``.

    It has 255 bytes of UTF-8 at most. A second ``a.txt`` becomes ``a (1).txt``.
    """
    name = raw
    if "/" in name or "\0" in name:
        name = name.translate(_FORBIDDEN)
    if not name.isascii():
        name = _encodable(name)
    if name in ("", ".", ".."):
        name = "_" * max(1, len(name))
    if len(name) > MAX_NAME_BYTES // 4:
        name = _shorten(name, MAX_NAME_BYTES)
    return name if name not in taken else _unique(name, taken)


def _encodable(name: str) -> str:
    """Replace halves of UTF-16 pairs. Bytes that were not text (``surrogateescape``) stay."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in name)
    return name


def _shorten(name: str, limit: int) -> str:
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= limit:
        return name
    for end in range(limit, limit - 4, -1):
        # do not cut inside a character: up to three bytes like this one follow its first
        if encoded[end] & 0xC0 != 0x80:
            return encoded[:end].decode("utf-8", "surrogateescape")
    return encoded[:limit].decode("utf-8", "surrogateescape")


def _unique(name: str, taken: Container[str]) -> str:
    """The name with the first free number, found by bisection, as there may be many equal names."""
    used, free = 0, 1
    while numbered(name, free) in taken:
        used, free = free, 2 * free
    while free - used > 1:
        middle = (used + free) // 2
        if numbered(name, middle) in taken:
            used = middle
        else:
            free = middle
    return numbered(name, free)


def numbered(name: str, number: int) -> str:
    """``a (2).txt`` for ``a.txt``, shortened where it would be too long."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix) > MAX_SUFFIX:
        stem, dot, suffix = name, "", ""
    tail = f" ({number}){dot}{suffix}"
    return _shorten(stem, MAX_NAME_BYTES - len(tail.encode("utf-8", "surrogateescape"))) + tail


class UniqueNames:
    """The names of one directory, each once; the caller adds each to ``taken``.

    Last numbers are kept, so that every name costs the same.
    """

    def __init__(self, taken: Container[str]) -> None:
        self._taken = taken
        self._numbers: dict[str, int] = {}  # name -> the last number given to one like it

    def fit(self, raw: str) -> str:
        """``raw`` as ``safe_name`` makes it, unlike all that are taken."""
        name = safe_name(raw, ())
        if name in self._taken:
            number = self._numbers.get(name, 0) + 1
            while (candidate := numbered(name, number)) in self._taken:
                number += 1
            self._numbers[name] = number
            name = candidate
        return name
