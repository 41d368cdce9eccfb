"""The journal of HFS+, replayed in memory: the volume as it will be once macOS has mounted it.

A circular log of transactions, each of block lists {u16 room, u16 blocks, u32 bytes, u32 checksum, u32 flags,
16-byte entries} and the blocks they name. An entry is {u64 block, u32 bytes, u32 checksum}; the first stands
for the list itself and has the transaction's sequence number last. Source: TN1150, "Journal"; xnu
``bsd/vfs/vfs_journal.h`` and ``.c``.
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
CHECKED, FIRST = 1, 2  # flags of a block list: its blocks have checksums; a transaction begins
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


class Block(NamedTuple):
    """What is written at once: one patch, or two where the log goes round. A ``checksum`` of 0 is none."""

    patches: list[Patch]
    checksum: int

    def is_sound(self, device: BlockDevice) -> bool:
        """Whether the journal has what was to be written. Raises ``ImageError``."""
        if not self.checksum:
            return True
        data = b"".join([device.read_exactly(place, size, NAME) for _, size, place in self.patches])
        return checksum(data) == self.checksum


class BlockList(NamedTuple):
    """A header of blocks, ``used`` bytes with them. ``is_first`` where a transaction begins."""

    used: int
    is_first: bool
    sequence: int
    blocks: list[Block]


Transaction = list[Block]


def transactions(device: BlockDevice, journal: JournalHeader) -> Iterator[Transaction]:
    """The transactions whose headers are whole, oldest first. Raises ``FormatError`` where one is not.

    The end that the journal's header tells may be old: lists behind it count as long as their sequence
    numbers go on.
    """
    if journal.computed != journal.checksum:
        raise ChecksumError(NAME, "the header of the journal", offset=journal.place)
    pending: Transaction = []
    lists = _Lists(device, journal)
    for begins, found in lists:
        if begins:
            yield pending
            pending = []
        pending += found.blocks
    yield pending
    if not lists.reached_end:
        raise FormatError(NAME, f"the lists of the journal end before {journal.end:#x}", offset=journal.place)


class _Lists:
    """The block lists, from the start of the journal on."""

    def __init__(self, device: BlockDevice, journal: JournalHeader) -> None:
        self._device = device
        self._journal = journal
        self.reached_end = False

    def __iter__(self) -> Iterator[tuple[bool, BlockList]]:
        """(whether a transaction begins, list). Raises ``FormatError`` for damage before the end."""
        journal, sequence = self._journal, 0
        at, left, room = journal.start, journal.size - journal.unit, MAX_BLOCKS
        while left > 0:
            is_end = at == journal.end
            self.reached_end |= is_end
            found = self._read(at, sequence)
            if found is None:
                return
            yield is_end or found.is_first, found
            sequence = found.sequence
            left -= found.used
            room -= len(found.blocks)
            if room < 0:
                raise FormatError(NAME, f"more than {MAX_BLOCKS} blocks in the journal", offset=journal.place)
            at += found.used
            if at >= journal.size:
                at = at - journal.size + journal.unit

    def _read(self, at: int, sequence: int) -> BlockList | None:
        """The list at ``at``, None where what stands there is older than ``sequence``, or behind the end."""
        if self.reached_end and not sequence:
            return None
        try:
            found = _block_list(self._device, self._journal, at)
        except FormatError:
            if self.reached_end:
                return None
            raise
        goes_on = sequence <= found.sequence <= sequence + 1
        return found if goes_on or not sequence or not found.sequence else None


def _block_list(device: BlockDevice, journal: JournalHeader, at: int) -> BlockList:
    """The list of blocks at ``at``. Raises ``FormatError``."""
    where = journal.place + at
    pieces = _around(journal, at, journal.list_size)
    raw = b"".join([device.read_exactly(place, size, NAME) for place, size in pieces])
    prefix = "<" if journal.order == "little" else ">"
    _, count, used, told, flags = Struct(prefix + "HHIII").unpack_from(raw)
    if checksum(raw[:8] + bytes(4) + raw[12:LIST_SIZE]) != told:
        raise ChecksumError(NAME, "a block list of the journal", offset=where)
    if not 1 <= count <= (journal.list_size - 16) // 16 or used < journal.list_size:
        raise FormatError(NAME, f"{count} blocks and {used} bytes in a list of the journal", offset=where)
    entries = [Struct(prefix + "QII").unpack_from(raw, 16 + 16 * n) for n in range(count)]
    place = at + journal.list_size
    blocks: list[Block] = []
    for number, size, told in entries[1:]:
        to = number * journal.unit
        if size > used or (number != KILLED and to + size > device.size):
            raise FormatError(NAME, f"{size} bytes for block {number} in the journal", offset=where)
        if number != KILLED:
            patches = []
            for piece, length in _around(journal, place, size):
                patches.append(Patch(to, length, piece))
                to += length
            blocks.append(Block(patches, told if flags & CHECKED else 0))
        place += size
    if place - at != used:
        raise FormatError(NAME, f"a list of {used} bytes with {place - at} in the journal", offset=where)
    return BlockList(used, bool(flags & FIRST), entries[0][2], blocks)


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

    patches: list[Patch]  # without overlaps, in order

    def __init__(self, device: BlockDevice, patches: list[Patch]) -> None:
        self.size = device.size
        self.block_size = device.block_size
        self._device = device
        self.patches = []
        for patch in patches:
            _put(self.patches, patch)
        self._starts = [patch.to for patch in self.patches]

    def _map(self, offset: int) -> Extent:
        index = bisect_right(self._starts, offset) - 1
        if index >= 0:
            to, size, place = self.patches[index]
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
