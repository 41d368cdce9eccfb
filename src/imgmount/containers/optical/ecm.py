"""CD images without their error codes (ECM): parity and EDC are computed again when a sector is read.

Four bytes of magic, then records: a number whose low two bits are the type, and what is left of so many bytes
or sectors. There is no index, so one scan at open makes one. Source: format.txt of Neill Corlett's ECM tools.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final

from imgmount.codecs.cdrom import MODE, SYNC, edc, parity
from imgmount.core.checks import Seal
from imgmount.core.device import BlockDevice, Buffer, ChunkedDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.errors import FormatError

MAGIC: Final = b"ECM\0"
LITERAL, MODE1, FORM1, FORM2 = range(4)
# bytes of one unit in the file; of sectors: address or subheader, and data
STORED: Final = (1, 3 + 2048, 4 + 2048, 4 + 2324)
RESTORED: Final = (1, 2352, 2336, 2336)  # and in the image
END: Final = 0xFFFF_FFFF  # a number of units, which ends the records
MAX_NUMBER_BYTES: Final = 5
MAX_RECORDS: Final = 1 << 21  # two for each sector of a mode 2 disc; the largest has 400,000
WINDOW: Final = 8 << 10  # bytes read at a time by the scan
CHUNK: Final = 128 << 10  # restored together

_MODE1_PADDING: Final = bytes(8)
_NO_ADDRESS: Final = bytes(4)  # what parity is computed with in mode 2


class EcmDevice(ChunkedDevice):
    """The image in an ECM file."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        if file.read_exactly(0, len(MAGIC), "ecm") != MAGIC:
            raise FormatError("ecm", "the file does not begin with ECM", offset=0)
        self._file = file
        self._starts = array("Q")  # of each record, in the image
        self._places = array("Q")  # in the file, times 4 plus the type
        size = self._scan()
        super().__init__(size, CHUNK, context.cache)

    def _scan(self) -> int:
        """Fill the index and return the size of the image."""
        window, base, at, size = b"", 0, len(MAGIC), 0
        while True:
            if not base <= at <= base + len(window) - MAX_NUMBER_BYTES:
                base, window = at, self._file.pread(at, WINDOW)
            kind, count, length = _number(window, at - base, at)
            at += length
            if count == END:
                break
            count += 1
            if len(self._starts) >= MAX_RECORDS:
                raise FormatError("ecm", f"more than {MAX_RECORDS} records", offset=at)
            if at + count * STORED[kind] > self._file.size:
                raise FormatError(
                    "ecm",
                    f"{count} units of type {kind} reach past the end of the file at {self._file.size:#x}",
                    offset=at,
                )
            self._starts.append(size)
            self._places.append(at << 2 | kind)
            at += count * STORED[kind]
            size += count * RESTORED[kind]
        self._checksum = int.from_bytes(self._file.read_exactly(at, 4, "ecm"), "little")
        if not size:
            raise FormatError("ecm", "the image has no records", offset=at)
        return size

    def _read_chunk(self, index: int) -> bytes:
        start = index * self.block_size
        end = min(start + self.block_size, self.size)
        record = bisect_right(self._starts, start) - 1
        skip = 0
        sectors = _Sectors()
        position = start
        while position < end:
            first = self._starts[record]
            after = self._starts[record + 1] if record + 1 < len(self._starts) else self.size
            kind = self._places[record] & 3
            unit = (position - first) // RESTORED[kind]
            count = -(-(min(after, end) - first) // RESTORED[kind]) - unit
            if not len(sectors):
                skip = position - first - unit * RESTORED[kind]
            stored = self._file.read_exactly(
                (self._places[record] >> 2) + unit * STORED[kind], count * STORED[kind], "ecm"
            )
            sectors.add(kind, stored)
            position = after
            record += 1
        return sectors.restored()[skip : skip + end - start]

    def verify(self) -> Iterator[Seal]:
        """The EDC of the whole image, which the file ends with."""
        yield Seal("EDC", self._checksum.to_bytes(4, "big"), self, _Edc)

    def info(self) -> Mapping[str, str]:
        return {"records": str(len(self._starts))}


def _number(window: bytes, start: int, offset: int) -> tuple[int, int, int]:
    """(type, number of units less one, bytes taken) of the record head at ``start``.

    ``offset`` is for the error.
    """
    head = window[start : start + MAX_NUMBER_BYTES]
    count, shift = (head[0] if head else 0) >> 2 & 31, 5
    for length, byte in enumerate(head, 1):
        if length > 1:
            count |= (byte & 0x7F) << shift
            shift += 7
        if not byte & 0x80:
            if count > END:
                break
            return head[0] & 3, count, length
    raise FormatError("ecm", "the count of a record has more than 32 bits", offset=offset)


class _Edc:
    """An EDC in the making."""

    def __init__(self) -> None:
        self._edc = 0

    def update(self, data: Buffer, /) -> None:
        self._edc = edc(bytes(data), self._edc)

    def zeros(self, count: int, /) -> None:
        self.update(bytes(count))

    def digest(self) -> bytes:
        return self._edc.to_bytes(4, "big")


class _Sectors:
    """Pieces of an image in order; the parity of all sectors among them is computed at once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._bodies: list[bytes] = []  # what parity is taken over
        self._places: list[int] = []  # pieces that wait for their parity

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, kind: int, stored: bytes) -> None:
        """The stored bytes of whole units of one type."""
        if kind == LITERAL:
            self._pieces.append(stored)
            return
        restore = {MODE1: self._mode1, FORM1: self._form1, FORM2: self._form2}[kind]
        for at in range(0, len(stored), STORED[kind]):
            restore(stored[at : at + STORED[kind]])

    def _mode1(self, stored: bytes) -> None:
        head = SYNC + stored[: MODE - len(SYNC)] + b"\x01" + stored[MODE - len(SYNC) :]
        whole = head + edc(head).to_bytes(4, "little") + _MODE1_PADDING
        self._guarded(whole, whole[len(SYNC) :])

    def _form1(self, stored: bytes) -> None:
        head = stored[:4] + stored
        whole = head + edc(head).to_bytes(4, "little")
        self._guarded(whole, _NO_ADDRESS + whole)

    def _form2(self, stored: bytes) -> None:
        head = stored[:4] + stored
        self._pieces.append(head + edc(head).to_bytes(4, "little"))

    def _guarded(self, whole: bytes, body: bytes) -> None:
        self._places.append(len(self._pieces))
        self._pieces.append(whole)
        self._bodies.append(body)

    def restored(self) -> bytes:
        """Everything, with its parity."""
        for place, codes in zip(self._places, parity(self._bodies) if self._bodies else (), strict=True):
            self._pieces[place] += codes
        return b"".join(self._pieces)


FORMAT: Final = ContainerFormat(
    name="ecm",
    title="CD image without error codes",
    extensions=(".ecm",),
    checks="EDC of the whole image",
    open=EcmDevice,
)
