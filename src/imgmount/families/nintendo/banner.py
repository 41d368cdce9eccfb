"""The names of a game in ``opening.bnr``: BNR1 and BNR2 on the GameCube, IMET on the Wii.

The picture is not read.

Sources: Yet Another GameCube Documentation, "Banner"; WiiBrew, "opening.bnr". All is big endian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from imgmount.core.fields import text

NAME: Final = "opening.bnr"
MAX_READ: Final = 0x2000  # everything below lies before
_TEXTS: Final = 0x1820  # of a GameCube banner: after a picture of 96 x 32
_COMMENT: Final = 0x140  # bytes in each language: BNR1 has one, BNR2 six
_FIELDS: Final = {"banner title": (0x40, 0x40), "banner maker": (0x80, 0x40), "banner text": (0xC0, 0x80)}
_SHORT: Final = {"banner title": (0, 0x20), "banner maker": (0x20, 0x20)}  # where the long form is empty
_IMET: Final = (0x40, 0x80)  # in files of discs, and of channels
_IMET_NAMES: Final = 0x1C
_IMET_NAME: Final = 84  # bytes of UTF-16 in each language
# English, Japanese, German, French, Spanish, Italian, Dutch, Korean
_IMET_ORDER: Final = (1, 0, 2, 3, 4, 5, 6, 9)


def banner(data: bytes, *, japanese: bool) -> Mapping[str, str]:
    """Facts in the first ``MAX_READ`` bytes of a banner, in English where it can; none if it is no banner."""
    if data[:4] in (b"BNR1", b"BNR2") and len(data) >= _TEXTS + _COMMENT:
        encoding = "cp932" if japanese and data[:4] == b"BNR1" else "cp1252"
        comment = data[_TEXTS : _TEXTS + _COMMENT]  # the first language of BNR2 is English
        found = {name: _line(comment, encoding, *place) for name, place in _FIELDS.items()}
        short = {name: _line(comment, encoding, *place) for name, place in _SHORT.items() if not found[name]}
        return {name: value for name, value in (found | short).items() if value}
    for at in _IMET:
        if data[at : at + 4] == b"IMET":
            names = [data[start : start + _IMET_NAME] for start in _starts(at + _IMET_NAMES)]
            title = next(filter(None, map(_utf16, names)), "")
            return {"banner title": title} if title else {}
    return {}


def _starts(place: int) -> Sequence[int]:
    return [place + number * _IMET_NAME for number in _IMET_ORDER]


def _line(comment: bytes, encoding: str, place: int, size: int) -> str:
    return " ".join(text(comment[place : place + size], encoding).split())


def _utf16(raw: bytes) -> str:
    """The words of a name, which may be in two lines parted by a NUL."""
    return " ".join(raw.decode("utf-16-be", "replace").replace("\0", " ").split())
