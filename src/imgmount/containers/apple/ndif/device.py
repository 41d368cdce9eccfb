"""The disk in an NDIF image: chunks that a resource maps, in one file or several."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice, pairwise
from typing import Final, NamedTuple

from imgmount.codecs import adc, dart, kencode
from imgmount.codecs.crcs import ShiftedCrc
from imgmount.core.checks import Finding, Seal
from imgmount.core.device import BlockDevice, Buffer, Extent
from imgmount.core.format import Context
from imgmount.core.slices import Concat
from imgmount.errors import FormatError, ImgMountError, MissingPartError, UnsupportedError
from imgmount.families.apple.forkfiles import Forks, forks_of
from imgmount.families.apple.rundisk import RunDisk
from imgmount.families.apple.runs import DAMAGED, RAW, SECTOR, ZERO, Codec, Run
from imgmount.families.apple.wrapped import unwrap

NAME: Final = "ndif"
MAP, PART, ID = b"bcem", b"bcm#", 128
HEADER: Final = struct.Struct(">2H64s5I8x28x")  # up to the number of entries
OLD, VERSIONS = 2, (2, 10, 11, 12)
OLD_COUNT, COUNT = 0x54, 0x7C
ENTRY, OLD_ENTRY = struct.Struct(">3I"), struct.Struct(">2I")
KENCODE, DART_RLE, DART_LZH, ADC = range(0x80, 0x84)
STORED, END = 0x02, 0xFF
MAX_SECTORS: Final = 0x400000
MAX_ENTRIES: Final = 1 << 20
MAX_PARTS: Final = 128
MAX_CANDIDATES: Final = 256
NO_CRC: Final = (0, 0xFFFF_FFFF)
PART_RECORD: Final = struct.Struct(">2H16sI")
CODECS: Final = {
    KENCODE: Codec("KenCode", kencode.decode, kencode.decode_head, 0.9),
    DART_RLE: Codec("DART RLE", dart.decode_rle),
    DART_LZH: Codec("DART LZH", dart.decode_lzh),
    ADC: Codec("ADC", adc.decode, adc.decode_head, 0.9),
}


@cache
def _crc28() -> ShiftedCrc:
    """The "CRC28" of Disk Copy: the polynomial of CRC-32 unreversed in a loop that shifts to the right."""
    return ShiftedCrc(0x04C1_1DB7)


class _Crc28:
    """That checksum in the making."""

    def __init__(self) -> None:
        self._register = 0xFFFF_FFFF

    def update(self, data: Buffer, /) -> None:
        self._register = _crc28().update(data, self._register)

    def zeros(self, count: int, /) -> None:
        self._register = _crc28().zeros(count, self._register)

    def digest(self) -> bytes:
        return self._register.to_bytes(4, "big")


class PartRecord(NamedTuple):
    """The ``bcm#`` of a file of a segmented image."""

    number: int
    parts: int
    identifier: bytes
    crc: int

    @classmethod
    def of(cls, forks: Forks | None) -> PartRecord | None:
        """That of a file; None where it has none."""
        data = forks.read(PART, ID) if forks is not None else None
        return (
            cls(*PART_RECORD.unpack_from(data))
            if data is not None and len(data) >= PART_RECORD.size
            else None
        )


class ChunkMap:
    """Resource ``bcem``: the disk's name and size, and its chunks as runs. Raises ``FormatError``."""

    def __init__(self, data: bytes) -> None:
        if len(data) < OLD_COUNT + 4:
            raise FormatError(NAME, f"a map of {len(data)} bytes")
        fields = HEADER.unpack(data[: HEADER.size].ljust(HEADER.size, b"\0"))
        self.version, _, name, self.sectors, _, self._start, self.crc, self.segmented = fields
        if self.version not in VERSIONS:
            raise UnsupportedError(f"{NAME}: version {self.version} of the map")
        if not 0 < self.sectors < MAX_SECTORS:
            raise FormatError(NAME, f"a disk of {self.sectors} sectors")
        self.name = name[1 : 1 + min(name[0], 63)].decode("mac_roman")
        old = self.version == OLD
        self.segmented = 0 if old else self.segmented
        at = OLD_COUNT if old else COUNT
        entry = OLD_ENTRY if old else ENTRY
        count = int.from_bytes(data[at : at + 4], "big")
        whole = (len(data) - at - 4) // entry.size
        self.problems = [] if count <= whole else [f"{count} chunks in a map that has room for {whole}"]
        if min(count, whole) < 2 or count > MAX_ENTRIES:
            raise FormatError(NAME, f"a map of {count} chunks")
        entries = list(entry.iter_unpack(data[at + 4 : at + 4 + min(count, whole) * entry.size]))
        chunks = _with_lengths(entries) if old else entries
        self.runs = list(self._runs([(a >> 8, a & 0xFF, b, c) for a, b, c in chunks]))

    def _runs(self, chunks: list[tuple[int, int, int, int]]) -> Iterator[Run]:
        """The chunks up to the end; sectors that none covers are no holes."""
        yield Run(DAMAGED, 0, self.sectors, 0, 0)
        for (start, kind, offset, length), (after, _, _, _) in pairwise([*chunks, (self.sectors, END, 0, 0)]):
            if kind == END:
                if start != self.sectors:
                    self.problems.append(f"the map ends at sector {start} of {self.sectors}")
                return
            if not start < after <= self.sectors:
                self.problems.append(
                    f"a chunk from sector {start} to {after}: the map is not followed further"
                )
                return
            yield Run(RAW if kind == STORED else kind, start, after - start, self._start + offset, length)


def _with_lengths(entries: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """The chunks of an old map: each is stored up to where the next one begins."""
    following = [offset for _, offset in entries[1:]] + [entries[-1][1]]
    return [
        (word, offset, max(0, end - offset)) for (word, offset), end in zip(entries, following, strict=True)
    ]


class NdifDevice(RunDisk):
    """The disk that a map describes."""

    fmt = NAME
    codecs = CODECS

    def __init__(self, file: BlockDevice, context: Context) -> None:
        forks, data = _first_part(file, context)
        raw = forks.read(MAP, ID)
        if raw is None:
            raise FormatError(
                NAME, "resource bcem 128 is missing or damaged: without it no chunk can be found"
            )
        self._map_resource = found = ChunkMap(raw)
        self._forks = forks
        record = PartRecord.of(forks)
        self._parts = record.parts if found.segmented and record is not None else 1
        if found.segmented:
            if record is None:
                raise FormatError(NAME, "a part of a segmented image, without its record bcm#")
            data = _joined(data, record, context)
        super().__init__(found.runs, data, found.sectors, context.cache)

    def info(self) -> Mapping[str, str]:
        found = self._map_resource
        facts = {"name": found.name, "version": str(found.version), "runs": self.about_runs()}
        facts["type and creator"] = self._forks.codes
        facts["resource fork"] = self._forks.origin
        if self._parts > 1:
            facts["segments"] = str(self._parts)
        if found.crc not in NO_CRC:
            facts["checksum"] = f"CRC28 {found.crc:08x}"
        return facts

    def verify(self) -> Iterator[Finding]:
        """What is wrong with the map, and whether the disk has the checksum that is stored."""
        found = self._map_resource
        yield from found.problems
        if found.crc not in NO_CRC and not found.problems:
            runs = [
                Extent(run.sectors * SECTOR, None if run.kind == ZERO else self, run.first * SECTOR)
                for run in found.runs[1:]
            ]
            yield Seal("CRC28", found.crc.to_bytes(4, "big"), Concat(runs), _Crc28)


def _first_part(file: BlockDevice, context: Context) -> tuple[Forks, BlockDevice]:
    """The forks and data of the file that has the map: ``file``, or the one that it is a part of."""
    forks = forks_of(file)
    if forks is None:
        raise MissingPartError(
            f"{NAME}: the resource fork is missing, without which the data cannot be decoded"
        )
    record = PartRecord.of(forks)
    if record is not None and record.number != 1:
        for number, other, its in _parts(record, context):
            if number == 1:
                return its, other
        raise MissingPartError(f"{NAME}: part 1 of {record.parts} is missing: no file beside the image is it")
    return forks, file


def _parts(record: PartRecord, context: Context) -> Iterator[tuple[int, BlockDevice, Forks]]:
    """(number, data, forks) of the files beside the image that belong to it, whatever they are called."""
    for name in islice(context.siblings.names(), MAX_CANDIDATES):
        try:
            file = context.siblings.open(name)
            device = unwrap(file) or file
        except ImgMountError:
            continue
        forks = forks_of(device)
        its = PartRecord.of(forks)
        if forks is not None and its is not None and its[1:3] == record[1:3]:
            yield its.number, device, forks


def _joined(file: BlockDevice, record: PartRecord, context: Context) -> BlockDevice:
    """The data of all parts in a row. Raises ``MissingPartError`` that names the one that is not there."""
    if not 0 < record.parts <= MAX_PARTS:
        raise FormatError(NAME, f"an image of {record.parts} parts")
    found = {record.number: file}
    for number, device, _ in _parts(record, context):
        found.setdefault(number, device)
    for number in range(1, record.parts + 1):
        if number not in found:
            hint = "no file beside the image has its bcm#; --refs DIR adds a folder"
            raise MissingPartError(f"{NAME}: part {number} of {record.parts} is missing: {hint}")
    return Concat.of([found[number] for number in range(1, record.parts + 1)])
