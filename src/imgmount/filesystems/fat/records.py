"""Directory records: short names, VFAT long names, attributes and times.

Source: Microsoft's FAT specification 1.03, sections 6 and 7; byte 0x0C as Windows NT uses it (lower case of
short names).
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from struct import Struct
from typing import Final

from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Stat
from imgmount.families.fat.times import dos_time_ns

RECORD: Final = 32
# attributes, creation (10 ms, time, date), access date, high, writing, low, size
_FACTS: Final = Struct("<11xBxBHHHHHHHI")
FREE: Final = 0xE5
_FREE_KANJI: Final = 0x05  # stands for a first byte of 0xE5
_LOWER_STEM: Final = 0x08
_LOWER_SUFFIX: Final = 0x10

READ_ONLY: Final = 0x01
HIDDEN: Final = 0x02
SYSTEM: Final = 0x04
VOLUME: Final = 0x08
DIRECTORY: Final = 0x10
LONG: Final = 0x0F
ATTRIBUTES: Final = 0x3F
_LAST: Final = 0x40  # marks the first stored, last numbered piece of a long name
_CHECKSUMS: Final = [bytes([value]) for value in range(256)] * 2
MAX_PIECES: Final = 20  # of 13 UTF-16 units
_COUNTS: Final = range(1, MAX_PIECES + 1)  # of pieces; the tables below begin with 1
_ORDINALS: Final = [bytes([_LAST | count, *range(count - 1, 0, -1)]) for count in _COUNTS]
_LONG_MARKS: Final = [bytes([LONG]) * count for count in _COUNTS]
# the characters, last piece first
_PIECES: Final = [Struct("<" + "x10sxxx12sxx4s" * count) for count in _COUNTS]
_FORWARD: Final = [
    itemgetter(*(3 * piece + part for piece in reversed(range(count)) for part in range(3)))
    for count in _COUNTS
]
# each byte rotated right by one bit
_ROTATED: Final = bytes((value >> 1) | (value & 1) << 7 for value in range(256)) * 2


def scan(data: bytes, encoding: str) -> Iterator[tuple[int, str, bytes]]:
    """(position, name, record) of the files and directories in a directory's bytes, up to its end mark."""
    at, end = 0, len(data) - RECORD + 1
    while at < end:
        lead = data[at]
        if lead == 0:
            return
        mark = data[at + 11] & ATTRIBUTES
        if lead == FREE:
            at += RECORD
            continue
        name = ""
        if mark == LONG:
            pieces = lead & ~_LAST
            short = at + pieces * RECORD
            if (
                not _LAST < lead <= _LAST | MAX_PIECES
                or short >= end
                or data[at:short:RECORD] != _ORDINALS[pieces - 1]
            ):
                at += RECORD  # an orphan
                continue
            name = _long_name(data, at, pieces)
            if not name or data[short] == FREE or data[short + 11] & VOLUME:
                at += RECORD
                continue
            at = short
        elif mark & VOLUME:
            at += RECORD
            continue
        record = data[at : at + RECORD]
        if name or record[0] != 0x2E or record[:11].rstrip(b" ") not in (b".", b".."):
            yield at, name or short_name(record, encoding), record
        at += RECORD


def _long_name(data: bytes, at: int, count: int) -> str:
    """The name in the ``count`` pieces at ``at``, "" where they do not belong to the record that follows."""
    short = at + count * RECORD
    total = 0
    for byte in data[short : short + 11]:
        total = _ROTATED[total] + byte
    if (
        data[at + 13 : short : RECORD] != _CHECKSUMS[total] * count
        or data[at + 11 : short : RECORD] != _LONG_MARKS[count - 1]
    ):
        return ""
    return letters(data, at, count).partition("\0")[0]


def letters(data: bytes, at: int, count: int) -> str:
    """What is in the ``count`` pieces of a long name at ``at``: behind the name a NUL, if there is room."""
    units = b"".join(_FORWARD[count - 1](_PIECES[count - 1].unpack_from(data, at)))
    return units.decode("utf-16-le", "replace")


def short_name(record: bytes, encoding: str) -> str:
    """The 8.3 name, in the case that Windows NT would show it in."""
    stem, suffix = record[:8].rstrip(b" "), record[8:11].rstrip(b" ")
    if stem[:1] == bytes([_FREE_KANJI]):
        stem = bytes([FREE]) + stem[1:]
    case = record[12]
    name = _decode(stem, encoding, lower=bool(case & _LOWER_STEM))
    return f"{name}.{_decode(suffix, encoding, lower=bool(case & _LOWER_SUFFIX))}" if suffix else name


def _decode(raw: bytes, encoding: str, *, lower: bool) -> str:
    name = raw.decode(encoding, "surrogateescape")
    return name.lower() if lower else name


def volume_label(data: bytes, encoding: str) -> str | None:
    """The volume label among a root directory's records."""
    for at in range(0, len(data) - RECORD + 1, RECORD):
        if data[at] == 0:
            return None
        attributes = data[at + 11] & ATTRIBUTES
        if data[at] != FREE and attributes & VOLUME and attributes != LONG:
            raw = bytes([FREE]) + data[at + 1 : at + 11] if data[at] == _FREE_KANJI else data[at : at + 11]
            return raw.rstrip(b"\0 ").decode(encoding, "surrogateescape")
    return None


def attributes(record: bytes) -> int:
    """The attribute byte."""
    return record[11]


def first_cluster(record: bytes, bits: int) -> int:
    """The first cluster; the upper half exists on FAT32 only."""
    low = int.from_bytes(record[26:28], "little")
    return low if bits != 32 else (int.from_bytes(record[20:22], "little") << 16 | low) & 0x0FFF_FFFF


def file_size(record: bytes) -> int:
    """The size in bytes."""
    return int.from_bytes(record[28:32], "little")


def stat_of(record: bytes) -> Stat:
    """Everything that a record says of its file. The date of access is given as atime."""
    flags, centis, ctime, cdate, adate, _, mtime, mdate, _, size = _FACTS.unpack(record)
    modified = dos_time_ns(mdate, mtime)
    accessed = (dos_time_ns(adate, 0) if adate else 0) or None
    birth = (dos_time_ns(cdate, ctime, centis) if cdate else 0) or None
    mode, size = (DIRECTORY_MODE, 0) if flags & DIRECTORY else (FILE_MODE, size)
    return Stat(mode, size, modified, accessed, birth_ns=birth)
