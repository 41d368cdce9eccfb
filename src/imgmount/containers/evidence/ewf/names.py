"""The names of the segments of an EWF set.

``.E01`` to ``.E99``, ``.EAA`` to ``.ZZZ``; EWF2: ``.Ex01`` to ``.Ex99``, ``.ExAA`` to ``.EzZZ``.
"""

from __future__ import annotations

from string import ascii_uppercase
from typing import Final

NUMBERED: Final = 99  # segments with two digits
_PER_LETTER: Final = len(ascii_uppercase) ** 2


def segment_name(given: str, number: int) -> str:
    """The name of segment ``number`` of the set that the file ``given`` belongs to, in its case.

    Empty if there is none.

    ``given`` may be any segment: ``disk.E02`` and ``disk.FAB`` both lead to ``disk.E01``. Which letter a set
    begins with can be told from a numbered extension only; otherwise it is taken for an E.
    """
    stem, dot, extension = given.rpartition(".")
    wide = len(extension) == 4  # EWF2: Ex01
    if not dot or len(extension) not in (3, 4) or not extension[0].isalpha() or not extension.isalnum():
        return ""
    letter = extension[0].upper() if extension[-2:].isdigit() else "E"
    if number <= NUMBERED:
        tail = f"{number:02}"
        return f"{stem}.{_cased(letter + 'x' * wide + tail, extension)}"
    turn, rest = divmod(number - NUMBERED - 1, _PER_LETTER)
    letters = ascii_uppercase[rest // len(ascii_uppercase)] + ascii_uppercase[rest % len(ascii_uppercase)]
    first = ord("x" if wide else letter) + turn
    if first > ord("z" if wide else "Z"):
        return ""
    return f"{stem}.{_cased((letter if wide else '') + chr(first) + letters, extension)}"


def segment_number(given: str, name: str) -> int:
    """The number of the segment that ``name`` is in the set of ``given``, 0 if it is none.

    It is the inverse of ``segment_name``.
    """
    tail = name[-3:].upper()
    number = int(tail[1:]) if tail[1:].isdigit() and tail.isascii() else 0
    if not number and len(tail) == 3 and all(letter in ascii_uppercase for letter in tail):
        wide = len(given.rpartition(".")[2]) == 4
        first = "X" if wide else segment_name(given, 1)[-3].upper()
        turn, high, low = (
            ord(letter) - ord(start) for letter, start in zip(tail, (first, "A", "A"), strict=True)
        )
        number = NUMBERED + 1 + turn * _PER_LETTER + high * len(ascii_uppercase) + low
    return number if number > 0 and segment_name(given, number).casefold() == name.casefold() else 0


def _cased(extension: str, model: str) -> str:
    return extension.lower() if model[0].islower() else extension
