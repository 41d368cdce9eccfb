"""One block of an .xz file: its header, and where its LZMA2 chunks end.

Source: The .xz File Format 1.2.1, 3 and 5.3.1.

An LZMA decoder may run on over damage and give wrong bytes; at the end of an LZMA2 chunk it must have used
what the chunk's header says, so damage is found there at the latest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import inf
from typing import Final, NamedTuple

from imgmount.codecs.lzma import MEMORY_LIMIT, lzma2_filter
from imgmount.core.device import BlockDevice
from imgmount.core.header import short
from imgmount.errors import FormatError, UnsupportedError

MAX_HEADER: Final = 1024
LZMA2: Final = 0x21
HAS_STORED_SIZE: Final = 0x40  # block flags
HAS_DECODED_SIZE: Final = 0x80
CHECK_SIZES: Final = (0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64)  # by type (2.1.1.2)
COPIED: Final = (1, 2)  # control bytes of LZMA2 chunks that are not compressed
COMPRESSED: Final = 0x80  # and above: LZMA
NEW_PROPERTIES: Final = 0xC0  # and above: a byte of properties follows the sizes
HEAD: Final = 6  # of a chunk; one that is not compressed has 3, and a byte of data at least
WINDOW: Final = 4096
DECODER: Final = 64 << 10  # bytes besides the dictionary


def variable_length(data: bytes, at: int, offset: int) -> tuple[int, int]:
    """(the multibyte integer at ``at`` of ``data``, where it ends). 1.2. ``data`` lies at ``offset``."""
    value = 0
    for shift, byte in enumerate(data[at : at + 9]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    raise FormatError("xz", "a number does not end within 9 bytes", offset=offset + at)


def parse_header(file: BlockDevice, offset: int) -> tuple[int, int]:
    """(size of the header, size of the dictionary) of the block at ``offset`` (3.1).

    Raises ``FormatError``, ``UnsupportedError`` for a dictionary that is too large.
    """
    data = file.pread(offset, MAX_HEADER)
    if len(data) < 8 or not data[0]:
        raise FormatError("xz", "no block begins where the index says", offset=offset)
    size = (data[0] + 1) * 4
    at = 2
    for flag in (HAS_STORED_SIZE, HAS_DECODED_SIZE):
        if data[1] & flag:
            at = variable_length(data, at, offset)[1]
    dictionary = 0
    for _ in range((data[1] & 3) + 1):
        kind, at = variable_length(data, at, offset)
        length, at = variable_length(data, at, offset)
        if kind == LZMA2 and at < len(data):
            dictionary = lzma2_filter(data[at])["dict_size"]
        at += length
    if at > size - 4:
        raise FormatError("xz", f"a block's header of {size} bytes ends inside its filters", offset=offset)
    if dictionary > MEMORY_LIMIT:
        raise UnsupportedError(
            f"xz: a dictionary of {short(dictionary)}: decoders are given {short(MEMORY_LIMIT)} at most"
        )
    return size, dictionary


class ChunkEnds:
    """Iterates over the LZMA2 chunks from ``start`` to ``end`` of the file: the decoded size after each.

    5.3.1. ``stored`` is where the last one ends in the file. ``sure`` is the decoded size before the first
    chunk that is not compressed: damage in it changes nothing that a decoder checks.
    """

    def __init__(self, file: BlockDevice, start: int, end: int) -> None:
        self._file = file
        self._end = end
        self._window, self._base = b"", start
        self.stored = start
        self.decoded = 0
        self.sure: float = inf

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        head = self._head()
        if len(head) == HEAD and head[0] in COPIED:
            self.sure = min(self.sure, self.decoded)
            size = int.from_bytes(head[1:3], "big") + 1
            self.stored += 3 + size
        elif len(head) == HEAD and head[0] >= COMPRESSED:
            size = ((head[0] & 0x1F) << 16 | int.from_bytes(head[1:3], "big")) + 1
            self.stored += 5 + (head[0] >= NEW_PROPERTIES) + int.from_bytes(head[3:5], "big") + 1
        else:
            raise StopIteration
        self.decoded += size
        return self.decoded

    def _head(self) -> bytes:
        """The header of the next chunk; short where there is none."""
        at = self.stored - self._base
        if not 0 <= at <= len(self._window) - HEAD:
            self._window, self._base, at = self._file.pread(self.stored, WINDOW), self.stored, 0
        return self._window[at : at + HEAD] if self.stored < self._end else b""


class FoundBlock(NamedTuple):
    """A block that was found without the index; ``whole`` is False where its end was not found."""

    size: int
    decoded: int
    whole: bool


def find_blocks(file: BlockDevice, offset: int, check: int) -> Iterator[FoundBlock]:
    """The blocks from ``offset`` to the index or the end of the file; a checksum has ``check`` bytes."""
    while file.pread(offset, 1).strip(b"\0"):
        chunks = ChunkEnds(file, offset + parse_header(file, offset)[0], file.size)
        deque(chunks, maxlen=0)
        size = chunks.stored + 1 - offset
        size += -size % 4 + check
        whole = file.pread(chunks.stored, 1) == b"\0" and offset + size <= file.size
        yield FoundBlock(size if whole else file.size - offset, chunks.decoded, whole)
        if not whole:
            return
        offset += size
