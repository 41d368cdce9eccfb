"""One namespace of a volume: its directories read and turned into nodes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final, NamedTuple

from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice
from imgmount.core.header import short
from imgmount.core.node import Node
from imgmount.core.slices import Slice
from imgmount.errors import ImageError
from imgmount.filesystems.iso9660 import susp
from imgmount.filesystems.iso9660.descriptors import NAME, SECTOR
from imgmount.filesystems.iso9660.nodes import (
    IsoDirectory,
    IsoFile,
    IsoSpecial,
    IsoSymlink,
    RareFacts,
    RecordBlock,
    RecordNode,
    fail,
    recorded_time,
)
from imgmount.filesystems.iso9660.records import (
    ASSOCIATED,
    DIRECTORY,
    HEADER_SIZE,
    HIGH_SIERRA_RECORD,
    ISO_RECORD,
    MULTI_EXTENT,
    Fields,
    Names,
    identifier,
    records,
    section,
)
from imgmount.filesystems.iso9660.xa import Sectors, XaFile

log = logging.getLogger(__name__)

MAX_DIRECTORY: Final = 64 << 20
MAX_DEPTH: Final = 255
RELOCATION_NAMES: Final = (b"rr_moved", b".rr_moved", b"RR_MOVED")
_ASSOCIATED_PREFIX: Final = "._"  # where macOS looks for what belongs to a file
_TYPE_SHIFT: Final = 4  # of the mode's second byte: the file type
_REGULAR, _SYMLINK, _SPECIAL = 0o10, 0o12, (0o01, 0o02, 0o06, 0o14)  # fifo, character, block, socket


class _Record(NamedTuple):
    """A directory record; ``parts`` are all records of a file of several extents."""

    block: RecordBlock
    at: int
    fields: Fields
    parts: tuple[Fields, ...]


class Tree:
    """The directories below ``root``, with Rock Ridge if ``skip`` (bytes ahead of the fields) is not None."""

    def __init__(
        self,
        device: BlockDevice,
        cache: ReadCache,
        names: Names,
        *,
        block_size: int,
        session_base: int = 0,
        high_sierra: bool = False,
        volume_time: int = 0,
        xa: Sectors | None = None,
    ) -> None:
        self.device = device
        self.cache = cache
        self.names = names
        self.block_size = block_size
        self.high_sierra = high_sierra
        self.layout = HIGH_SIERRA_RECORD if high_sierra else ISO_RECORD
        self.skip: int | None = None
        self.xa = xa
        self._base = session_base
        self._volume_time = volume_time

    def offset(self, block: int) -> int:
        """The byte of the device at which a block begins; negative where it lies before the device."""
        return (block - self._base) * self.block_size

    def slice(self, start: int, size: int) -> Slice:
        """``size`` bytes from block ``start``. It may end past the image: what is missing fails when read."""
        offset = self.offset(start)
        if offset < 0:
            fail(f"block {start} lies before the image, which begins at block {self._base}", 0)
        return Slice(self.device, offset, size)

    def read_area(self, block: int, offset: int, length: int) -> bytes:
        """A continuation area; short or empty where the image has no such bytes."""
        start = self.offset(block) + offset
        return self.device.pread(start, length) if start >= 0 else b""

    def read_directory(self, start: int, size: int) -> bytes:
        """The records of a directory, as far as the image goes. Raises ``FormatError``."""
        offset = self.offset(start)
        if size > MAX_DIRECTORY:
            fail(f"a directory of {size} bytes is larger than {short(MAX_DIRECTORY)}", offset)
        if not 0 <= offset < self.device.size and size:
            fail(
                f"directory at block {start} lies outside the image of {self.device.size} bytes",
                max(0, offset),
            )
        return self.device.pread(offset, size) if size else b""

    def own_record(self, start: int) -> tuple[bytes, Fields] | None:
        """The record that the directory at block ``start`` has of itself, if there is one.

        It is given as (its sector, fields).
        """
        offset = self.offset(start)
        data = self.device.pread(offset, SECTOR) if offset >= 0 else b""
        if len(data) <= HEADER_SIZE:
            return None
        fields: Fields = self.layout.unpack_from(data)
        named = fields[8] == 1 and not data[HEADER_SIZE]
        return (
            (data, fields)
            if named and HEADER_SIZE < fields[0] <= len(data) and fields[5] & DIRECTORY
            else None
        )

    def record_time(self, data: bytes, at: int) -> int:
        """The time in the record, or else that of the volume."""
        return recorded_time(data, at, high_sierra=self.high_sierra) or self._volume_time

    def root(self, node_id: int, start: int, size: int, record: bytes) -> IsoDirectory:
        """The top directory, with the attributes that its own record has."""
        own = self.own_record(start)
        if own is None:
            return IsoDirectory(
                node_id, RecordBlock(self, record, node_id), (start, size, 0, 0, None), frozenset()
            )
        return self._described(node_id, (start, size), own, frozenset())

    def _described(
        self, node_id: int, extent: tuple[int, int], own: tuple[bytes, Fields], ancestors: frozenset[int]
    ) -> IsoDirectory:
        """The directory in ``extent`` (block, bytes), with the attributes of its ``own`` record."""
        (start, size), (data, fields) = extent, own
        if self.skip is None:
            block = RecordBlock(self, data[: fields[0]], node_id)
            return IsoDirectory(node_id, block, (start, size, 0, 0, None), ancestors)
        begin = susp.system_use(data, 0, fields[8], self.skip)
        area, _ = susp.gather(data, begin, fields[0], self.read_area)
        data = data[:begin] + area
        _, px, tf, _ = susp.walk(data, begin, len(data))
        return IsoDirectory(node_id, RecordBlock(self, data, node_id), (start, size, px, tf, None), ancestors)

    def scan(self, directory: IsoDirectory) -> Iterator[tuple[str, Node]]:
        """(name, node) of everything in ``directory``."""
        start, size = directory.start, directory.size
        if size and start in directory.ancestors:
            fail("a directory is inside itself", directory.id)
        if len(directory.ancestors) > MAX_DEPTH:
            fail(f"directories are more than {MAX_DEPTH} deep", directory.id)
        block = RecordBlock(self, self.read_directory(start, size), self.offset(start))
        inside = directory.ancestors | {start}
        yield from self._rock_ridge(block, inside) if self.skip is not None else self._plain(block, inside)
        if len(block.data) < size:
            fail(
                f"a directory has {size} bytes, the image ends after {len(block.data)} of them", directory.id
            )

    def _rock_ridge(self, block: RecordBlock, inside: frozenset[int]) -> Iterator[tuple[str, Node]]:
        data, base, skip, xa = block.data, block.base, self.skip, self.xa
        decode, walk = self.names.decode, susp.walk
        for at, fields, parts in records(data, self.layout):
            length, xar, start, size, _, flags, unit, _, name_length = fields
            if name_length == 1 and data[at + HEADER_SIZE] < 2:  # itself and its parent
                continue
            begin = (
                susp.system_use(data, at, name_length, skip) if skip else at + HEADER_SIZE + (name_length | 1)
            )
            raw, px, tf, kept = walk(data, begin, at + length)
            if (
                raw
                and px
                and not (flags or kept or parts or unit or xa or data[px + 5] >> _TYPE_SHIFT != _REGULAR)
            ):
                yield decode(raw), IsoFile(base + at, block, (start + xar, size, px, tf, None))
                continue
            record = _Record(block, at, fields, parts)
            if kept is None or not (susp.CE in kept or susp.RE in kept or susp.CL in kept):
                node = self._node(record, px, tf, kept, inside)
                if len(inside) > 1 or not self._is_relocation_room(node, raw):
                    yield self._rock_ridge_name(raw, record), node
            else:
                yield from self._linked(record, begin, inside)

    def _rock_ridge_name(self, raw: bytes, record: _Record) -> str:
        if not raw:
            return self._plain_name(record)[0]
        return (_ASSOCIATED_PREFIX if record.fields[5] & ASSOCIATED else "") + self.names.decode(raw)

    def _linked(self, record: _Record, begin: int, inside: frozenset[int]) -> Iterator[tuple[str, Node]]:
        """The node of a record with fields elsewhere, or of a relocated directory.

        In the place that a directory was moved to, it is left out.
        """
        block, at, fields, parts = record
        area, whole = susp.gather(block.data, begin, at + fields[0], self.read_area)
        data = block.data[at:begin] + area
        raw, px, tf, kept = susp.walk(data, begin - at, len(data))
        if kept and susp.RE in kept:
            return
        record = _Record(RecordBlock(self, data, block.base + at), 0, fields, parts)
        if kept and susp.CL in kept:
            node: RecordNode = self._relocated(record.block, kept[susp.CL][0], inside)
        else:
            node = self._node(record, px, tf, kept, inside)
        if not whole:
            log.warning("%s: broken continuation area of the record at %#x", NAME, node.id)
            node.facts = (*node.facts[:4], RareFacts(kept, node.rare.sections, "broken continuation area"))
        yield self._rock_ridge_name(raw, record), node

    def _relocated(self, block: RecordBlock, link: int, inside: frozenset[int]) -> IsoDirectory:
        start = int.from_bytes(block.data[link + 4 : link + 8], "little")
        own = self.own_record(start)
        if own is None:
            damage = RareFacts(damage=f"relocated directory is not at block {start}")
            return IsoDirectory(block.base, block, (start, 0, 0, 0, damage), inside)
        return self._described(block.base, (start, own[1][3]), own, inside)

    def _node(
        self, record: _Record, px: int, tf: int, kept: susp.Kept | None, inside: frozenset[int]
    ) -> RecordNode:
        block, at, fields, parts = record
        node_id, start, size = block.base + at, fields[1] + fields[2], fields[3]
        rare = RareFacts(kept) if kept else None
        if fields[5] & DIRECTORY:
            return IsoDirectory(node_id, block, (start, size, px, tf, rare), inside)
        kind = block.data[px + 5] >> _TYPE_SHIFT if px else _SYMLINK if kept and susp.SL in kept else _REGULAR
        if kind == _SYMLINK:
            return IsoSymlink(node_id, block, (start, size, px, tf, rare))
        if kind in _SPECIAL:
            return IsoSpecial(node_id, block, (start, size, px, tf, rare))
        if parts or fields[6]:
            rare = RareFacts(kept, tuple(section(part) for part in parts or (fields,)))
            size = sum(part.size for part in rare.sections)
            if parts and parts[-1][5] & MULTI_EXTENT:
                rare.damage = f"the last of {len(parts)} extents is missing"
        elif self.xa and size and self.xa.hold(block.data, at, fields[8]):
            return XaFile(node_id, block, (start, size, px, tf, rare))
        return IsoFile(node_id, block, (start, size, px, tf, rare))

    def _plain(self, block: RecordBlock, inside: frozenset[int]) -> Iterator[tuple[str, Node]]:
        found: list[tuple[str, int, Node]] = []
        newest: dict[str, int] = {}
        for at, fields, parts in records(block.data, self.layout):
            if fields[8] == 1 and block.data[at + HEADER_SIZE] < 2:
                continue
            record = _Record(block, at, fields, parts)
            name, version = self._plain_name(record)
            newest[name] = max(version, newest.get(name, 0))
            found.append((name, version, self._node(record, 0, 0, None, inside)))
        for name, version, node in found:
            yield name if version == newest[name] else f"{name};{version}", node

    def _plain_name(self, record: _Record) -> tuple[str, int]:
        raw, flags = identifier(record.block.data, record.at, record.fields), record.fields[5]
        if flags & DIRECTORY:
            return self.names.decode(raw), 0
        name, version = self.names.file_name(raw)
        return (_ASSOCIATED_PREFIX + name if flags & ASSOCIATED else name), version

    def _is_relocation_room(self, node: Node, raw: bytes) -> bool:
        """Whether this is the directory that writers move deep directories to, and holds nothing else."""
        if raw not in RELOCATION_NAMES or not isinstance(node, IsoDirectory):
            return False
        try:
            return next(iter(self.scan(node)), None) is None
        except ImageError:
            return False
