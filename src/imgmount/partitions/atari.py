"""Atari hard disks (AHDI root sectors), with XGM chains.

No magic: every entry must make sense. No ICD extension.

Source: Atari's AHDI 3.00 release notes, "Root sector"; chains as in Linux, ``block/partitions/atari.c``. All
big endian.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Match, Partition, PartitionsFormat, begins_on
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, ImageError

log = logging.getLogger(__name__)

SECTOR: Final = 512
SIZE: Final = 0x1C2  # offset of the disk's size in sectors; the four entries follow
_SIZE: Final = Struct(">I")
_ENTRY: Final = Struct(">B3sII")  # flag, type, first sector, sectors
ENTRIES: Final = slice(0x1C6, 0x1F6)
EXISTS: Final = 0x01
FLAGS: Final = (0x00, 0x01, 0x80, 0x81)  # 80: bootable
EXTENDED: Final = b"XGM"
MAX_LOGICALS: Final = 251  # 256 minors of a Linux disk, less the primary ones
FIRST_LOGICAL: Final = 5


class Entry(NamedTuple):
    """One of the four records of a root sector."""

    flag: int
    type: bytes
    first: int
    sectors: int

    @property
    def used(self) -> bool:
        return bool(self.flag & EXISTS)


def _entries(device: BlockDevice, sector: int) -> list[Entry]:
    raw = device.read_exactly(sector * SECTOR, SECTOR, "atari")
    return [Entry._make(fields) for fields in _ENTRY.iter_unpack(raw[ENTRIES])]


def _root(device: BlockDevice) -> list[Entry]:
    """The entries of the root sector. Raises ``FormatError`` where they cannot be a partition table."""
    (size,) = _SIZE.unpack(device.read_exactly(SIZE, _SIZE.size, "atari"))
    entries = _entries(device, 0)
    used = sorted((entry for entry in entries if entry.used), key=lambda entry: entry.first)
    if not used or not used[-1].first < size <= device.size // SECTOR:
        raise FormatError(
            "atari", f"a table for {size} sectors does not fit a disk of {device.size // SECTOR}", offset=SIZE
        )
    end = 1
    for entry in used:
        if not end <= entry.first or not entry.sectors or entry.first + entry.sectors > size:
            raise FormatError(
                "atari",
                f"a partition of sectors {entry.first}+{entry.sectors} is not between {end} and {size}",
                offset=ENTRIES.start,
            )
        end = entry.first + entry.sectors
    for entry in entries:
        if entry.flag not in FLAGS or (
            entry.used and not (entry.type.isalnum() and entry.type == entry.type.upper())
        ):
            raise FormatError(
                "atari",
                f"flag {entry.flag:#x} with type {entry.type!r} is no entry of AHDI",
                offset=ENTRIES.start,
            )
    return entries


def _logicals(device: BlockDevice, container: int) -> Iterator[tuple[Entry, int]]:
    """(entry, first sector on the disk) along the chain of root sectors from sector ``container`` on."""
    table = container
    seen: set[int] = set()
    while table not in seen and len(seen) < MAX_LOGICALS:
        seen.add(table)
        used = [entry for entry in _entries(device, table) if entry.used]
        if not used or used[0].type == EXTENDED:
            raise FormatError(
                "atari",
                "an extended root sector begins with a partition, here is none",
                offset=table * SECTOR,
            )
        yield used[0], table + used[0].first  # relative to this sector
        if len(used) == 1 or used[1].type != EXTENDED:
            return
        table = container + used[1].first  # relative to the first
    raise FormatError(
        "atari",
        f"the chain of extended root sectors loops, or has more than {MAX_LOGICALS}",
        offset=table * SECTOR,
    )


def probe(device: BlockDevice) -> Match:
    """FALLBACK: a few plausible numbers prove little."""
    _root(device)
    return Match.FALLBACK


def open_atari(device: BlockDevice, _: Context) -> list[Partition]:
    """Primary partitions in slots 1-4, those of XGM chains from 5."""
    found: list[tuple[int, Entry, int]] = []
    number = FIRST_LOGICAL
    for slot, entry in enumerate(_root(device), 1):
        if not entry.used:
            continue
        if entry.type != EXTENDED:
            found.append((slot, entry, entry.first))
            continue
        try:
            for logical, first in _logicals(device, entry.first):
                found.append((number, logical, first))
                number += 1
        except ImageError as exc:
            log.warning("%s: logical partitions after number %d are lost", exc, number - 1)
    parts = []
    for index, entry, first in sorted(found, key=lambda item: item[0]):
        if not begins_on(device, "atari", index, first * SECTOR):
            continue
        kind = entry.type.decode("ascii", "backslashreplace")
        parts.append(Partition(index, kind, "", Slice(device, first * SECTOR, entry.sectors * SECTOR)))
    return parts


FORMAT: Final = PartitionsFormat(
    name="atari",
    title="Atari AHDI partition table",
    probe=probe,
    open=open_atari,
)
