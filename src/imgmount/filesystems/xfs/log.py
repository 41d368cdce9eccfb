"""The log: a ring of sectors that records are written to, one behind the other, each with a header.

The first four bytes of each sector are the number of the ring's round; what stood there is in the header. The
newest record ends where that number falls. Source: XFS Algorithms and Data Structures, "Journaling Log"; the
order of checks is that of the kernel's ``xfs_log_recover.c``.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from imgmount.codecs.crc32c import crc32c
from imgmount.core.device import BlockDevice
from imgmount.core.header import one_of, within
from imgmount.errors import ChecksumError, FormatError
from imgmount.filesystems.xfs.superblock import NAME, SECTOR, Superblock

# magic, round, version, length, place of the record and of the oldest one that counts (round, sector), CRC,
# operations, form of the items, size of the buffer
_HEADER: Final = Struct(">4s5I2I4s4xI256xI16xI")
_MAGIC: Final = b"\xfe\xed\xba\xbe"
_CRC: Final = slice(32, 36)
_HEADER_SIZES: Final = (328, 324)  # that the CRC covers: the second on 32-bit machines
_ROUNDS: Final = 44  # where the bytes are that the sectors' round numbers took the place of
_ROUNDS_MORE: Final = 4  # the same in a further header
_MORE_SIZE: Final = 260  # of a further header, as the CRC covers it
_BUFFER: Final = 32 << 10  # of a record that one header sector describes
_PER_HEADER: Final = _BUFFER // SECTOR
_LARGE: Final = 2  # version whose headers may take several sectors
MAX_BUFFER: Final = 256 << 10
MAX_RECORD: Final = 1024  # sectors searched for the newest header
TORN: Final = 8 * MAX_BUFFER // SECTOR  # sectors that may have been on their way when the machine stopped
_OPERATION_FLAGS: Final = 9  # where they are in an operation
_UNMOUNT: Final = 0x20
_ORDERS: Final = {1: "<", 2: ">", 3: ">"}  # of bytes in items, by form: Linux little and big endian, IRIX


class Place(NamedTuple):
    """A sector of the ring in one of its rounds. Later places are larger."""

    round: int
    sector: int


class Record(NamedTuple):
    """A record. ``order`` is that of bytes in items, as in ``struct``; ``end`` is the sector behind it."""

    place: Place
    tail: Place
    order: str
    operations: int
    data: bytes
    end: int


class Log:
    """The ring in ``device``. Raises ``FormatError`` where it makes no sense."""

    def __init__(self, device: BlockDevice, spb: Superblock) -> None:
        self._device = device
        self._spb = spb
        self._start = spb.block(spb.log_start) * spb.block_size
        self.count = spb.log_blocks * spb.block_size // SECTOR
        if not self.count:
            raise FormatError(NAME, "a log of no blocks")
        self.head = self._find_head()
        self.newest = self._newest()

    @property
    def is_clean(self) -> bool:
        """Whether the newest record is that of an unmount."""
        newest = self.newest
        flags = newest.data[_OPERATION_FLAGS : _OPERATION_FLAGS + 1]
        is_last = newest.end % self.count == self.head
        return is_last and newest.operations == 1 and bool(flags and flags[0] & _UNMOUNT)

    def records(self) -> Iterator[Record]:
        """The records that count, oldest first.

        Raises ``FormatError`` where one is damaged that cannot have been on its way when the machine stopped.
        """
        place, left = self.newest.tail, self.count
        while left > 0 and place.sector != self.head:
            distance = (self.head - place.sector) % self.count
            try:
                record = self._record(place)
            except FormatError:
                if distance <= TORN:
                    return
                raise
            yield record
            left -= record.end - place.sector
            around, sector = divmod(record.end, self.count)
            place = Place(place.round + around, sector)

    def _at(self, number: int) -> int:
        return self._start + number % self.count * SECTOR

    def _sectors(self, first: int, count: int) -> bytes:
        first %= self.count
        whole = min(count, self.count - first)
        data = self._device.read_exactly(self._at(first), whole * SECTOR, NAME)
        return data + (self._sectors(0, count - whole) if count > whole else b"")

    def _stamp(self, number: int) -> int:
        """The round that a sector was written in."""
        raw = self._sectors(number, 1)
        return int.from_bytes(raw[4:8] if raw[:4] == _MAGIC else raw[:4], "big")

    def _find_head(self) -> int:
        """The sector after the newest: the first that is not of the round that the first sector is of."""
        newest = self._stamp(0)
        low, high = 0, self.count
        while high - low > 1:
            middle = (low + high) // 2
            if self._stamp(middle) == newest:
                low = middle
            else:
                high = middle
        return high % self.count

    def _newest(self) -> Record:
        """The newest record whose header is there; what follows it may be on its way."""
        fault: FormatError | None = None
        for back in range(1, min(self.count, MAX_RECORD) + 1):
            number = (self.head - back) % self.count
            raw = self._sectors(number, 1)
            if raw[:4] != _MAGIC:
                continue
            try:
                return self._record(Place(int.from_bytes(raw[4:8], "big"), number))
            except FormatError as exc:
                fault = fault or exc
        raise fault or FormatError(NAME, f"no record in the last {MAX_RECORD} sectors of the log")

    def _record(self, place: Place) -> Record:
        """The record at ``place``. Raises ``FormatError`` where it is not whole."""
        offset = self._at(place.sector)
        raw = self._sectors(place.sector, 1)
        magic, number, version, length, *places, crc, operations, form, size = _HEADER.unpack_from(raw)
        if magic != _MAGIC or number != place.round or places[:2] != list(place):
            raise FormatError(NAME, f"no record of round {place.round} of the log is here", offset=offset)
        is_large = bool(version & _LARGE) and size > _BUFFER
        within(NAME, "size of a record of the log", length, 0, MAX_BUFFER, offset=offset + 12)
        within(NAME, "size of a buffer of the log", size, 0, MAX_BUFFER, offset=offset + 320)
        headers = -(-size // _BUFFER) if is_large else 1
        sectors = within(NAME, "sectors of a record", -(-length // SECTOR), 0, headers * _PER_HEADER)
        tail = Place(*places[2:])
        within(NAME, "oldest sector that counts", tail.sector, 0, self.count - 1, offset=offset + 28)
        one_of(NAME, "form of the items in the log", form, tuple(_ORDERS), offset=offset + 300)
        more = self._sectors(place.sector + 1, headers - 1) if headers > 1 else b""
        packed = self._sectors(place.sector + headers, sectors)
        self._check(crc, raw, more, packed[:length], offset)
        end = place.sector + headers + sectors
        stamps = [place.round + (sector >= self.count) for sector in range(end - sectors, end)]
        if stamps != [int.from_bytes(packed[at * SECTOR :][:4], "big") for at in range(sectors)]:
            raise FormatError(NAME, "a record of the log was not written whole", offset=offset)
        data = _unpacked(raw, more, packed)[:length]
        return Record(place, tail, _ORDERS[form], operations, data, end)

    def _check(self, crc: bytes, raw: bytes, more: bytes, data: bytes, offset: int) -> None:
        """Compare the CRC, which older systems and mkfs.xfs leave out."""
        if not any(crc):
            return
        headers = -(-len(data) // _BUFFER) if self._spb.has_log_2 else 1
        rest = b"".join([more[at * SECTOR :][:_MORE_SIZE] for at in range(headers - 1)]) + data
        for size in _HEADER_SIZES:
            head = raw[: _CRC.start] + bytes(4) + raw[_CRC.stop : size]
            if crc32c(head + rest).to_bytes(4, "little") == crc:
                return
        raise ChecksumError(NAME, "the checksum of a record of the log is wrong", offset=offset)


def _unpacked(raw: bytes, more: bytes, packed: bytes) -> bytes:
    """The sectors of a record with their own first bytes, where the number of the round stands."""
    data = bytearray(packed)
    for index in range(len(packed) // SECTOR):
        header, slot = divmod(index, _PER_HEADER)
        source, first = (more, (header - 1) * SECTOR + _ROUNDS_MORE) if header else (raw, _ROUNDS)
        data[index * SECTOR : index * SECTOR + 4] = source[first + 4 * slot :][:4]
    return bytes(data)
