"""The words of a command line before they are parsed: which one is the command, and where the options end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

UNMOUNT: Final = ("-u", "--unmount")
END: Final = "--"  # of the options


def find_command(
    words: Sequence[str], names: Collection[str], valued: Callable[[], Collection[str]]
) -> tuple[str, list[str]]:
    """(the command, the other words). It is the first word that is no option: ``--keys FILE ls IMAGE``.

    ``valued`` gives the options whose value is the next word. Without a command the image is mounted.
    """
    own = words[: _end(words)]
    place = _first_operand(own, valued) if any(word in names for word in own) else len(own)
    if place < len(own) and own[place] in names:
        return own[place], _without(words, place)
    place = next((index for index, word in enumerate(own) if word in UNMOUNT), -1)
    return ("mount", list(words)) if place < 0 else ("unmount", _without(words, place))


def _first_operand(words: Sequence[str], valued: Callable[[], Collection[str]]) -> int:
    """The index of the first word that is neither an option nor the value of one."""
    if not words[0].startswith("-"):
        return 0
    options, index = valued(), 0
    while index < len(words) and words[index].startswith("-"):
        index += 2 if _wants_next(words[index], options) else 1
    return index


def _wants_next(word: str, valued: Collection[str]) -> bool:
    """Whether the next word is the value of this option, or of the last of several letters."""
    if word.startswith("--"):
        return word in valued
    takers = [place for place in range(1, len(word)) if f"-{word[place]}" in valued]
    return takers[:1] == [len(word) - 1]


def without_end(words: Sequence[str]) -> list[str]:
    """``words`` without ``--``. A dash behind it is a path's: argparse would see an option."""
    end = _end(words)
    return [*words[:end], *(f"./{word}" if word.startswith("-") else word for word in words[end + 1 :])]


def _end(words: Sequence[str]) -> int:
    return words.index(END) if END in words else len(words)


def _without(words: Sequence[str], place: int) -> list[str]:
    return [*words[:place], *words[place + 1 :]]
