"""The disc inside a WIA or RVZ file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from imgmount.containers.nintendo.wia import codec
from imgmount.containers.nintendo.wia.groups import EncryptedPart, GroupTable, PartRange, RawRange
from imgmount.containers.nintendo.wia.header import (
    DISC_TYPES,
    HASH_GROUP,
    RAW,
    SECTOR,
    Header,
    Range,
    read_header,
    read_raws,
)
from imgmount.containers.nintendo.wia.large import LargePart, LargeRaw
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import Context
from imgmount.core.slices import Concat, MemoryDevice
from imgmount.errors import FormatError

GROUP_SIZE: Final = {"wia": 8, "rvz": 12}


class WiaDevice(MappedDevice):
    """The disc. It is made of ranges; what lies in none of them is zero."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._file = file
        self._context = context
        self.header = header = read_header(file)
        self.size = header.disc_size
        decode = codec.decoder(
            header.fmt, "none" if header.compression == "purge" else header.compression, header.extra
        )
        fields = header.fields
        raws = self._table(decode, fields.raws_at, fields.raws_size, fields.raws * RAW.size)
        groups = self._table(
            decode, fields.groups_at, fields.groups_size, fields.groups * GROUP_SIZE[header.fmt]
        )
        self._groups = GroupTable(file, header, groups)
        pieces: list[tuple[int, BlockDevice]] = []
        self._parts: dict[int, BlockDevice] = {}
        for key, *ranges in header.parts:
            self._add_part(pieces, key, ranges)
        raw = LargeRaw if self._groups.is_large else RawRange
        pieces += [(entry[0], raw(self._groups, entry, context.cache)) for entry in read_raws(raws)]
        self._disc = _assemble(header, pieces)

    def _table(self, decode: codec.Decoder, offset: int, stored: int, size: int) -> bytes:
        fmt = self.header.fmt
        if not size:
            return b""
        if stored > 2 * size + SECTOR:
            raise FormatError(fmt, f"a table of {size} bytes stored in {stored}", offset=offset)
        raw = self._file.read_exactly(offset, stored, fmt)
        data = codec.purge(fmt, b"", raw, size) if self.header.compression == "purge" else decode(raw, size)
        if len(data) != size:
            raise FormatError(fmt, f"a table of {len(data)} bytes, {size} expected", offset=offset)
        return bytes(data)

    def _add_part(self, pieces: list[tuple[int, BlockDevice]], key: bytes, ranges: list[Range]) -> None:
        used = [one for one in ranges if one.sectors]
        if not used:
            return
        start = used[0].sector
        if any(one.sector != before.sector + before.sectors for before, one in pairwise(used)):
            raise FormatError(self.header.fmt, "a partition in two places")
        cache = self._context.cache
        kind, chunk = (
            (LargePart, HASH_GROUP) if self._groups.is_large else (PartRange, self.header.chunk_size)
        )
        parts = [kind(self._groups, one, one.sector - start, cache) for one in used]
        self._parts[start * SECTOR] = Concat.of(parts)
        pieces.append((start * SECTOR, EncryptedPart(parts, key, chunk, cache)))

    def wii_data(self, offset: int) -> BlockDevice | None:
        return self._parts.get(offset)

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._disc, offset)

    def info(self) -> Mapping[str, str]:
        header = self.header
        version = ".".join(str(header.version >> shift & 0xFF) for shift in (24, 16, 8))
        return {
            "type": f"{header.fmt.upper()} {version}",
            "disc type": DISC_TYPES.get(header.disc_type, str(header.disc_type)),
            "compression": header.compression
            + (f", level {header.level}" if header.compression != "none" else ""),
            "chunks": f"{len(self._groups)} of {header.chunk_size} bytes",
        }

    def verify(self) -> Iterator[str]:
        """The stated size of the file; headers and tables were checked when it was opened."""
        if self._file.size != self.header.file_size:
            yield f"the file has {self._file.size} bytes, its header says {self.header.file_size}"


def _assemble(header: Header, pieces: list[tuple[int, BlockDevice]]) -> BlockDevice:
    """The disc from (offset, device): the first in the order of the disc wins where two overlap."""
    runs = [Extent(len(header.disc_header), MemoryDevice(header.disc_header))]
    at = len(header.disc_header)
    for offset, device in sorted(pieces, key=_offset):
        end = min(offset + device.size, header.disc_size)
        if offset > at:
            runs.append(Extent(offset - at))
            at = offset
        if end > at:
            runs.append(Extent(end - at, device, at - offset))
            at = end
    if at < header.disc_size:
        runs.append(Extent(header.disc_size - at))
    return Concat(runs)


def _offset(piece: tuple[int, Any]) -> int:
    return piece[0]
