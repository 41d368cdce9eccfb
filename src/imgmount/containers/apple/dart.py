"""DART, Apple's Disk Archive/Retrieval Tool: floppies in blocks of 40 sectors with tags, RLE, LZH or stored.

Source: the ClassicMac project's ``disk-images/dart.md``, from Disk Copy 6.3.3 and DART 1.5.3. Big endian.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final, NamedTuple

from imgmount.codecs import dart
from imgmount.core.checks import Checked, Finding, Seal
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.errors import FormatError
from imgmount.families.apple.forkfiles import forks_of
from imgmount.families.apple.sums import DiskCopySum
from imgmount.families.apple.types import ImageKind

NAME: Final = "dart"
RLE, LZH, NONE = 0, 1, 2
CODINGS: Final = {RLE: "RLE (fast)", LZH: "LZH (best)", NONE: "none"}
SIZES: Final = {400: 40, 720: 40, 800: 40, 1440: 72}  # KB: how many lengths the header has
DATA: Final = 20480
WHOLE: Final = 20960  # with 40 tags of 12 bytes
STORED: Final = 0xFFFF
SOURCES: Final = {1: "Macintosh", 2: "Lisa", 3: "Apple II", 16: "Macintosh", 17: "MS-DOS", 18: "MS-DOS"}


class Header(NamedTuple):
    """``lengths`` are the stored bytes of each block; 0 means that it is not compressed."""

    coding: int
    source: int
    kilobytes: int
    lengths: list[int]
    start: int

    @property
    def end(self) -> int:
        """Where the last block ends."""
        return self.start + sum(length or WHOLE for length in self.lengths)


def _header(file: BlockDevice) -> Header:
    """The header, checked. Raises ``FormatError``."""
    coding, source, *size = file.read_exactly(0, 4, NAME)
    kilobytes = int.from_bytes(size, "big")
    if coding not in CODINGS or kilobytes not in SIZES:
        raise FormatError(NAME, f"compression {coding}, a disk of {kilobytes} KB", offset=0)
    slots, count = SIZES[kilobytes], kilobytes * 1024 // DATA
    raw = table(file.read_exactly(4, 2 * slots, NAME), 2, "big")[:count]
    lengths = [0 if value == STORED or coding == NONE else value for value in raw]
    if any(not 0 < value <= WHOLE for value in lengths if value) or (coding != NONE and 0 in raw):
        raise FormatError(NAME, "a block of impossible length", offset=4)
    unit = 2 if coding == RLE else 1
    return Header(coding, source, kilobytes, [unit * length for length in lengths], 4 + 2 * slots)


class DartDevice(ChunkedDevice):
    """The sectors of the floppy; its tags are left out."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._header = header = _header(file)
        self._file = file
        self._places = list(accumulate((length or WHOLE for length in header.lengths), initial=header.start))
        self._forks = forks_of(file)
        super().__init__(header.kilobytes * 1024, DATA, context.cache)

    def _block(self, index: int) -> bytes:
        """Block ``index`` with its tags. Raises ``FormatError``."""
        place, length = self._places[index], self._header.lengths[index]
        data = self._file.read_exactly(place, length or WHOLE, NAME)
        if not length:
            return data
        decode = dart.decode_rle if self._header.coding == RLE else dart.decode_lzh
        try:
            return decode(data, WHOLE)
        except FormatError as exc:
            raise FormatError(NAME, f"block {index}: {exc.reason}", offset=place) from exc

    def _read_chunk(self, index: int) -> bytes:
        return self._block(index)[:DATA]

    def info(self) -> Mapping[str, str]:
        header = self._header
        facts = {"compression": CODINGS[header.coding], "disk": f"{header.kilobytes} KB"}
        facts["source"] = SOURCES.get(header.source, f"type {header.source}")
        return facts | ({"type and creator": self._forks.codes} if self._forks else {})

    def verify(self) -> Iterator[Finding]:
        """The checksums in the resource fork: 2 is that of the data, 1 that of the tags."""
        if self._forks is None:
            return
        if (stored := self._forks.read(b"CKSM", 2)) is not None:
            yield Seal("checksum of the data", stored[:4], self, DiskCopySum)
        if (stored := self._forks.read(b"CKSM", 1)) is not None:
            found = DiskCopySum()
            for index in range(len(self._header.lengths)):
                found.update(self._block(index)[DATA:])
            yield Checked("checksum of the tags", stored[:4].hex(), found.digest().hex())


def probe(file: BlockDevice) -> Match:
    """CERTAIN where the blocks end with the file, or the type says so; there is no signature."""
    header = _header(file)
    forks = forks_of(file)
    if forks is not None and forks.kind is not None:
        return Match.CERTAIN if forks.kind is ImageKind.DART and header.end <= file.size else Match.NO
    return Match.CERTAIN if header.end == file.size else Match.NO


FORMAT: Final = ContainerFormat(
    name=NAME,
    title="DART floppy image",
    extensions=(".image", ".img"),
    checks="sums of the disk and of its tags",
    open=DartDevice,
    probe=probe,
    guest=True,
)
