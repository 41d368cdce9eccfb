"""One sparse file: its header and its chunks. Source: AOSP, ``system/core/libsparse/sparse_format.h``."""

from __future__ import annotations

import struct
from array import array
from typing import Final, Self

from imgmount.core.device import BlockDevice
from imgmount.core.header import within
from imgmount.core.slices import ZeroDevice
from imgmount.errors import FormatError, UnsupportedError

MAGIC: Final = 0xED26FF3A
_HEADER = struct.Struct("<IHHHHIIII")
# magic, major, minor, header size, chunk header size, block size, blocks, chunks, CRC-32 (0: none)
_CHUNK = struct.Struct("<HHII")  # type, reserved, blocks, bytes with this header
HEADER_SIZE: Final = 28
RAW, FILL, DONT_CARE, CRC32 = range(0xCAC1, 0xCAC5)
FILL_SIZE: Final = 4
MAX_HEADER: Final = 4096
MAX_CHUNKS: Final = 1 << 17
MAX_BLOCK: Final = 1 << 28
WINDOW: Final = 64 << 10  # of the file, held while chunks are followed


class Part:
    """A sparse file's runs: data in the file at ``places``, or words, which stand in ``places``.

    Bytes outside of all runs are zeros.

    ``first`` and ``end`` bound the bytes that are not "don't care"; ``stored`` is the part's end in the file.
    """

    def __init__(self, file: BlockDevice, offset: int = 0) -> None:
        self.file = file
        self.starts, self.lengths, self.places = array("Q"), array("Q"), array("Q")
        self.kinds = array("H")
        self.empty = 0
        self.checksums: list[tuple[int, int]] = []  # (end of what is covered, CRC-32)
        header = _HEADER.unpack(file.read_exactly(offset, HEADER_SIZE, "simg"))
        magic, major, minor, size, self._head, self.block_size, self.blocks, chunks, crc = header
        if magic != MAGIC:
            raise FormatError("simg", "no sparse image begins here", offset=offset)
        if major != 1:
            raise UnsupportedError(f"simg: version {major}.{minor}")
        within("simg", "block size", self.block_size, FILL_SIZE, MAX_BLOCK, multiple_of=4, offset=offset + 12)
        within("simg", "header size", size, HEADER_SIZE, MAX_HEADER, offset=offset + 8)
        within("simg", "size of chunk headers", self._head, _CHUNK.size, MAX_HEADER, offset=offset + 10)
        within("simg", "number of chunks", chunks, 0, MAX_CHUNKS, offset=offset + 20)
        self.size = self.blocks * self.block_size
        self.first = self.end = -1
        self.stored = offset + size
        end = self._read_chunks(chunks)
        if end != self.size:
            reason = f"its chunks make {end} bytes, its header says {self.size}"
            raise FormatError("simg", reason, offset=offset + 16)
        self.first, self.end = (0, 0) if self.first < 0 else (self.first, self.end)
        if crc:
            self.checksums.append((self.size, crc))

    @classmethod
    def of_data(cls, start: int, size: int) -> Self:
        """A part with one run of data, at the start of its file."""
        part = cls.__new__(cls)
        part.file = ZeroDevice(0)
        part.starts, part.lengths, part.places = array("Q", [start]), array("Q", [size]), array("Q", [0])
        part.kinds = array("H", [RAW])
        return part

    def columns(self) -> tuple[array[int], array[int], array[int], array[int]]:
        """Starts, lengths, places and kinds of the runs."""
        return self.starts, self.lengths, self.places, self.kinds

    def _read_chunks(self, count: int) -> int:
        """Read the chunks' headers; the size of the image that they make."""
        file, head, block, size = self.file, self._head, self.block_size, self.size
        window, base, offset, start = b"", 0, self.stored, 0
        for index in range(count):
            at = offset - base
            if not 0 <= at <= len(window) - head - FILL_SIZE:
                window, base, at = file.pread(offset, WINDOW + MAX_HEADER), offset, 0
            if len(window) - at < head:
                raise FormatError("simg", f"the file ends before chunk {index} of {count}", offset=offset)
            kind, _, blocks, total = _CHUNK.unpack_from(window, at)
            length = blocks * block
            wanted = length if kind == RAW else 0 if kind == DONT_CARE else FILL_SIZE
            if not RAW <= kind <= CRC32:
                raise FormatError(
                    "simg", f"chunk {index} is of type {kind:#x}, not {RAW:#x} to {CRC32:#x}", offset=offset
                )
            if total != head + wanted:
                reason = f"chunk {index} has {total} bytes for {blocks} blocks, not {head + wanted}"
                raise FormatError("simg", reason, offset=offset)
            if kind != CRC32 and start + length > size:
                raise FormatError(
                    "simg", f"chunk {index} ends beyond the {size} bytes of the image", offset=offset
                )
            if kind == RAW:
                self._add(start, length, RAW, offset + head)
            elif kind == DONT_CARE:
                self.empty += 1
            else:
                length = self._add_word(kind, start, length, window[at + head : at + head + FILL_SIZE])
            start += length
            offset += total
        self.stored = offset
        return start

    def _add_word(self, kind: int, start: int, length: int, data: bytes) -> int:
        """Add a repeated word or a checksum; how many bytes of the image it makes."""
        if len(data) < FILL_SIZE:
            raise FormatError("simg", f"the file ends inside its last chunk, {self.file.size:#x}")
        word = int.from_bytes(data, "little")
        if kind == CRC32:
            self.checksums.append((start, word))
            return 0
        self._add(start, length, FILL, word)
        return length

    def _add(self, start: int, length: int, kind: int, place: int) -> None:
        if not length:
            return
        if self.first < 0:
            self.first = start
        self.end = start + length
        if kind == FILL and not place:
            self.empty += 1
            return
        if kind == FILL and self._is_same(start, place):
            self.lengths[-1] += length
            return
        self.starts.append(start)
        self.lengths.append(length)
        self.kinds.append(kind)
        self.places.append(place)

    def _is_same(self, start: int, word: int) -> bool:
        """Whether the last run is of ``word`` as well and ends at ``start``."""
        if not self.kinds or self.kinds[-1] != FILL or self.places[-1] != word:
            return False
        return self.starts[-1] + self.lengths[-1] == start
