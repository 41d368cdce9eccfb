"""PowerISO's and gBurner's discs (DAA, GBI), formats 0x100 and 0x110.

They have deflate, LZMA and stored chunks, in one file or in volumes.

Little endian. Nothing official describes it; what is known was found by Luigi Auriemma (daa2iso) and the
authors of libMirage, and confirmed by the reader in xxfclib, which is MIT-licensed. Encryption is refused by
name.
"""

from __future__ import annotations

import lzma
import re
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from construct import Bytes, Int8ul, Int32ul, Int64ul, Struct

from imgmount.codecs.deflate import inflate
from imgmount.codecs.deflateblocks import inflate_exchanged
from imgmount.codecs.lzma import decode_raw, lzma1_filter
from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parse_header, within
from imgmount.core.slices import Concat, Slice
from imgmount.errors import ChecksumError, FormatError, UnsupportedError

_HEADER = Struct(               # offset
    "magic" / Bytes(16),        # 0x00
    "table_offset" / Int32ul,   # 0x10
    "version" / Int32ul,        # 0x14
    "data_offset" / Int32ul,    # 0x18  low 24 bits in version 0x110
    "one" / Int32ul,            # 0x1C
    "zero" / Int32ul,           # 0x20
    "chunk_size" / Int32ul,     # 0x24  low 12 bits, in 16 KiB, in version 0x110, and flags
    "size" / Int64ul,           # 0x28  of the disc
    "file_size" / Int64ul,      # 0x30
    "profile" / Int8ul,         # 0x38  from here on version 0x110
    "packed_table" / Int32ul,   # 0x39  bytes
    "widths" / Int8ul,          # 0x3D  bits of a type and of a length in the table
    "filter" / Int8ul,          # 0x3E
    "lzma" / Bytes(5),          # 0x3F
    "reserved" / Bytes(4),      # 0x44
    "crc" / Int32ul,            # 0x48
)  # fmt: skip
HEADER_SIZE: Final = 76
VOLUME_HEADER_SIZE: Final = 40  # signature, u32 offset of the data, 16 bytes, CRC-32
MAGICS: Final = {b"DAA": b"DAA VOL", b"GBI": b"GBI VOL"}
PLAIN, PACKED = 0x100, 0x110
MAX_CHUNK: Final = 1 << 24
MAX_CHUNKS: Final = 1 << 22
MAX_VOLUMES: Final = 512
MAX_DESCRIPTORS: Final = 64
SPLIT, ENCRYPTION = 2, 3  # descriptors
LENGTH_BIAS: Final = 5  # of a length in version 0x110: the LZMA properties that are not there
LZMA, DEFLATE, STORED = 0, 1, -1
X86: Final = 1

# Flags in the chunk size of version 0x110
TABLE_PACKED: Final = 0x4000
BITS_MASKED: Final = 0x20000
UNKNOWN: Final = 0x80000
TABLE_MASKED: Final = 0x8000000
TYPES_SHIFT: Final = 23  # how deflate's block types are written: two bits, the first turned around in GBI
TYPES: Final = (b"\0\1\2", b"\1\2\0", b"\0\2\1", b"\1\0\2")
_BIT_MASKS: Final = b"\x0a\x35\x2d\x3f\x08\x33\x09\x15"

# size of a split descriptor -> how the parts are named
_VOLUME_SIZES: Final = {99: ".part{0:02}", 512: ".part{0:03}", 101: ""}
_PART: Final = re.compile(r"(.*)\.part0*1(\.\w+)", re.IGNORECASE)


class DaaDevice(ChunkedDevice):
    """The disc in a DAA or GBI file and its further volumes."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        raw = file.read_exactly(0, HEADER_SIZE, "daa")
        header = parse_header(_HEADER, file, 0, "daa", "the header")
        self._magic = header.magic.rstrip(b"\0")
        if self._magic in MAGICS.values():
            raise UnsupportedError("daa: this is a later volume; open the first one")
        if self._magic not in MAGICS:
            raise FormatError("daa", "the file does not begin with DAA or GBI", offset=0)
        if header.version not in (PLAIN, PACKED):
            raise UnsupportedError(f"daa: version {header.version:#x} is not {PLAIN:#x} or {PACKED:#x}")
        if zlib.crc32(raw[:-4]) != header.crc:
            raise ChecksumError("daa", "the header's CRC-32 is wrong", offset=0x48)
        packed = header.version == PACKED
        chunk = (header.chunk_size & 0xFFF) << 14 if packed else header.chunk_size
        within("daa", "chunk size", chunk, 1, MAX_CHUNK, offset=0x24)
        count = within("daa", "number of chunks", -(-header.size // chunk), 1, MAX_CHUNKS, offset=0x28)
        super().__init__(header.size, chunk, context.cache)
        self._header = header
        self._types = TYPES[(header.chunk_size >> TYPES_SHIFT & 3) ^ (self._magic == b"GBI") if packed else 0]
        self._data = self._volumes(file, context)
        self._kinds, lengths = self._table(file, count)
        self._starts = array("Q", accumulate(lengths, initial=0))
        if self._starts[-1] > self._data.size:
            raise FormatError(
                "daa",
                f"the volumes hold {self._data.size} bytes of chunks, the table has {self._starts[-1]}",
                offset=0x10,
            )

    def _table(self, file: BlockDevice, count: int) -> tuple[Sequence[int], list[int]]:
        """(type, stored length) of every chunk."""
        header = self._header
        end = header.data_offset & 0xFFFFFF if header.version == PACKED else header.data_offset
        if not HEADER_SIZE <= header.table_offset <= end <= file.size:
            raise FormatError(
                "daa",
                f"chunk table from {header.table_offset:#x} to {end:#x} is not in the file",
                offset=0x10,
            )
        if header.version == PLAIN:
            table = self._unmasked(file.read_exactly(header.table_offset, end - header.table_offset, "daa"))
            if len(table) < 3 * count:
                raise FormatError(
                    "daa",
                    f"chunk table of {len(table)} bytes, {3 * count} needed for {count} chunks",
                    offset=header.table_offset,
                )
            threes = zip(table[0 : 3 * count : 3], table[1::3], table[2::3], strict=False)
            return [DEFLATE] * count, [high << 16 | middle << 8 | low for high, low, middle in threes]
        return self._packed_table(
            file.read_exactly(header.table_offset, end - header.table_offset, "daa"), count
        )

    def _packed_table(self, table: bytes, count: int) -> tuple[Sequence[int], list[int]]:
        header = self._header
        if header.chunk_size & (UNKNOWN | TABLE_PACKED):
            raise UnsupportedError("daa: packed chunk table, of a kind that is not read")
        type_bits, length_bits = header.widths & 7, header.widths >> 3
        length_bits = (
            length_bits + 10 if length_bits else max(1, (self.block_size // (type_bits + 1)).bit_length())
        )
        width = type_bits + length_bits
        table = self._unmasked(table)
        if width * count > 8 * len(table):
            raise FormatError("daa", f"chunk table of {len(table)} bytes", offset=header.table_offset)
        kinds, lengths = [], []
        for number in range(count):
            first, skip = divmod(number * width, 8)
            entry = int.from_bytes(table[first : first + 8], "little") >> skip
            length, kind = entry & ((1 << length_bits) - 1), entry >> length_bits & ((1 << type_bits) - 1)
            if header.chunk_size & BITS_MASKED:
                mask = ((number ^ _BIT_MASKS[number & 7]) & 0xFF) * 0x01010101
                length, kind = length ^ mask & ((1 << length_bits) - 1), kind ^ mask & ((1 << type_bits) - 1)
            length += LENGTH_BIAS
            lengths.append(length)
            kinds.append(STORED if length >= self.block_size else kind)
        return kinds, lengths

    def _unmasked(self, table: bytes) -> bytes:
        header = self._header
        if self._magic == b"GBI":
            mask = len(table) >> 2 & 0xFF
            table = bytes([(value - header.crc & 0xFF) ^ mask for value in table])
        if header.version == PACKED and header.chunk_size & TABLE_MASKED:
            sectors = header.size // 2048
            table = bytes(
                [value - sectors - index * (sectors >> 8) & 0xFF for index, value in enumerate(table)]
            )
        return table

    def _volumes(self, file: BlockDevice, context: Context) -> BlockDevice:
        """The stored chunks of all volumes in a row."""
        header = self._header
        first = header.data_offset & 0xFFFFFF if header.version == PACKED else header.data_offset
        parts: list[BlockDevice] = [Slice(file, first, max(0, file.size - first))]
        for kind, data in _descriptors(file, header.table_offset):
            if kind == ENCRYPTION:
                raise UnsupportedError("daa: encrypted images are not supported")
            if kind == SPLIT:
                parts += [
                    self._volume(context.siblings.open(name))
                    for name in _volume_names(context.path.name, data)
                ]
        return Concat.of(parts)

    def _volume(self, volume: BlockDevice) -> BlockDevice:
        head = volume.read_exactly(0, VOLUME_HEADER_SIZE, "daa")
        first = int.from_bytes(head[16:20], "little") & 0xFFFFFF
        if head[:16].rstrip(b"\0") != MAGICS[self._magic] or first > volume.size:
            raise FormatError("daa", "a volume has no header of a later volume, or one of another image")
        return Slice(volume, first, volume.size - first)

    def _read_chunk(self, index: int) -> Content:
        size = min(self.block_size, self.size - index * self.block_size)
        start, end = self._starts[index], self._starts[index + 1]
        if end - start > 2 * self.block_size + LENGTH_BIAS:
            raise FormatError("daa", f"chunk {index} is stored in {end - start} bytes, more than it can take")
        data = self._data.read_exactly(start, end - start, "daa")
        try:
            return self._decoded(self._kinds[index], data, size)
        except FormatError as exc:
            raise FormatError("daa", f"chunk {index}: {exc.reason}", offset=start) from exc

    def _decoded(self, kind: int, data: bytes, size: int) -> Content:
        if kind == STORED:
            return data[:size]
        if kind == LZMA:
            chunk = decode_raw(data, size, lzma1_filter(self._header.lzma))
            return _x86(chunk) if self._header.filter == X86 else chunk
        if kind != DEFLATE:
            raise UnsupportedError(f"daa: compression {kind} is not stored, deflate or LZMA")
        return inflate(data, size) if self._types == TYPES[0] else inflate_exchanged(data, size, self._types)

    def info(self) -> Mapping[str, str]:
        names = {LZMA: "LZMA", DEFLATE: "deflate", STORED: "stored"}
        counts = ", ".join(
            f"{self._kinds.count(kind)} {names.get(kind, kind)}" for kind in sorted(set(self._kinds))
        )
        return {
            "version": hex(self._header.version),
            "chunks": f"{len(self._kinds)} of {self.block_size} bytes: {counts}",
        }


def _descriptors(file: BlockDevice, end: int) -> Iterator[tuple[int, bytes]]:
    """(type, content) of what lies between the header and the chunk table."""
    at = HEADER_SIZE
    for _ in range(MAX_DESCRIPTORS):
        if at >= end:
            return
        kind, length = (int.from_bytes(file.read_exactly(at + skip, 4, "daa"), "little") for skip in (0, 4))
        if not 8 <= length <= end - at:
            raise FormatError(
                "daa",
                f"a descriptor of {length} bytes is shorter than its own head or leaves the file",
                offset=at,
            )
        yield kind, file.read_exactly(at + 8, length - 8, "daa")
        at += length
    raise FormatError("daa", f"more than {MAX_DESCRIPTORS} descriptors", offset=at)


def _volume_names(name: str, descriptor: bytes) -> list[str]:
    """The volumes after the first: ``x.part02.daa``, ``x.part002.daa`` or ``x.d00``."""
    count, sizes = int.from_bytes(descriptor[:4], "little"), max(0, len(descriptor) - 8) // 5
    if sizes not in _VOLUME_SIZES or not 0 < count <= MAX_VOLUMES:
        raise FormatError(
            "daa", f"{count} volumes with names of kind {sizes} are not what a descriptor of volumes may say"
        )
    part = _PART.fullmatch(name)
    if (pattern := _VOLUME_SIZES[sizes]) and part:
        return [f"{part[1]}{pattern.format(number)}{part[2]}" for number in range(2, count + 1)]
    return [f"{name[:-2]}{number:02}" for number in range(count - 1)]


def _x86(data: bytes) -> bytes:
    """The x86 filter undone. liblzma does that only on its way out of another codec: LZMA2 that stores."""
    stored = [
        b"\x01" + (len(data[at : at + 0x10000]) - 1).to_bytes(2, "big") + data[at : at + 0x10000]
        for at in range(0, len(data), 0x10000)
    ]
    filters: list[dict[str, Any]] = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(b"".join([*stored, b"\0"]))


FORMAT: Final = ContainerFormat(
    name="daa",
    title="PowerISO or gBurner disc",
    extensions=(".daa", ".gbi"),
    checks="CRC-32 of the header",
    open=DaaDevice,
    limits="no encryption",
)
