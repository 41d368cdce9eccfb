"""Runs in block tables: how far one extent reaches, found without looking at a whole table."""

from __future__ import annotations

from array import array
from typing import Final

MAX_EQUAL: Final = 4096  # entries looked at for a hole: 4 GiB of 1 MiB blocks in a few microseconds
RUN_BYTES: Final = 2 << 20  # looked at for one stretch of data: more than any request of the kernel


def equal_run(entries: array[int], first: int, limit: int = MAX_EQUAL) -> int:
    """How many entries from ``first`` on are equal, the first included, ``limit`` at most.

    Slices are compared, at the speed of C.
    """
    stop = min(len(entries), first + limit)
    unit = entries[first : first + 1]
    at, step = first + 1, 1
    while at < stop and entries[at : at + step] == unit * min(step, len(entries) - at):
        at += step
        step *= 2
    while step := step // 2:
        if at + step <= stop and entries[at : at + step] == unit * step:
            at += step
    return min(at, stop) - first


def rising_run(entries: array[int], first: int, step: int, limit: int) -> int:
    """How many entries from ``first`` on each exceed the one before by ``step``, ``limit`` at most.

    Those are blocks that are stored in a row.
    """
    expected = entries[first]
    count = 0
    for entry in entries[first : first + limit]:
        if entry != expected:
            break
        expected += step
        count += 1
    return count


class Bits:
    """A bitmap as text, one character for a bit, so that ``str.find`` finds the end of a run."""

    __slots__ = ("_text",)

    def __init__(self, bitmap: bytes, *, first_bit: str) -> None:
        """``first_bit`` of a byte comes first: ``"high"`` or ``"low"``."""
        if first_bit == "high":
            self._text = f"{int.from_bytes(bitmap, 'big'):0{8 * len(bitmap)}b}"
        else:
            self._text = f"{int.from_bytes(bitmap, 'little'):0{8 * len(bitmap)}b}"[::-1]

    def run(self, index: int) -> tuple[bool, int]:
        """The bit at ``index`` and how many alike begin there."""
        bit = self._text[index]
        stop = self._text.find("0" if bit == "1" else "1", index)
        return bit == "1", (stop if stop >= 0 else len(self._text)) - index
