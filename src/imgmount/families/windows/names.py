r"""Names of Windows that no POSIX path can hold, shown with escapes.

``\x2f`` stands for a slash, ``\ud800`` for half a character. No name of Windows has a backslash, so an
escape is nothing else; where a hostile one has it, it is shown as ``\x5c``.
"""

from __future__ import annotations

import re
from codecs import utf_16_le_decode  # what str() finds by name, each time
from typing import Final

_ODD: Final = re.compile("[\0/\\\\\ud800-\udfff]")
_DOTS: Final = (".", "..")


def decode(raw: bytes | memoryview) -> str:
    """A name as it is stored, in UTF-16-LE; half a surrogate pair stays what it is."""
    return utf_16_le_decode(raw[:-1] if len(raw) & 1 else raw, "surrogatepass", True)[0]


def shown(name: str) -> str:
    """``name`` fit for a path component, if it is not too long for one. What differs is an escape."""
    if name in _DOTS:
        return name.replace(".", "\\x2e")
    return name if _ODD.search(name) is None else _ODD.sub(_escape, name)


def shown_path(path: str) -> str:
    """A path with slashes, each component fit for one; dots keep their meaning."""
    return "/".join(part if part in _DOTS else shown(part) for part in path.split("/"))


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
