"""The logical stream of a CHD: hunks decoded, or mapped where nothing is compressed, and the parent below."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Final, NamedTuple

from imgmount.codecs.crc16 import crc16
from imgmount.containers.optical.chd.codecs import Decode, codec
from imgmount.containers.optical.chd.header import Header, Metadata, overall_sha1, read_metadata
from imgmount.containers.optical.chd.map import CRC16_START, Entry, How, Map, read_map
from imgmount.core.cache import Content
from imgmount.core.checks import Checked, Finding, Seal
from imgmount.core.device import BlockDevice, Extent, GroupedDevice, MappedDevice
from imgmount.core.fields import table
from imgmount.core.format import Context
from imgmount.core.runs import rising_run
from imgmount.core.slices import beneath
from imgmount.errors import ChecksumError, FormatError, ImageError, MissingPartError, UnsupportedError

MD5_SIZE: Final = 16
GEOMETRY_TAG: Final = b"GDDD"
MAX_PARENTS: Final = 16  # one below the other
MAX_CANDIDATES: Final = 256  # files that are looked at to find a parent
MAX_REFERENCES: Final = 64  # from hunk to hunk
MAX_RUN: Final = 256  # hunks looked at for one extent


STORED: Final = int(How.STORED)  # compared for each hunk, and members of an enum are slow to look up


def _reader(file: BlockDevice, entries: Sequence[Entry]) -> Callable[[int, int], bytes]:
    """How to read the stored hunks among ``entries``.

    It is one read where they lie together, as they mostly do.
    """
    stored = [entry for entry in entries if entry.how <= How.STORED]
    start = min((entry.offset for entry in stored), default=0)
    end = max((entry.offset + entry.length for entry in stored), default=0)
    if end - start > sum(entry.length for entry in stored) or end > file.size:
        return lambda offset, length: file.read_exactly(offset, length, "chd")
    data = file.pread(start, end - start)
    return lambda offset, length: data[offset - start : offset - start + length]


class CodedHunks(GroupedDevice):
    """Hunks that are stored by codecs."""

    def __init__(
        self, file: BlockDevice, header: Header, parent: BlockDevice | None, context: Context
    ) -> None:
        self._file = file
        self._parent = parent
        self._hunk_bytes = header.hunk_bytes
        self._codecs: list[Decode | None] = [codec(name) for name in header.codecs]
        self._map: Map = read_map(file, header)
        # the hunk that other hunks referred to last, which is mostly the empty one
        self._shared: tuple[int, bytes] = (-1, b"")
        super().__init__(header.size, header.hunk_bytes, context.cache)

    def _read_units(self, first: int, count: int) -> bytes:
        entries = self._map.entries(first, count)
        read = _reader(self._file, entries)
        pieces = []
        for number, entry in enumerate(entries, first):
            how, offset, length, crc = entry
            data: Content
            if how <= STORED:
                data = read(offset, length)
                if how != STORED:
                    data = self._decoded(number, how, data, offset)
                if crc is not None and self._checksum(data) != crc:
                    raise ChecksumError("chd", f"hunk {number}: its checksum is wrong", offset=offset)
            else:
                data = self._referred(number, entry)
            pieces.append(data)
        return b"".join(pieces)[: self.size - first * self.unit]

    def _checksum(self, data: Content) -> int:
        return zlib.crc32(data) if self._map.wide_crc else crc16(data, CRC16_START)

    def _referred(self, number: int, entry: Entry) -> bytes:
        """A hunk that is not stored itself but refers to another."""
        for _ in range(MAX_REFERENCES):
            how, offset, _, _ = entry
            if how == How.PARENT:
                return self._inherited(number, offset)
            if how == How.MINI:
                return (offset.to_bytes(8, "big") * (self._hunk_bytes // 8 + 1))[: self._hunk_bytes]
            target, content = self._shared
            if target == offset:
                return content
            if offset * self._hunk_bytes >= self.size:
                break
            (entry,) = self._map.entries(offset, 1)
            if entry.how <= How.STORED:
                content = self._read_units(offset, 1).ljust(self._hunk_bytes, b"\0")
                self._shared = (offset, content)
                return content
        raise FormatError("chd", f"hunk {number} refers to hunks that only refer to others")

    def _decoded(self, number: int, how: int, data: bytes, offset: int) -> Content:
        decode = self._codecs[how] if how < len(self._codecs) else None
        if decode is None:
            raise FormatError(
                "chd",
                f"hunk {number} is stored by codec {how}, of which the header has {len(self._codecs)}",
                offset=offset,
            )
        try:
            return decode(data, self._hunk_bytes)
        except FormatError as exc:
            raise FormatError("chd", f"hunk {number}: {exc.reason}", offset=offset) from exc

    def _inherited(self, number: int, unit: int) -> bytes:
        if self._parent is None:
            raise FormatError("chd", f"hunk {number} is in the parent, and the header names none")
        data = self._parent.pread(unit * self._map.parent_unit, self._hunk_bytes)
        if not data:
            raise FormatError("chd", f"hunk {number} lies past the end of the parent")
        return data.ljust(self._hunk_bytes, b"\0")


class StoredHunks(MappedDevice):
    """The map of a version 5 file without codecs.

    It says where each hunk is, in hunks of the file; 0 stands for a hole, or for the parent's.
    """

    def __init__(self, file: BlockDevice, header: Header, parent: BlockDevice | None) -> None:
        self._file = file
        self._parent = parent
        self._index: array[int] = table(
            file.read_exactly(header.map_offset, 4 * header.hunks, "chd"), 4, "big"
        )
        self.size = header.size
        self.block_size = header.hunk_bytes

    def _map(self, offset: int) -> Extent:
        first, skip = divmod(offset, self.block_size)
        stored = self._index[first]
        length = rising_run(self._index, first, 1 if stored else 0, MAX_RUN) * self.block_size - skip
        if stored:
            return Extent(length, self._file, stored * self.block_size + skip)
        return beneath(self._parent, offset, length)


class Chd(NamedTuple):
    """One file: its header, its metadata and its logical stream."""

    header: Header
    metadata: Sequence[Metadata]
    stream: BlockDevice

    @classmethod
    def open(cls, file: BlockDevice, context: Context, generation: int = 0) -> Chd:
        """``file`` and, if it has one, its parent. Raises ``ImageError``."""
        header = Header.read(file)
        metadata = read_metadata(file, header.metadata_offset)
        if any(entry.tag in (b"AVAV", b"AVLD") for entry in metadata):
            raise UnsupportedError("chd: laserdisc video is not supported")
        parent = _find_parent(header.parent, context, generation) if header.parent else None
        below = parent.stream if parent else None
        if header.codecs:
            return cls(header, metadata, CodedHunks(file, header, below, context))
        return cls(header, metadata, StoredHunks(file, header, below))

    def info(self) -> Mapping[str, str]:
        """Facts for the user."""
        header = self.header
        facts = {
            "version": str(header.version),
            "codecs": ", ".join(name.decode("ascii", "replace") for name in header.codecs if any(name))
            or "none",
            "hunks": f"{header.hunks} of {header.hunk_bytes} bytes",
        }
        if header.digest:
            facts["SHA-1" if len(header.digest) > MD5_SIZE else "MD5"] = header.digest.hex()
        if header.raw_sha1:
            facts["data SHA-1"] = header.raw_sha1.hex()
        if header.parent:
            facts["parent"] = header.parent.hex()
        geometry = next((entry.text for entry in self.metadata if entry.tag == GEOMETRY_TAG), None)
        return facts | ({"geometry": geometry} if geometry else {})

    def verify(self) -> Iterator[Finding]:
        """The digests of the content, and of that with the metadata."""
        header = self.header
        if header.raw_sha1:
            yield Seal.of("SHA-1 of the data", header.raw_sha1, self.stream, "sha1")
        elif len(header.digest) == MD5_SIZE:
            yield Seal.of("MD5", header.digest, self.stream, "md5")
        if header.version >= 4 and header.raw_sha1:
            computed = overall_sha1(header.raw_sha1, self.metadata)
            yield Checked("SHA-1 with the metadata", header.digest.hex(), computed.hex())


def _find_parent(digest: bytes, context: Context, generation: int) -> Chd:
    """The parent among the image's siblings: those whose names are most alike are looked at first."""
    if generation >= MAX_PARENTS:
        raise FormatError("chd", f"the chain of parents is longer than {MAX_PARENTS}")
    kind = "SHA-1" if len(digest) > MD5_SIZE else "MD5"
    names = [name for name in context.siblings.names() if name.casefold().endswith(".chd")]
    names.sort(key=lambda name: -_shared_prefix(name, context.path.name))
    for name in names[:MAX_CANDIDATES]:
        file = context.siblings.open(name)
        try:
            found = Header.read(file)
        except ImageError:
            continue
        if found.digest == digest:
            return Chd.open(file, context, generation + 1)
    raise MissingPartError(
        f"chd: the parent with {kind} {digest.hex()} is not among the .chd files beside the image"
    )


def _shared_prefix(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
