"""Directory entries, in sets: a file, its stream, its name. exFAT specification, sections 6 and 7."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.fields import NS
from imgmount.families.fat.times import dos_time_ns
from imgmount.filesystems.exfat.boot import NAME

log = logging.getLogger(__name__)

RECORD: Final = 32
END: Final = 0x00
FILE: Final = 0x85
STREAM: Final = 0xC0
NAME_PART: Final = 0xC1
BITMAP: Final = 0x81
UPCASE: Final = 0x82
LABEL: Final = 0x83
_IN_USE: Final = 0x80  # of each type
_FILE: Final = Struct(
    "<BBHH2xIIIBBBBB7x"
)  # type, others, checksum, attributes, three times, 10 ms twice, zones
_STREAM: Final = Struct("<xBxBHxxQ4xIQ")  # flags, name length, hash, valid length, first cluster, length
_TABLE: Final = Struct("<4xI12xIQ")  # checksum (up-case table), first cluster, length
NO_CHAIN: Final = 2  # of the stream's flags: the clusters follow each other
_MAX_OTHERS: Final = 18
_MIN_OTHERS: Final = 2
_PART: Final = 30  # bytes of a name in one entry
DIRECTORY: Final = 0x10
_ZONE_IS_KNOWN: Final = 0x80
MAX_LABEL: Final = 11


class Entry(NamedTuple):
    """A file or directory. ``at`` is where its set begins in the directory."""

    at: int
    name: str
    file: bytes
    stream: bytes

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return bool(self.file[4] & DIRECTORY)


def scan(data: bytes) -> Iterator[Entry]:
    """The files and directories in a directory's bytes, up to its end mark.

    Damaged sets are left out, with a warning.
    """
    at, end = 0, len(data) - RECORD + 1
    while at < end and data[at] != END:
        if data[at] != FILE:
            at += RECORD
            continue
        others = data[at + 1]
        stop = at + (others + 1) * RECORD
        if not _MIN_OTHERS <= others <= _MAX_OTHERS or stop > len(data) or data[at + RECORD] != STREAM:
            log.warning("%s: a damaged set of entries at %#x of its directory", NAME, at)
            at += RECORD
            continue
        entries = data[at:stop]
        if not _is_whole(entries):
            log.warning("%s: a set of entries with a wrong checksum at %#x of its directory", NAME, at)
            at += RECORD
            continue
        if (name := _name(entries)) is not None:
            yield Entry(at, name, entries[:RECORD], entries[RECORD : 2 * RECORD])
        else:
            log.warning("%s: a set of entries without a whole name at %#x of its directory", NAME, at)
        at = stop


def remnants(data: bytes, *, used: bool = False) -> Iterator[Entry]:
    """The sets of entries in a directory's bytes that are marked as not in use, and whole all the same.

    The mark is one bit of each entry; the checksum is still that of the set in use. ``used`` adds those that
    are in use: nothing is in a directory that was deleted.
    """
    for at in range(0, len(data) - RECORD + 1, RECORD):
        if data[at] == END:
            return
        stop = at + (data[at + 1] + 1) * RECORD
        if data[at] | _IN_USE != FILE or not _MIN_OTHERS <= data[at + 1] <= _MAX_OTHERS or stop > len(data):
            continue
        entries = bytearray(data[at:stop])
        marks = {kind & _IN_USE for kind in entries[::RECORD]}
        if marks != {0} and not (used and marks == {_IN_USE}):
            continue  # some of it has been used again
        entries[::RECORD] = bytes(kind | _IN_USE for kind in entries[::RECORD])
        found = bytes(entries)
        if found[RECORD] != STREAM or not (_is_whole(found) or _is_whole(data[at:stop])):
            continue
        if (name := _name(found)) is not None:
            yield Entry(at, name, found[:RECORD], found[RECORD : 2 * RECORD])


def _is_whole(entries: bytes) -> bool:
    return set_checksum(entries) == int.from_bytes(entries[2:4], "little")


def _name(entries: bytes) -> str | None:
    """The name in a set of entries; None where it is not whole."""
    length = 2 * entries[RECORD + 3]
    parts = -(-length // _PART)
    if not length or entries[2 * RECORD :: RECORD][:parts] != bytes([NAME_PART]) * parts:
        return None
    starts = range(2 * RECORD, (2 + parts) * RECORD, RECORD)
    units = b"".join([entries[start + 2 : start + RECORD] for start in starts])
    return units[:length].decode("utf-16-le", "replace")


def set_checksum(entries: bytes) -> int:
    """The checksum of a set of entries; its own two bytes do not count. Section 6.3.3."""
    total = 0
    for byte in entries[:2] + entries[4:]:
        total = ((total << 15 | total >> 1) + byte) & 0xFFFF
    return total


def critical(data: bytes, kind: int) -> bytes | None:
    """The first entry of type ``kind``, if there is one before the end mark."""
    for at in range(0, len(data) - RECORD + 1, RECORD):
        if data[at] == kind:
            return data[at : at + RECORD]
        if data[at] == END:
            break
    return None


def place(entry: bytes) -> tuple[int, int, int]:
    """(checksum, first cluster, length) of the allocation bitmap or the up-case table."""
    checksum, first, length = _TABLE.unpack(entry)
    return checksum, first, length


def label(entry: bytes) -> str:
    """The volume label in its entry."""
    return entry[2 : 2 + 2 * min(entry[1], MAX_LABEL)].decode("utf-16-le", "replace")


def stream_of(entry: bytes) -> tuple[int, int, int, int]:
    """(flags, valid length, first cluster, length)."""
    flags, _, _, valid, first, length = _STREAM.unpack(entry)
    return flags, min(valid, length), first, length


class Facts(NamedTuple):
    """What a file entry says. Times are nanoseconds."""

    attributes: int
    created: int
    modified: int
    accessed: int


def facts_of(entry: bytes) -> Facts:
    """The attributes and times of a file entry."""
    _, _, _, attributes, created, modified, accessed, created_10ms, modified_10ms, *zones = _FILE.unpack(
        entry
    )
    return Facts(
        attributes,
        _time(created, created_10ms, zones[0]),
        _time(modified, modified_10ms, zones[1]),
        _time(accessed, 0, zones[2]),
    )


def _time(stamp: int, centis: int, zone: int) -> int:
    """A timestamp: wall-clock time and the quarters of an hour that it is ahead of UTC. 7.4.8 to 7.4.10."""
    date, time = stamp >> 16, stamp & 0xFFFF
    centis = min(centis, 199)
    if not zone & _ZONE_IS_KNOWN:
        return dos_time_ns(date, time, centis)
    quarters = (zone & 0x7F) - (zone << 1 & 0x80)
    moment = _utc_ns(date, time)
    return moment - quarters * 900 * NS + centis * 10_000_000 if moment else 0


def _utc_ns(date: int, time: int) -> int:
    """A DOS date and time that are UTC."""
    try:
        day = datetime(1980 + (date >> 9), date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, tzinfo=UTC)
    except ValueError:
        return 0
    return (int(day.timestamp()) + (time & 31) * 2) * NS
