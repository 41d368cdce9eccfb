"""Names from an image are hostile: made fit for a path component, and unique."""

from __future__ import annotations

import re
from typing import Final

MAX_NAME_BYTES: Final = 255
_FORBIDDEN = str.maketrans({"/": "\u2215", "\0": "\u2400"})  # DIVISION SLASH, SYMBOL FOR NULL
_LONE_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # the others stand for undecodable bytes


def safe_name(raw: str, taken: set[str]) -> str:
    """``raw`` without ``/`` and NUL, not ``.``, ``..`` or empty, fit for UTF-8, at most 255 bytes of UTF-8, and not in ``taken``.

    A second ``a.txt`` becomes ``a (1).txt``.
    """
    name = raw
    if "/" in name or "\0" in name:
        name = name.translate(_FORBIDDEN)
    if name in ("", ".", ".."):
        name = "_" * max(1, len(name))
    if not name.isascii():
        name = _LONE_SURROGATE.sub("\ufffd", name)
    if len(name) > MAX_NAME_BYTES // 4:
        name = _shorten(name, MAX_NAME_BYTES)
    return name if name not in taken else _unique(name, taken)


def _shorten(name: str, limit: int) -> str:
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= limit:
        return name
    return encoded[:limit].decode("utf-8", "ignore") or "_"


def _unique(name: str, taken: set[str]) -> str:
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    for number in range(1, len(taken) + 2):
        tail = f" ({number}){dot}{suffix}"
        candidate = _shorten(stem, MAX_NAME_BYTES - len(tail.encode("utf-8", "surrogateescape"))) + tail
        if candidate not in taken:
            return candidate
    raise AssertionError("more names than entries")
