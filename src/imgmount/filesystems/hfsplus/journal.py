"""The journal of HFS+, replayed in memory: the volume as it will be once macOS has mounted it.

A circular log of transactions, each of block lists {u16 room, u16 blocks, u32 bytes, u32 checksum, u32 flags,
16-byte entries} followed by the blocks they name. Source: TN1150, "Journal"; xnu ``bsd/vfs/vfs_journal.h``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from struct import Struct
from typing import Final, Literal, NamedTuple

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.errors import ChecksumError, FormatError, UnsupportedError
from imgmount.filesystems.hfsplus.header import JOURNALED, NAME, VolumeHeader

IN_VOLUME: Final = 1  # flags of the info block
ELSEWHERE: Final = 2
NEVER_USED: Final = 4
INFO_SIZE: Final = 0x34
HEADER_SIZE: Final = 44  # what its checksum covers
LIST_SIZE: Final = 32  # the same
ENDIAN: Final = 0x1234_5678
MAX_JOURNAL: Final = 1 << 30
MAX_BLOCKS: Final = 1 << 17  # replayed: 512 MiB of 4 KiB, as much as the largest journals hold
KILLED: Final = (1 << 64) - 1
# systems that write to a journaled volume and know nothing of its journal
WITHOUT_JOURNALS: Final = (b"8.10", b"10.0", b"H+Lx")
_MAGIC: Final = 0x4A4E_4C78


class JournalHeader(NamedTuple):
    """The header of a journal at byte ``place`` of the volume. Offsets count from there."""

    place: int
    order: Literal["little", "big"]
    start: int
    end: int
    size: int
    list_size: int
    checksum: int
    unit: int  # bytes of the header, and of a block number
    computed: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to replay."""
        return self.start == self.end


def checksum(data: bytes) -> int:
    """The checksum of headers, ``calc_checksum`` of xnu."""
    value = 0
    for byte in data:
        value = (value << 8 ^ (value + byte)) & 0xFFFF_FFFF
    return ~value & 0xFFFF_FFFF


def read_journal(device: BlockDevice, header: VolumeHeader) -> JournalHeader | None:
    """The journal's header, None where there is none in use. Raises ``FormatError``, ``UnsupportedError``."""
    if not header.attributes & JOURNALED or not header.journal_block:
        return None
    raw = device.read_exactly(header.journal_block * header.block_size, INFO_SIZE, NAME)
    flags, place, size = Struct(">I32xQQ").unpack_from(raw)
    if flags & ELSEWHERE and not flags & IN_VOLUME:
        raise UnsupportedError(f"{NAME}: a journal on another device")
    if flags & NEVER_USED:
        return None
    found = parse_journal_header(device, place)
    if found.size > size:
        raise FormatError(NAME, f"a journal of {found.size} bytes in {size}", offset=place)
    return found


def parse_journal_header(device: BlockDevice, place: int) -> JournalHeader:
    """The header at ``place``. Raises ``FormatError``."""
    raw = device.read_exactly(place, 64, NAME)
    order: Literal["little", "big"] = "little" if raw[:4] == b"xLNJ" else "big"
    layout = Struct(("<" if order == "little" else ">") + "IIQQQIIII")
    magic, endian, start, end, size, list_size, told, unit, _ = layout.unpack_from(raw)
    if magic != _MAGIC or endian != ENDIAN:
        raise FormatError(NAME, f"a journal that begins with {raw[:4]!r}", offset=place)
    sound = 512 <= unit <= 65536 and LIST_SIZE <= list_size <= 1 << 20 and size <= MAX_JOURNAL
    if not sound or not all(unit <= at <= size for at in (start, end)) or size - unit < list_size:
        raise FormatError(NAME, f"a journal of {size} bytes from {start:#x} to {end:#x}", offset=place)
    covered = raw[:36] + bytes(4) + raw[40:HEADER_SIZE]
    return JournalHeader(place, order, start, end, size, list_size, told, unit, checksum(covered))


class Patch(NamedTuple):
    """``size`` bytes of the volume from ``to`` on are those from ``place`` on, which are in the journal."""

    to: int
    size: int
    place: int


def transactions(device: BlockDevice, journal: JournalHeader) -> Iterator[list[Patch]]:
    """What each transaction writes, oldest first. Raises ``FormatError`` where the next one is not whole."""
    if journal.computed != journal.checksum:
        raise ChecksumError(NAME, "the header of the journal", offset=journal.place)
    at, left = journal.start, journal.size - journal.unit
    room = MAX_BLOCKS
    pending: list[Patch] = []
    while at != journal.end:
        used, more, blocks = _block_list(device, journal, at)
        left -= used
        room -= len(blocks)
        if left < 0 or room < 0:
            raise FormatError(NAME, "a journal with more in it than its size", offset=journal.place + at)
        at += used
        if at >= journal.size:
            at = at - journal.size + journal.unit
        pending += blocks
        if not more:
            yield pending
            pending = []


def _block_list(device: BlockDevice, journal: JournalHeader, at: int) -> tuple[int, bool, list[Patch]]:
    """(bytes, whether its transaction goes on, patches) of the list at ``at``. Raises ``FormatError``."""
    where = journal.place + at
    pieces = _around(journal, at, journal.list_size)
    raw = b"".join([device.read_exactly(place, size, NAME) for place, size in pieces])
    prefix = "<" if journal.order == "little" else ">"
    _, count, used, told, _ = Struct(prefix + "HHIII").unpack_from(raw)
    if checksum(raw[:8] + bytes(4) + raw[12:LIST_SIZE]) != told:
        raise ChecksumError(NAME, "a block list of the journal", offset=where)
    if not 1 <= count <= (journal.list_size - 16) // 16 or used < journal.list_size:
        raise FormatError(NAME, f"{count} blocks and {used} bytes in a list of the journal", offset=where)
    entries = [Struct(prefix + "QII").unpack_from(raw, 16 + 16 * n) for n in range(count)]
    place = at + journal.list_size
    patches: list[Patch] = []
    for number, size, _ in entries[1:]:
        to = number * journal.unit
        if size > used or (number != KILLED and to + size > device.size):
            raise FormatError(NAME, f"{size} bytes for block {number} in the journal", offset=where)
        if number != KILLED:
            for piece, length in _around(journal, place, size):
                patches.append(Patch(to, length, piece))
                to += length
        place += size
    if place - at != used:
        raise FormatError(NAME, f"a list of {used} bytes with {place - at} in the journal", offset=where)
    return used, bool(entries[0][2]), patches


def _around(journal: JournalHeader, at: int, size: int) -> list[tuple[int, int]]:
    """(place, bytes) of the pieces of ``size`` bytes of the log from ``at`` on, which goes round its end."""
    span = journal.size - journal.unit
    if size > span:
        raise FormatError(NAME, f"{size} bytes of a journal of {journal.size}", offset=journal.place + at)
    at = (at - journal.unit) % span + journal.unit
    first = min(size, journal.size - at)
    pieces = [(journal.place + at, first), (journal.place + journal.unit, size - first)]
    return [piece for piece in pieces if piece[1]]


class ReplayedVolume(MappedDevice):
    """``device`` with ``patches`` over it, later ones over earlier ones. Nothing is held in memory."""

    def __init__(self, device: BlockDevice, patches: list[Patch]) -> None:
        self.size = device.size
        self.block_size = device.block_size
        self._device = device
        self._patches: list[Patch] = []
        for patch in patches:
            _put(self._patches, patch)
        self._starts = [patch.to for patch in self._patches]

    def _map(self, offset: int) -> Extent:
        index = bisect_right(self._starts, offset) - 1
        if index >= 0:
            to, size, place = self._patches[index]
            if offset < to + size:
                return Extent(to + size - offset, self._device, place + offset - to)
        stop = self._starts[index + 1] if index + 1 < len(self._starts) else self.size
        return Extent(stop - offset, self._device, offset)


def _put(patches: list[Patch], new: Patch) -> None:
    """Put ``new`` over what is there; the list stays sorted and without overlaps."""
    start, end = new.to, new.to + new.size
    first = bisect_right(patches, start, key=lambda patch: patch.to + patch.size)
    last = bisect_left(patches, end, key=lambda patch: patch.to)
    pieces = [new]
    for to, size, place in patches[first:last]:
        if to < start:
            pieces.insert(0, Patch(to, start - to, place))
        if to + size > end:
            pieces.append(Patch(end, to + size - end, place + end - to))
    patches[first:last] = pieces
