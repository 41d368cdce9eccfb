"""UltraISO's compressed discs (ISZ).

They have zlib, bzip2, stored and empty chunks, in one file or several, perhaps encrypted with AES.

Little endian. Source: EZB Systems' "ISZ File Format Specification"; that its tables are masked, and that the
encryption is AES in ECB mode with the password itself as the key and a chunk's last few bytes in clear, it
does not say: libMirage found out.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping
from itertools import accumulate, cycle
from typing import Any, Final

from construct import Const, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from imgmount.codecs import bzip2
from imgmount.codecs.deflate import inflate
from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parse_header, within
from imgmount.core.slices import Concat, Slice
from imgmount.errors import FormatError, PasswordRequiredError, UnsupportedError, WrongPasswordError

_HEADER = Struct(                  # offset
    "magic" / Const(b"IsZ!"),      # 0x00
    "header_size" / Int8ul,        # 0x04  48, or 64 with checksums of an unknown algorithm
    "version" / Int8ul,            # 0x05
    "serial" / Int32ul,            # 0x06
    "sector_size" / Int16ul,       # 0x0A
    "sectors" / Int32ul,           # 0x0C
    "encryption" / Int8ul,         # 0x10
    "segment_size" / Int64ul,      # 0x11
    "blocks" / Int32ul,            # 0x19
    "block_size" / Int32ul,        # 0x1D
    "pointer_size" / Int8ul,       # 0x21
    "segment" / Int8ul,            # 0x22
    "pointers_offset" / Int32ul,   # 0x23  0: every chunk is stored
    "segments_offset" / Int32ul,   # 0x27  0: one segment
    "data_offset" / Int32ul,       # 0x2B
    "reserved" / Int8ul,           # 0x2F
)  # fmt: skip
HEADER_SIZE: Final = 48
_SEGMENT = Struct(
    "size" / Int64ul, "chunks" / Int32ul, "first" / Int32ul, "offset" / Int32ul, "left" / Int32ul
)
SEGMENT_SIZE: Final = 24
MASK: Final = bytes(~value & 255 for value in b"IsZ!")  # of both tables
MAX_SEGMENTS: Final = 100
MAX_BLOCKS: Final = 1 << 22
MAX_BLOCK: Final = 1 << 24
ZERO, STORED, ZLIB, BZIP2 = range(4)  # the two top bits of a chunk pointer
KEY_SIZES: Final = {2: 16, 3: 24, 4: 32}  # encryption -> bytes
AES_BLOCK: Final = 16
_PART: Final = re.compile(r"(.*\.part)(\d+)(\.isz)", re.IGNORECASE)


class IszDevice(ChunkedDevice):
    """The disc in an ISZ file and its further segments."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        header = parse_header(_HEADER, file, 0, "isz", "the header")
        size = header.sectors * header.sector_size
        within("isz", "chunk size", header.block_size, 1, MAX_BLOCK, offset=0x1D)
        within("isz", "number of chunks", header.blocks, 1, MAX_BLOCKS, offset=0x19)
        if header.blocks != -(-size // header.block_size):
            needed = -(-size // header.block_size)
            raise FormatError(
                "isz", f"{header.blocks} chunks, {needed} are needed for {size} bytes", offset=0x19
            )
        if header.encryption not in (0, *KEY_SIZES):
            raise UnsupportedError(
                f"isz: encryption {header.encryption} is not one of {', '.join(map(str, KEY_SIZES))}"
            )
        super().__init__(size, header.block_size, context.cache)
        self._encryption = header.encryption
        self._kinds, self._lengths = self._pointers(file, header)
        stored = [length if kind else 0 for kind, length in zip(self._kinds, self._lengths, strict=True)]
        self._starts = array("Q", accumulate(stored, initial=0))
        self._data = _segments(file, header, context)
        if self._starts[-1] > self._data.size:
            raise FormatError(
                "isz",
                f"the segments hold {self._data.size} bytes of chunks, the pointers {self._starts[-1]}",
                offset=header.data_offset,
            )
        self._cipher = _cipher(header.encryption, context.options.password) if header.encryption else None
        if self._cipher:
            self._try_password()

    def _pointers(self, file: BlockDevice, header: Any) -> tuple[bytes, array[int]]:
        """(type, length) of every chunk."""
        count, width = header.blocks, header.pointer_size
        if not header.pointers_offset:
            tail = self.size - (count - 1) * self.block_size
            return bytes([STORED]) * count, array("I", [*[self.block_size] * (count - 1), tail])
        if not 1 <= width <= 4:
            raise FormatError("isz", f"chunk pointers of {width} bytes", offset=0x21)
        raw = _unmasked(file.read_exactly(header.pointers_offset, count * width, "isz"))
        words = bytearray(4 * count)
        for byte in range(width):
            words[byte::4] = raw[byte::width]
        values = table(bytes(words), 4, "little")
        shift = 8 * width - 2
        mask = (1 << shift) - 1
        return bytes([value >> shift for value in values]), array("I", [value & mask for value in values])

    def _read_chunk(self, index: int) -> Content:
        size = min(self.block_size, self.size - index * self.block_size)
        kind, length = self._kinds[index], self._lengths[index]
        if kind == ZERO:
            return bytes(size)
        if length > 2 * self.block_size + AES_BLOCK:
            raise FormatError("isz", f"chunk {index} is stored in {length} bytes, more than it can take")
        data = self._data.read_exactly(self._starts[index], length, "isz")
        if self._cipher:
            data = self._cipher(data)
        try:
            return self._decoded(kind, data, size)
        except FormatError as exc:
            raise FormatError("isz", f"chunk {index}: {exc.reason}", offset=self._starts[index]) from exc

    def _decoded(self, kind: int, data: bytes, size: int) -> Content:
        if kind == ZLIB:
            return inflate(data, size, wrapper="zlib")
        if kind == BZIP2:
            return bzip2.decode(b"BZh" + data[3:], size)  # the magic is overwritten
        if len(data) < size:
            raise FormatError("isz", f"{len(data)} bytes are stored, not {size}")
        return data[:size]

    def _try_password(self) -> None:
        """A wrong key shows in the first chunk that is compressed."""
        coded = next((index for index, kind in enumerate(self._kinds) if kind in (ZLIB, BZIP2)), None)
        if coded is None:
            return
        try:
            self._read_chunk(coded)
        except FormatError as exc:
            raise WrongPasswordError("isz: the password is wrong, or the image damaged") from exc

    def info(self) -> Mapping[str, str]:
        kinds = {
            name: self._kinds.count(kind) for kind, name in enumerate(("empty", "stored", "zlib", "bzip2"))
        }
        counts = ", ".join(f"{count} {name}" for name, count in kinds.items() if count)
        secret = {"encryption": f"AES-{8 * KEY_SIZES[self._encryption]}"} if self._encryption else {}
        return {"chunks": f"{len(self._kinds)} of {self.block_size} bytes: {counts}", **secret}


def _unmasked(data: bytes) -> bytes:
    mask = int.from_bytes((MASK * (len(data) // 4 + 1))[: len(data)], "little")
    return (int.from_bytes(data, "little") ^ mask).to_bytes(len(data), "little")


def _segments(file: BlockDevice, header: Any, context: Context) -> BlockDevice:
    """The stored chunks in a row.

    A chunk may go on in the next segment, before that one's own first chunk.
    """
    if not header.segments_offset:
        return Slice(file, header.data_offset, max(0, file.size - header.data_offset))
    parts: list[BlockDevice] = []
    left = 0
    for number, (size, start, rest) in enumerate(_segment_table(file, header.segments_offset)):
        part = file if number == 0 else context.siblings.open(_segment_name(context.path.name, number))
        first = start - left
        if not 0 < first <= size <= part.size:
            raise FormatError(
                "isz",
                f"segment {number + 1} of {part.size:#x} bytes has its chunks from {first:#x} to {size:#x}",
            )
        parts.append(Slice(part, first, size - first))
        left = rest
    return Concat.of(parts)


def _segment_table(file: BlockDevice, offset: int) -> Iterator[tuple[int, int, int]]:
    """The segments, up to an empty entry.

    Each is (size of the file, offset of its first chunk, bytes of its last chunk in the next file).
    """
    for number in range(MAX_SEGMENTS):
        at = offset + number * SEGMENT_SIZE
        raw = file.read_exactly(at, SEGMENT_SIZE, "isz")
        entry = _SEGMENT.parse(bytes(value ^ mask for value, mask in zip(raw, cycle(MASK), strict=False)))
        if not entry.size:
            return
        yield entry.size, entry.offset, entry.left
    raise FormatError("isz", f"more than {MAX_SEGMENTS} segments", offset=offset)


def _segment_name(name: str, number: int) -> str:
    """``x.part02.isz`` after ``x.part01.isz``, else ``x.i01`` after ``x.isz``."""
    if part := _PART.fullmatch(name):
        stem, digits, suffix = part.groups()
        return f"{stem}{number + 1:0{len(digits)}}{suffix}"
    return f"{name.rpartition('.')[0] or name}.i{number:02}"


def _cipher(encryption: int, password: str | None) -> Any:
    """What deciphers a chunk. Raises ``KeyRequiredError``, ``UnsupportedError``."""
    if password is None:
        raise PasswordRequiredError("isz: the image is encrypted")
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as exc:
        raise UnsupportedError(
            "isz: the image is encrypted, which needs AES: pip install imgmount[crypto]"
        ) from exc
    size = KEY_SIZES[encryption]
    key = password.encode()[:size].ljust(size, b"\0")
    cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305  the format's mode

    def decipher(data: bytes) -> bytes:
        whole = len(data) // AES_BLOCK * AES_BLOCK
        return cipher.decryptor().update(data[:whole]) + data[whole:]

    return decipher


FORMAT: Final = ContainerFormat(
    name="isz", title="UltraISO compressed disc", extensions=(".isz",), open=IszDevice
)
