"""One namespace of a volume: its directories read and turned into nodes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice
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
    Recorded,
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
    records,
    section,
)

log = logging.getLogger(__name__)

MAX_DIRECTORY: Final = 64 << 20
MAX_DEPTH: Final = 255
_RELOCATION_NAMES: Final = ("rr_moved", ".rr_moved", "RR_MOVED")
_ASSOCIATED_PREFIX: Final = "._"  # where macOS looks for what belongs to a file
_TYPE_SHIFT: Final = 4  # of the mode's second byte: the file type
_REGULAR, _SYMLINK, _SPECIAL = 0o10, 0o12, (0o01, 0o02, 0o06, 0o14)  # fifo, character, block, socket


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
    ) -> None:
        self.device = device
        self.cache = cache
        self.names = names
        self.block_size = block_size
        self.high_sierra = high_sierra
        self.layout = HIGH_SIERRA_RECORD if high_sierra else ISO_RECORD
        self.skip: int | None = None
        self._base = session_base
        self._volume_time = volume_time

    def offset(self, block: int) -> int:
        """The byte of the device at which a block begins; negative where it lies before the device."""
        return (block - self._base) * self.block_size

    def slice(self, start: int, size: int) -> Slice:
        """``size`` bytes from block ``start``. It may end past the image: what is missing fails when read."""
        offset = self.offset(start)
        if offset < 0:
            fail(f"block {start} lies before the image", 0)
        return Slice(self.device, offset, size)

    def read_area(self, block: int, offset: int, length: int) -> bytes:
        """A continuation area; short or empty where the image has no such bytes."""
        start = self.offset(block) + offset
        return self.device.pread(start, length) if start >= 0 else b""

    def read_directory(self, start: int, size: int) -> bytes:
        """The records of a directory, as far as the image goes. Raises ``FormatError``."""
        offset = self.offset(start)
        if size > MAX_DIRECTORY:
            fail(f"directory of {size} bytes", offset)
        if not 0 <= offset < self.device.size and size:
            fail(f"directory at block {start}, outside the image", max(0, offset))
        return self.device.pread(offset, size) if size else b""

    def own_record(self, start: int) -> tuple[bytes, Fields] | None:
        """The record that the directory at block ``start`` has of itself, if there is one: (its sector, fields)."""
        offset = self.offset(start)
        data = self.device.pread(offset, SECTOR) if offset >= 0 else b""
        if len(data) <= HEADER_SIZE:
            return None
        fields: Fields = self.layout.unpack_from(data)
        named = fields[8] == 1 and not data[HEADER_SIZE]
        return (data, fields) if named and HEADER_SIZE < fields[0] <= len(data) and fields[5] & DIRECTORY else None

    def record_time(self, data: bytes, at: int) -> int:
        """The time in the record, or else that of the volume."""
        return recorded_time(data, at, high_sierra=self.high_sierra) or self._volume_time

    def root(self, node_id: int, start: int, size: int, record: bytes) -> IsoDirectory:
        """The top directory, with the attributes that its own record has."""
        own = self.own_record(start)
        if own is None:
            root = IsoDirectory(node_id, self, record, 0, start, size)
        else:
            root = self._described(node_id, start, size, *own)
        root.ancestors = frozenset()
        return root

    def _described(self, node_id: int, start: int, size: int, data: bytes, fields: Fields) -> IsoDirectory:
        if self.skip is None:
            return IsoDirectory(node_id, self, data[: fields[0]], 0, start, size)
        begin = susp.system_use(data, 0, fields[8], self.skip)
        area, _ = susp.gather(data, begin, fields[0], self.read_area)
        data = data[:begin] + area
        _, px, tf, kept = susp.walk(data, begin, len(data))
        return IsoDirectory(node_id, self, data, 0, start, size, px, tf, kept)

    def scan(self, directory: IsoDirectory) -> Iterator[tuple[str, Node]]:
        """(name, node) of everything in ``directory``."""
        if directory.size and directory.start in directory.ancestors:
            fail("directory holds itself", directory.id)
        if len(directory.ancestors) > MAX_DEPTH:
            fail(f"more than {MAX_DEPTH} directories deep", directory.id)
        data = self.read_directory(directory.start, directory.size)
        yield from self._rock_ridge(directory, data) if self.skip is not None else self._plain(directory, data)
        if len(data) < directory.size:
            fail(f"directory of {directory.size} bytes, the image has {len(data)}", directory.id)

    def _rock_ridge(self, directory: IsoDirectory, data: bytes) -> Iterator[tuple[str, Node]]:
        base, skip = self.offset(directory.start), self.skip or 0
        inside = directory.ancestors | {directory.start}
        decode, walk = self.names.decode, susp.walk
        node: Recorded
        for at, fields, parts in records(data, self.layout):
            length, xar, start, size, _, flags, unit, _, name_length = fields
            if name_length == 1 and data[at + HEADER_SIZE] < 2:  # itself and its parent
                continue
            begin = susp.system_use(data, at, name_length, skip) if skip else at + HEADER_SIZE + (name_length | 1)
            raw, px, tf, kept = walk(data, begin, at + length)
            if kept is not None:
                if susp.CE in kept or susp.RE in kept or susp.CL in kept:
                    yield from self._special_record(base, inside, data, at, begin, fields, parts)
                    continue
            elif flags == 0 and not (parts or unit or px and data[px + 5] >> _TYPE_SHIFT != _REGULAR):
                yield (
                    decode(raw) if raw else self.names.file_name(data[at + HEADER_SIZE : at + HEADER_SIZE + name_length])[0],
                    IsoFile(base + at, self, data, at, start + xar, size, px, tf),
                )
                continue
            node = self._node(base + at, data, at, fields, parts, px, tf, kept, inside)
            name = self._rock_ridge_name(raw, data, at, fields)
            if not (name in _RELOCATION_NAMES and not directory.ancestors and self._is_empty(node)):
                yield name, node

    def _rock_ridge_name(self, raw: bytes, data: bytes, at: int, fields: Fields) -> str:
        name = self.names.decode(raw) if raw else self._plain_name(data, at, fields)[0]
        return _ASSOCIATED_PREFIX + name if raw and fields[5] & ASSOCIATED else name

    def _special_record(
        self, base: int, inside: frozenset[int], data: bytes, at: int, begin: int, fields: Fields, parts: tuple[Fields, ...]
    ) -> Iterator[tuple[str, Node]]:
        """A record with fields elsewhere, or of a relocated directory."""
        area, whole = susp.gather(data, begin, at + fields[0], self.read_area)
        head = data[at:begin]
        raw, px, tf, kept = susp.walk(head + area, len(head), len(head) + len(area))
        if kept and susp.RE in kept:
            return
        if kept and susp.CL in kept:
            node: Recorded = self._relocated(base + at, head + area, kept[susp.CL][0], inside)
        else:
            node = self._node(base + at, head + area, 0, fields, parts, px, tf, kept, inside)
        if not whole:
            log.warning("%s: broken continuation area of the record at %#x", NAME, base + at)
            node.damage = node.damage or "broken continuation area"
        yield self._rock_ridge_name(raw, head + area, 0, fields), node

    def _relocated(self, node_id: int, data: bytes, link: int, inside: frozenset[int]) -> IsoDirectory:
        start = int.from_bytes(data[link + 4 : link + 8], "little")
        own = self.own_record(start)
        if own is None:
            node = IsoDirectory(node_id, self, data, 0, start, 0)
            node.damage = f"relocated directory is not at block {start}"
        else:
            node = self._described(node_id, start, own[1][3], *own)
        node.ancestors = inside
        return node

    def _node(
        self, node_id: int, data: bytes, at: int, fields: Fields, parts: tuple[Fields, ...], px: int, tf: int,
        kept: susp.Kept | None, inside: frozenset[int],
    ) -> Recorded:  # fmt: skip
        start, size, flags = fields[1] + fields[2], fields[3], fields[5]
        if flags & DIRECTORY:
            directory = IsoDirectory(node_id, self, data, at, start, size, px, tf, kept)
            directory.ancestors = inside
            return directory
        kind = data[px + 5] >> _TYPE_SHIFT if px else _SYMLINK if kept and susp.SL in kept else _REGULAR
        if kind == _SYMLINK:
            return IsoSymlink(node_id, self, data, at, start, size, px, tf, kept)
        if kind in _SPECIAL:
            return IsoSpecial(node_id, self, data, at, start, size, px, tf, kept)
        node = IsoFile(node_id, self, data, at, start, sum(part[3] for part in parts) or size, px, tf, kept)
        if parts or fields[6]:
            node.sections = tuple(section(part) for part in parts or (fields,))
        if parts and parts[-1][5] & MULTI_EXTENT:
            node.damage = f"the last of {len(parts)} extents is missing"
        return node

    def _plain(self, directory: IsoDirectory, data: bytes) -> Iterator[tuple[str, Node]]:
        base = self.offset(directory.start)
        inside = directory.ancestors | {directory.start}
        found: list[tuple[str, int, Node]] = []
        newest: dict[str, int] = {}
        for at, fields, parts in records(data, self.layout):
            if fields[8] == 1 and data[at + HEADER_SIZE] < 2:
                continue
            name, version = self._plain_name(data, at, fields)
            newest[name] = max(version, newest.get(name, 0))
            found.append((name, version, self._node(base + at, data, at, fields, parts, 0, 0, None, inside)))
        for name, version, node in found:
            yield name if version == newest[name] else f"{name};{version}", node

    def _plain_name(self, data: bytes, at: int, fields: Fields) -> tuple[str, int]:
        raw = data[at + HEADER_SIZE : at + HEADER_SIZE + fields[8]]
        if fields[5] & DIRECTORY:
            return self.names.decode(raw), 0
        name, version = self.names.file_name(raw)
        return (_ASSOCIATED_PREFIX + name if fields[5] & ASSOCIATED else name), version

    def _is_empty(self, node: Node) -> bool:
        """Whether nothing would be shown of this directory: its entries, if any, are shown where they belong."""
        try:
            return isinstance(node, IsoDirectory) and next(iter(self.scan(node)), None) is None
        except ImageError:
            return False


