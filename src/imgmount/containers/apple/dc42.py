"""Disk Copy 4.2: a header of 84 bytes, the sectors of a floppy, perhaps 12 bytes of tags for each.

Source: Apple File Type Note $E0/$0005; the ClassicMac project's ``disk-images/diskcopy42.md``. Big endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from imgmount.core.checks import Finding, Seal
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.header import within
from imgmount.core.slices import Slice
from imgmount.errors import FormatError
from imgmount.families.apple.forkfiles import forks_of
from imgmount.families.apple.sums import DiskCopySum
from imgmount.families.apple.types import ImageKind

NAME: Final = "dc42"
HEADER: Final = struct.Struct(">64s4I2BH")
MARK: Final = 0x0100
SECTOR: Final = 512
TAG: Final = 12
MAX_SIZE: Final = 1 << 31
FORMATS: Final = {0: "400K", 1: "800K", 2: "720K", 3: "1440K"}
KNOWN_SIZES: Final = tuple(size << 10 for size in (400, 720, 800, 1440))


class Header(NamedTuple):
    """The fields of the header."""

    name: bytes
    size: int
    tags: int
    checksum: int
    tag_checksum: int
    format: int
    byte: int
    mark: int


def _header(file: BlockDevice) -> Header:
    """The header, checked. Raises ``FormatError``."""
    header = Header(*HEADER.unpack(file.read_exactly(0, HEADER.size, NAME)))
    if header.mark != MARK or header.name[0] > 63:
        raise FormatError(NAME, "no header of Disk Copy 4.2", offset=0)
    within(NAME, "size of the disk", header.size, SECTOR, MAX_SIZE, multiple_of=SECTOR, offset=0x40)
    if header.tags not in (0, header.size // SECTOR * TAG):
        raise FormatError(
            NAME,
            f"{header.tags} bytes of tags: {header.size // SECTOR * TAG} or none were expected",
            offset=0x44,
        )
    return header


class DiskCopyDevice(Slice):
    """The sectors of the disk."""

    def __init__(self, file: BlockDevice, _: Context) -> None:
        self._header = _header(file)
        self._file = file
        super().__init__(file, HEADER.size, self._header.size)

    def info(self) -> Mapping[str, str]:
        header = self._header
        name = header.name[1 : 1 + header.name[0]].decode("mac_roman")
        kind = FORMATS.get(header.format, f"type {header.format}")
        facts = {"name": name, "disk": f"{kind}, format byte {header.byte:#04x}"}
        return facts | ({"tags": f"{header.tags} bytes"} if header.tags else {})

    def verify(self) -> Iterator[Finding]:
        """Both checksums, of which 0 is none; that of the tags leaves out the first sector's."""
        header = self._header
        if header.checksum:
            yield Seal("checksum of the data", header.checksum.to_bytes(4, "big"), self, DiskCopySum)
        if header.tags and header.tag_checksum:
            tags = Slice(self._file, HEADER.size + self.size + TAG, header.tags - TAG)
            yield Seal("checksum of the tags", header.tag_checksum.to_bytes(4, "big"), tags, DiskCopySum)


def probe(file: BlockDevice) -> Match:
    """CERTAIN for the type code, or a size that floppies have in a file as long as it says; else LIKELY."""
    header = _header(file)
    forks = forks_of(file)
    if forks is not None and forks.kind is not None:
        return Match.CERTAIN if forks.kind is ImageKind.DC42 else Match.NO
    whole = HEADER.size + header.size + header.tags
    if header.size in KNOWN_SIZES and whole <= file.size:
        return Match.CERTAIN
    return Match.LIKELY if whole <= file.size <= whole + SECTOR else Match.NO


FORMAT: Final = ContainerFormat(
    name=NAME,
    title="Disk Copy 4.2 image",
    extensions=(".dc42", ".image", ".img"),
    checks="sums of the disk and of its tags",
    open=DiskCopyDevice,
    probe=probe,
    guest=True,
)
