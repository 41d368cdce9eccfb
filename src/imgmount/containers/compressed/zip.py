"""The disk image in a zip: a stored one is read in place, a deflated one is given to the next layer as gzip.

iPhone and Mac firmware (``.ipsw``) is such a zip. With several images the largest is opened;
``options.extra["member"]`` names another. Source: PKWARE APPNOTE 6.3.10.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from imgmount.containers.choice import choose
from imgmount.containers.vdisk.options import MEMBER
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.slices import Concat, MemoryDevice, Slice
from imgmount.errors import FormatError, UnsupportedError

NAME: Final = "zip"
LOCAL, CENTRAL, END, END64 = b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6"
LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
ENTRY: Final = struct.Struct("<4s6H3I5H2I")
END_RECORD: Final = struct.Struct("<4s4H2IH")
LOCATOR: Final = struct.Struct("<4sIQI")  # of the zip64 end, 20 bytes before the other end
END64_RECORD: Final = struct.Struct("<4sQ2H2I4Q")
SEARCHED: Final = (1 << 16) + END_RECORD.size  # the end record and its comment
MAX_DIRECTORY: Final = 64 << 20
MAX_ENTRIES: Final = 1 << 18
LARGE: Final = 0xFFFF_FFFF  # the value stands in the zip64 field
ZIP64: Final = 1
ENCRYPTED: Final = 1
STORED, DEFLATED = 0, 8
GZIP_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
IMAGES: Final = (
    *(".dmg", ".aea", ".sparseimage", ".asif", ".cdr", ".toast", ".smi", ".dc42", ".dsk", ".image"),
    *(".img", ".iso"),
)


class Member(NamedTuple):
    """A file in the zip; ``offset`` is that of its local header."""

    name: str
    method: int
    flags: int
    crc: int
    stored: int
    size: int
    offset: int


def members(file: BlockDevice) -> Iterator[Member]:
    """The files that the central directory lists. Raises ``FormatError``."""
    offset, size, count = _directory(file)
    if size > MAX_DIRECTORY or count > MAX_ENTRIES:
        raise FormatError(NAME, f"a directory of {count} files in {size} bytes", offset=offset)
    data = file.read_exactly(offset, size, NAME)
    at = 0
    for _ in range(count):
        if at + ENTRY.size > size or data[at : at + 4] != CENTRAL:
            raise FormatError(NAME, "the directory is damaged", offset=offset + at)
        fields = ENTRY.unpack_from(data, at)
        _, _, _, flags, method, _, _, crc, stored, full, name_size, more, comment, _, _, _, place = fields
        at += ENTRY.size
        name = data[at : at + name_size].decode("utf-8", "replace")
        extra = data[at + name_size : at + name_size + more]
        full, stored, place = _large(extra, full, stored, place)
        yield Member(name, method, flags, crc, stored, full, place)
        at += name_size + more + comment


def _large(extra: bytes, *values: int) -> tuple[int, ...]:
    """``values`` with those that are too large for 32 bits from the zip64 field."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == ZIP64:
            wide = iter(struct.iter_unpack("<Q", extra[at + 4 : at + 4 + size // 8 * 8]))
            return tuple(next(wide, (value,))[0] if value == LARGE else value for value in values)
        at += 4 + size
    return values


def _directory(file: BlockDevice) -> tuple[int, int, int]:
    """(offset, size, number of files) of the central directory."""
    start = max(0, file.size - SEARCHED)
    tail = file.pread(start, SEARCHED)
    at = tail.rfind(END, 0, max(0, len(tail) - END_RECORD.size) + len(END))
    if at < 0:
        raise FormatError(NAME, "no directory at the end: the file is cut")
    _, _, _, _, count, size, offset, _ = END_RECORD.unpack_from(tail, at)
    locator = file.pread(max(0, start + at - LOCATOR.size), LOCATOR.size)
    if locator[:4] == b"PK\6\7" and len(locator) == LOCATOR.size:
        place = LOCATOR.unpack(locator)[2]
        record = END64_RECORD.unpack(file.read_exactly(place, END64_RECORD.size, NAME))
        if record[0] == END64:
            count, size, offset = record[7:]
    return offset, size, count


def images(file: BlockDevice) -> list[Member]:
    """The disk images inside, the largest first, without the files in which Finder keeps forks."""
    found = [one for one in members(file) if one.name.lower().endswith(IMAGES) and one.size]
    shown = [one for one in found if not one.name.startswith("__MACOSX/")]
    return sorted(shown, key=lambda one: -one.size)


class ZipDevice(MappedDevice):
    """One file of a zip, as it is stored."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._images = images(file)
        name = choose(NAME, [one.name for one in self._images], MEMBER.of(context.options.extra))
        self._member = member = next(one for one in self._images if one.name == name)
        if member.flags & ENCRYPTED or member.method not in (STORED, DEFLATED):
            how = "encrypted" if member.flags & ENCRYPTED else f"packed by method {member.method}"
            raise UnsupportedError(f"zip: {member.name!r} is {how}: unzip it first")
        self._content = _content(file, member)
        self.size = self._content.size

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._content, offset)

    def info(self) -> Mapping[str, str]:
        facts = {"file": self._member.name}
        facts["method"] = "stored" if self._member.method == STORED else "deflate"
        others = [one.name for one in self._images if one != self._member]
        return facts | ({"other images": ", ".join(others)} if others else {})


def _content(file: BlockDevice, member: Member) -> BlockDevice:
    """The bytes of a file; those of a deflated one between the header and the trailer of gzip."""
    fields = LOCAL_HEADER.unpack(file.read_exactly(member.offset, LOCAL_HEADER.size, NAME))
    if fields[0] != LOCAL:
        raise FormatError(NAME, f"{member.name!r} does not begin where it should", offset=member.offset)
    start = member.offset + LOCAL_HEADER.size + fields[-2] + fields[-1]
    stored = Slice(file, start, member.stored)
    if member.method == STORED:
        return stored
    trailer = struct.pack("<2I", member.crc, member.size & 0xFFFF_FFFF)
    return Concat.of([MemoryDevice(GZIP_HEADER), stored, MemoryDevice(trailer)])


def probe(file: BlockDevice) -> Match:
    """LIKELY for a zip with a disk image: other formats that are zips by design come first."""
    return Match.LIKELY if images(file) else Match.NO


FORMAT: Final = ContainerFormat(
    name=NAME,
    title="Zip with a disk image (ipsw)",
    extensions=(".zip", ".ipsw"),
    open=ZipDevice,
    probe=probe,
    packs_files=True,
    options=(MEMBER,),
    limits="stored and deflated files; no bundles of several files",
)
