"""The disk in a UDIF image, whose runs its tables list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from imgmount.codecs import adc, bzip2, lzfse
from imgmount.codecs.deflate import inflate
from imgmount.codecs.lzma import MEMORY_LIMIT, decode_xz
from imgmount.containers.apple.udif.check import NAMES, check
from imgmount.containers.apple.udif.licence import licence
from imgmount.containers.apple.udif.segments import Segment, collect, joined
from imgmount.containers.apple.udif.tables import (
    ADC,
    BZIP2,
    LZFSE,
    LZMA,
    ZLIB,
    Resources,
    Table,
    read_resources,
    read_tables,
)
from imgmount.containers.apple.udif.trailer import INTERNET, MAX_SECTORS, WHOLE_DEVICE, Trailer
from imgmount.core.checks import Finding
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.slices import Slice
from imgmount.errors import FormatError
from imgmount.families.apple.forkfiles import forks_of
from imgmount.families.apple.layout import end_of
from imgmount.families.apple.rundisk import RunDisk
from imgmount.families.apple.runs import RAW, SECTOR, Codec, Run, bzip2_head, xz_head, zlib_head

FORMATS: Final = {ADC: "UDCO", ZLIB: "UDZO", BZIP2: "UDBZ", LZFSE: "ULFO", LZMA: "ULMO"}
CODECS: Final = {
    ADC: Codec("ADC", adc.decode, adc.decode_head, 0.9),
    ZLIB: Codec("zlib", partial(inflate, wrapper="zlib"), zlib_head, 0.25),  # half as fast as libdeflate
    BZIP2: Codec("bzip2", bzip2.decode, bzip2_head, 0.85),  # a block is 900,000 bytes
    LZFSE: Codec("LZFSE", lzfse.decode),
    LZMA: Codec("LZMA", decode_xz, partial(xz_head, memory=MEMORY_LIMIT), 0.9),
}


class UdifDevice(RunDisk):
    """The disk that the tables of an image describe."""

    fmt = "udif"
    codecs = CODECS

    def __init__(self, file: BlockDevice, context: Context) -> None:
        trailer = Trailer.read(file)
        several = trailer.segments > 1
        self._segments = collect(file, trailer, context) if several else [Segment(file, trailer)]
        self._resources, self._tables = _tables(self._segments)
        self._trailer = main = self._segments[0].trailer
        data = joined(self._segments) if several else _data_fork(file, trailer)
        runs = [run for table in self._tables for run in table.layout()]
        if not self._tables:
            runs = [_whole_device(main, data)]
        sectors = main.sectors or min(end_of(runs), MAX_SECTORS)
        super().__init__(runs, data, sectors, context.cache)

    def verify(self) -> Iterator[Finding]:
        """Every checksum that the image keeps, of the bytes that it covers."""
        return check(self._tables, self._segments, self)

    def info(self) -> Mapping[str, str]:
        coded = sorted({run.kind for run in self.runs} & CODECS.keys())
        trailer = self._trailer
        facts = {"format": ", ".join(FORMATS[kind] for kind in coded) or "UDRO", "runs": self.about_runs()}
        if coded:
            largest = max(run.sectors for run in self.runs if run.kind in CODECS)
            facts["largest compressed run"] = f"{largest * SECTOR} bytes"
        for number, table in enumerate(self._tables):
            facts[f"table {number}"] = f"{table.name or 'without a name'}: {len(table.runs)} runs"
        if trailer.master_checksum.type in NAMES:
            facts["checksum"] = f"{NAMES[trailer.master_checksum.type]} {trailer.master_checksum.value.hex()}"
        if len(self._segments) > 1:
            facts["segments"] = str(len(self._segments))
        if trailer.base:
            facts["begins at"] = f"{trailer.base:#x} of the file"
        if trailer.flags & INTERNET:
            facts["internet-enabled"] = "yes"
        if trailer.signature[1]:
            facts["code signature"] = f"{trailer.signature[1]} bytes, not checked"
        text, languages = licence(self._resources)
        if text:
            facts["licence"] = text if languages == 1 else f"({languages} languages) {text}"
        return facts


def _tables(segments: list[Segment]) -> tuple[Resources, list[Table]]:
    """The resources and tables of all segments: each segment has the same ones, or a part of them."""
    found: dict[bytes, tuple[int, str, bytes]] = {}
    first: Resources | None = None
    for file, trailer in segments:
        forks = None if trailer.xml[1] or trailer.resources[1] else forks_of(file)
        resources = read_resources(file, trailer, forks.resource if forks else None)
        first = first if first is not None and first[b"blkx"] else resources
        for block in resources[b"blkx"]:
            found.setdefault(block[2], block)
    assert first is not None
    return first, read_tables(Resources({b"blkx": list(found.values())}))


def _data_fork(file: BlockDevice, trailer: Trailer) -> BlockDevice:
    """The bytes that offsets of runs count in: all from the data fork on, whatever its stated length."""
    start = trailer.base + trailer.data[0]
    return Slice(file, start, max(0, file.size - start)) if start else file


def _whole_device(trailer: Trailer, data: BlockDevice) -> Run:
    """The one run of an image without tables, whose data fork is the disk."""
    if not trailer.flags & WHOLE_DEVICE:
        reason = "no tables: neither a plist nor a resource fork has any"
        raise FormatError("udif", reason, offset=trailer.place)
    sectors = trailer.sectors or min(trailer.data[1], data.size) // SECTOR
    return Run(RAW, 0, sectors, 0, sectors * SECTOR)
