"""Names of Macs as paths of other systems have them.

- ``/`` may stand in a name and ``:`` may not: each is shown as the other, as macOS does.
- HFS+ stores names decomposed. They are shown composed (NFC) and found in both forms; characters that its
  rules never decompose stay as they are. ``names=stored`` shows what is stored.
- Control characters, which ``Icon`` and a return and private folders have, are shown as their symbols:
  ``Icon␍``.
- HFS and MFS have no Unicode: names are in the encoding of the system that wrote them, MacRoman mostly.

Source: TN1150, "Unicode Subtleties"; QA1173; Inside Macintosh: Text, "Script Codes".
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final, Literal

_SWAPPED: Final = str.maketrans({"/": ":", ":": "/"})
_VISIBLE: Final = str.maketrans({**{chr(n): chr(0x2400 + n) for n in range(32)}, "\x7f": "\u2421"})
_ODD: Final = re.compile("[\0-\x1f\x7f/:]")
_NEVER_DECOMPOSED: Final = re.compile("([\u2000-\u2fff\uf900-\ufaff\U0002f800-\U0002faff])")
# script codes whose encodings Python knows; MacRoman for the others
SCRIPTS: Final = {
    1: "shift_jis", 2: "big5", 3: "euc_kr", 4: "mac_arabic", 6: "mac_greek", 7: "mac_cyrillic", 25: "gb2312",
    29: "mac_latin2",
}  # fmt: skip
SCRIPT_GIVEN: Final = 0x80  # in fdScript: the other bits are a script code
ROMAN: Final = "mac_roman"


def shown(name: str, *, stored: bool = False) -> str:
    """A name from the volume as a path component. ``stored``: its Unicode and control characters are kept."""
    if name.isascii():
        if _ODD.search(name) is None:
            return name
    elif not stored:
        name = composed(name)
    if _ODD.search(name) is not None:
        name = name.translate(_SWAPPED)
        if not stored:
            name = name.translate(_VISIBLE)
    return name


def composed(name: str) -> str:
    """NFC, without what HFS+ would take for another name."""
    return _normal("NFC", name)


@lru_cache(4096)
def folded(name: str) -> str:
    """The same text for all spellings of a name, where case does not count."""
    return _decomposed(name).casefold()


@lru_cache(4096)
def unfolded(name: str) -> str:
    """The same text for all spellings of a name, where case counts."""
    return _decomposed(name)


def _decomposed(name: str) -> str:
    if name.isascii():
        return name
    return _normal("NFD", name)


def _normal(form: Literal["NFC", "NFD"], name: str) -> str:
    normalize = unicodedata.normalize
    parts = enumerate(_NEVER_DECOMPOSED.split(name))  # every second part is what matched
    return "".join([part if n % 2 else normalize(form, part) for n, part in parts])


def decoded(raw: bytes, encoding: str | None, script: int = 0) -> str:
    """A name of HFS or MFS: in the encoding the user gave, else that of its ``fdScript``, else MacRoman."""
    for name in (encoding, SCRIPTS.get(script & 0x7F) if script & SCRIPT_GIVEN else None):
        if name is not None:
            try:
                return raw.decode(name)
            except UnicodeDecodeError:
                continue
    return raw.decode(ROMAN)


def utf16(raw: bytes) -> str:
    """A name of HFS+: UTF-16BE, halves of pairs kept."""
    return raw.decode("utf-16-be", "surrogatepass")
