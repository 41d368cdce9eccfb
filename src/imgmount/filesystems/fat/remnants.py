"""Records that are marked as deleted: what is left of their names.

A short name has lost its first byte. The checksum in the pieces of the long name tells it, so a long name
belongs to a record where that byte is the one that its first letter gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from imgmount.filesystems.fat import records
from imgmount.filesystems.fat.records import ATTRIBUTES, FREE, LONG, MAX_PIECES, RECORD, VOLUME

LOST: Final = b"_"
NAME_LOST: Final = "the first letter of its name is lost"
END_LOST: Final = "its name may have been longer"
_ILLEGAL: Final = frozenset(b'"*/:<>?\\|') | frozenset(range(0x20))  # in short names
_PIECE: Final = 13  # letters
_HIGH: Final = 0x80  # from here on letters that are not ASCII


class Remnant(NamedTuple):
    """A deleted record, ``at`` so many bytes of its folder. ``guess`` is about the name."""

    at: int
    name: str
    record: bytes
    guess: str


def remnants(data: bytes, encoding: str) -> Iterator[Remnant]:
    """The deleted files and folders in a folder's bytes, up to its end mark."""
    for at in range(0, len(data) - RECORD + 1, RECORD):
        if data[at] == 0:
            return
        mark = data[at + 11] & ATTRIBUTES
        record = data[at : at + RECORD]
        if data[at] != FREE or mark == LONG or mark & VOLUME or not _is_sound(record):
            continue
        name, guess = _long_name(data, at)
        if not name:
            name, guess = records.short_name(LOST + record[1:], encoding), NAME_LOST
        yield Remnant(at, name, record, guess)


def is_plausible(data: bytes) -> bool:
    """Whether a cluster can be the continuation of a folder: all of its records can be some."""
    for at in range(0, len(data) - RECORD + 1, RECORD):
        if data[at] == 0:
            return at > 0
        record = data[at : at + RECORD]
        if record[:1] == b"." or not (_is_sound(record) or record[11] & ATTRIBUTES == LONG):
            return False
    return True


def _is_sound(record: bytes) -> bool:
    """Whether a record is one, but for its first byte: formatting can leave 0xE5 everywhere."""
    return not record[11] & ~ATTRIBUTES and _ILLEGAL.isdisjoint(record[1:11]) and any(record[16:26])


def _long_name(data: bytes, at: int) -> tuple[str, str]:
    """(the long name whose pieces lie before the record at ``at``, what is a guess); "" where none does."""
    count, name, total = 0, "", data[at - RECORD + 13] if at else 0
    while count < min(MAX_PIECES, at // RECORD) and "\0" not in name:
        piece = at - (count + 1) * RECORD
        lead = data[piece]
        if (
            data[piece + 11] != LONG
            or data[piece + 13] != total
            or lead not in (FREE, count + 1, count + 1 | 0x40)
        ):
            break
        count += 1
        name += records.letters(data, piece, 1)
    full = "\0" not in name
    name = name.partition("\0")[0]
    if not name or not _begins(name, data[at + 1 : at + 11], total):
        return "", ""
    return name, END_LOST if full and count < MAX_PIECES else ""


def _begins(name: str, rest: bytes, total: int) -> bool:
    """Whether the byte before ``rest`` of a short name is one that ``name`` gives, by the checksum."""
    first = total
    for byte in reversed(rest):  # the checksum adds each byte to the sum so far, turned right by one bit
        first = first - byte & 0xFF
        first = (first << 1 | first >> 7) & 0xFF
    letter = name.lstrip(". ")[:1].upper()
    if not letter.isascii():
        return first >= _HIGH or first in LOST
    return first in (ord(letter or "_"), ord("_"))
