"""The VHDX log, replayed in memory: the file as it would be had it been closed properly. [MS-VHDX] 2.3."""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from typing import Any, Final, NamedTuple

from imgmount.containers.vdisk.vhdx.structs import sound
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.slices import MemoryDevice, beneath
from imgmount.errors import FormatError

_ENTRY = struct.Struct("<4sIIIQII16sQQ")
_DATA_DESCRIPTOR = struct.Struct("<4s4s8sQQ")
_ZERO_DESCRIPTOR = struct.Struct("<4sIQQQ")
_DATA_SECTOR = struct.Struct("<4sI4084sI")
SECTOR: Final = 4096
DESCRIPTOR_SIZE: Final = 32
MAX_LOG: Final = 64 << 20
# bytes whose checksums are computed, however many entries overlap; logs have 1 MiB
MAX_CHECKED: Final = 8 << 20
MAX_OFFSET: Final = 1 << 62


class _Patch(NamedTuple):
    """``start`` to ``end`` of the file is at offset ``data`` of the log's memory, or zeros for None."""

    start: int
    end: int
    data: int | None


class _Entry(NamedTuple):
    """A log entry whose checksum and descriptors are right."""

    offset: int
    length: int
    tail: int
    sequence: int
    flushed: int
    last: int
    descriptors: bytes
    sectors: bytes


class ReplayedFile(MappedDevice):
    """``file`` with the log's active entries applied. ``entries`` says how many there were."""

    def __init__(self, file: BlockDevice, header: Any) -> None:
        """``header`` is the current one. Raises ``FormatError`` for a log that cannot be replayed."""
        active = _active(_Log(file, header))
        if active[-1].flushed > file.size:
            raise FormatError(
                "vhdx", f"the file is cut: {active[-1].flushed} bytes were in it when the log was written"
            )
        self.entries = len(active)
        self._file = file
        memory = bytearray()
        self._patches: list[_Patch] = []
        for entry in active:
            for patch in _patches(entry, memory):
                self._apply(patch)
        self._starts = [patch.start for patch in self._patches]
        self._memory = MemoryDevice(bytes(memory))
        self.size = max(file.size, active[-1].last, *(patch.end for patch in self._patches), 0)

    def _apply(self, new: _Patch) -> None:
        """Put ``new`` over what was there; the list stays sorted and without overlaps."""
        first = bisect_left(self._patches, new.start, key=lambda patch: patch.end)
        last = bisect_left(self._patches, new.end, key=lambda patch: patch.start)
        pieces = [new]
        for old in self._patches[first:last]:
            if old.start < new.start:
                pieces.insert(0, old._replace(end=new.start))
            if old.end > new.end:
                skipped = new.end - old.start
                pieces.append(_Patch(new.end, old.end, None if old.data is None else old.data + skipped))
        self._patches[first:last] = [piece for piece in pieces if piece.end > piece.start]

    def _map(self, offset: int) -> Extent:
        index = bisect_right(self._starts, offset) - 1
        if index >= 0 and offset < self._patches[index].end:
            patch = self._patches[index]
            if patch.data is None:
                return Extent(patch.end - offset)
            return Extent(patch.end - offset, self._memory, patch.data + offset - patch.start)
        end = self._starts[index + 1] if index + 1 < len(self._starts) else self.size
        return beneath(self._file, offset, end - offset)


class _Log:
    """The circular log. Entries begin at multiples of 4 KiB and may go round its end."""

    def __init__(self, file: BlockDevice, header: Any) -> None:
        if not 0 < header.log_length <= MAX_LOG or header.log_length % SECTOR:
            raise FormatError("vhdx", f"a log of {header.log_length} bytes", offset=header.log_offset)
        self.id = bytes(header.log_id)
        self.data = file.read_exactly(header.log_offset, header.log_length, "vhdx")
        self._budget = MAX_CHECKED
        self._known: dict[int, _Entry | None] = {}

    def sequence(self, offset: int) -> int | None:
        """The sequence number of what may be an entry at ``offset``."""
        signature, _, _, _, sequence, _, _, identifier, _, _ = _ENTRY.unpack_from(self.data, offset)
        return sequence if signature == b"loge" and identifier == self.id and sequence else None

    def entry(self, offset: int) -> _Entry | None:
        """The entry at ``offset``, if it is whole. Raises ``FormatError`` if the log is made to be slow."""
        if offset not in self._known:
            self._known[offset] = self._read(offset)
        return self._known[offset]

    def _read(self, offset: int) -> _Entry | None:
        if offset % SECTOR or offset + SECTOR > len(self.data) or self.sequence(offset) is None:
            return None
        _, _, length, tail, sequence, count, _, _, flushed, last = _ENTRY.unpack_from(self.data, offset)
        table_end = -(-(_ENTRY.size + count * DESCRIPTOR_SIZE) // SECTOR) * SECTOR
        if length % SECTOR or not table_end <= length <= len(self.data):
            return None
        self._budget -= length
        if self._budget < 0:
            raise FormatError("vhdx", f"more than {MAX_CHECKED} bytes of log to check, where 1 MiB is usual")
        data = self.data[offset : offset + length]
        data += self.data[: length - len(data)]
        if not sound(data):
            return None
        descriptors = data[_ENTRY.size : _ENTRY.size + count * DESCRIPTOR_SIZE]
        return _Entry(offset, length, tail, sequence, flushed, last, descriptors, data[table_end:])


def _active(log: _Log) -> list[_Entry]:
    """The newest run of entries without a gap that begins where its last entry says. [MS-VHDX] 2.3.3."""
    offsets = [offset for offset in range(0, len(log.data), SECTOR) if log.sequence(offset) is not None]
    for offset in sorted(offsets, key=lambda one: log.sequence(one) or 0, reverse=True):
        head = log.entry(offset)
        if head is None:
            continue
        run = [log.entry(head.tail)]
        while (entry := run[-1]) is not None and entry is not head and len(run) <= len(offsets):
            following = log.entry((entry.offset + entry.length) % len(log.data))
            run.append(
                following if following is not None and following.sequence == entry.sequence + 1 else None
            )
        if run[-1] is head:
            return [entry for entry in run if entry is not None]
    raise FormatError("vhdx", "the disk was not closed, and its log holds no valid sequence of entries")


def _patches(entry: _Entry, memory: bytearray) -> list[_Patch]:
    """What ``entry`` writes; the data is appended to ``memory``. [MS-VHDX] 2.3.1.2 to 2.3.1.4."""
    found = []
    taken = 0
    for start in range(0, len(entry.descriptors), DESCRIPTOR_SIZE):
        signature, trailing, leading, offset, sequence = _DATA_DESCRIPTOR.unpack_from(
            entry.descriptors, start
        )
        length = SECTOR
        if signature == b"zero":
            _, _, length, offset, sequence = _ZERO_DESCRIPTOR.unpack_from(entry.descriptors, start)
        elif signature != b"desc":
            raise FormatError("vhdx", f"a log descriptor called {signature!r}")
        if offset % SECTOR or length % SECTOR or sequence != entry.sequence or offset + length > MAX_OFFSET:
            raise FormatError("vhdx", f"a log descriptor for {length} bytes at {offset:#x}")
        if signature == b"zero":
            found.append(_Patch(offset, offset + length, None))
            continue
        found.append(_Patch(offset, offset + SECTOR, len(memory)))
        memory += leading + _sector(entry, taken) + trailing
        taken += 1
    return found


def _sector(entry: _Entry, index: int) -> bytes:
    """The 4084 middle bytes of data sector ``index``."""
    if (index + 1) * SECTOR > len(entry.sectors):
        raise FormatError("vhdx", "a log entry has fewer sectors than descriptors")
    signature, high, data, low = _DATA_SECTOR.unpack_from(entry.sectors, index * SECTOR)
    if signature != b"data" or high << 32 | low != entry.sequence:
        raise FormatError("vhdx", "a log entry has a sector of another one")
    return bytes(data)
