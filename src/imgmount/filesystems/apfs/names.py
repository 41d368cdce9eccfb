"""Names as paths of other systems have them: a ``:`` in a name stands for the slash that the Finder shows."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_ODD: Final = re.compile("[\x01-\x1f\x7f]")
_VISIBLE: Final = str.maketrans({**{chr(n): chr(0x2400 + n) for n in range(1, 32)}, "\x7f": "\u2421"})


def composed(name: str) -> str:
    """A name in the form that other systems than Apple's write, with control characters as their symbols."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    return name.translate(_VISIBLE) if _ODD.search(name) else name
