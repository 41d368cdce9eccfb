"""Files that Windows compressed as a whole (WOF): XPRESS or LZX in a stream of their own.

Source: [MS-FSCC] 2.1.2 (the tag) and FILE_PROVIDER_EXTERNAL_INFO_V1 in Microsoft's documentation; the stream
is laid out as a compressed resource of a WIM ("Windows Imaging File Format", compressed resources).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from imgmount.core.cache import Content, ReadCache
from imgmount.core.device import BlockDevice, GroupedDevice
from imgmount.core.fields import table
from imgmount.errors import FormatError, UnsupportedError
from imgmount.families.windows.reparse import Point
from imgmount.filesystems.ntfs.boot import NAME

STREAM: Final = "WofCompressedData"
_POINT: Final = Struct("<II")  # version, provider
_FILE: Final = Struct("<8xII")  # behind it: version, algorithm
WIM, FILE = 1, 2  # providers
LZX: Final = 1
CHUNKS: Final = {0: 4096, LZX: 32768, 2: 8192, 3: 16384}  # by algorithm
WIDE: Final = 1 << 32  # bytes of a file from which on offsets have eight bytes
MAX_CHUNKS: Final = 1 << 22  # 16 GiB of the smallest


def algorithm(point: Point) -> int:
    """How the file behind ``point`` is compressed.

    Raises ``UnsupportedError`` where its content is elsewhere.
    """
    if len(point.data) < _POINT.size:
        raise FormatError(NAME, f"a WOF reparse point of {len(point.data)} bytes")
    _, provider = _POINT.unpack_from(point.data)
    if provider == WIM:
        raise UnsupportedError(f"{NAME}: a file whose content is in a WIM")
    if provider != FILE or len(point.data) < _FILE.size:
        raise UnsupportedError(f"{NAME}: a file of the overlay provider {provider}")
    found: int = _FILE.unpack_from(point.data)[1]
    if found not in CHUNKS:
        raise UnsupportedError(f"{NAME}: a file compressed by algorithm {found} of WOF, 0 to 3 are known")
    return found


class WofDevice(GroupedDevice):
    """A file of ``size`` bytes; its chunks are in ``stored``, behind a table of where each begins."""

    def __init__(self, stored: BlockDevice, size: int, method: int, cache: ReadCache) -> None:
        super().__init__(size, CHUNKS[method], cache)
        if self.units > MAX_CHUNKS:
            raise UnsupportedError(f"{NAME}: a file compressed by WOF of {size} bytes")
        width = 8 if size >= WIDE else 4
        start = (self.units - 1) * width
        self._table = table(stored.read_exactly(0, start, NAME), 8 if width == 8 else 4, "little")
        self._first = start
        self._stored = stored
        from imgmount.codecs import lzx, xpress  # few volumes have such files

        self._decode: Callable[[bytes, int], Content] = (
            (lambda data, size: lzx.decompress(data, size, CHUNKS[LZX]))
            if method == LZX
            else xpress.decompress
        )

    def _start(self, index: int) -> int:
        """Where chunk ``index`` begins in the stream, or behind the last where it ends."""
        if index == self.units:
            return self._stored.size
        return self._first + (self._table[index - 1] if index else 0)

    def _read_units(self, first: int, count: int) -> Content:
        begin, end = self._start(first), self._start(first + count)
        if not begin <= end <= self._stored.size:
            raise FormatError(
                NAME, f"chunks of a WOF file from {begin:#x} to {end:#x} of {self._stored.size:#x}"
            )
        if end - begin > count * self.unit:
            raise FormatError(NAME, f"{count} chunks of a WOF file in {end - begin} bytes")
        data = self._stored.read_exactly(begin, end - begin, NAME)
        return b"".join([self._unit(index, data, begin) for index in range(first, first + count)])

    def _unit(self, index: int, data: bytes, begin: int) -> Content:
        """One chunk, which is stored as it is where it has become no smaller."""
        start, stop = self._start(index) - begin, self._start(index + 1) - begin
        size = self.unit_size(index)
        if not 0 <= start < stop <= len(data) or stop - start > size:
            raise FormatError(
                NAME, f"chunk {index} of a WOF file in {stop - start} bytes, {size} at most are right"
            )
        return data[start:stop] if stop - start == size else self._decode(data[start:stop], size)
