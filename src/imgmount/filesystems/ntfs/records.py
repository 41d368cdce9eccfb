"""FILE records and the attributes in them, as bytes. Nothing here looks beyond one record.

Source: the layout of FILE records and attributes as the Linux-NTFS project documents it ("NTFS
Documentation", concepts).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from struct import error as StructError  # noqa: N812  the one exception that struct has
from typing import Final, NamedTuple

from imgmount.errors import FormatError
from imgmount.families.windows import names
from imgmount.filesystems.ntfs.boot import NAME, STRIDE

HEADER: Final = Struct("<4s12xHHHH8xQ")  # magic, sequence, links, first attribute, flags, base record
MIN_FIRST: Final = 42  # where attributes can begin: behind the header of NTFS 1.2 to 3.0
_FIXUPS: Final = Struct("<4xHH")  # offset of fixups, how many with the mark before them
ATTRIBUTE: Final = Struct("<IIBBHHH")  # type, length, non-resident, name length, name offset, flags, instance
RESIDENT: Final = Struct("<16xIH")  # length, offset of the content
# first and last cluster, offset of runs, unit, allocated, size, valid size
NON_RESIDENT: Final = Struct("<16xqqHB5xqqq")
LIST_ENTRY: Final = Struct(
    "<IHBBQQH"
)  # type, length, name length, name offset, first cluster, record, instance
# parent, name length, namespace; times, sizes and flags between are copies
FILE_NAME: Final = Struct("<Q56xBB")

END: Final = 0xFFFF_FFFF  # instead of a type
STANDARD_INFORMATION: Final = 0x10
ATTRIBUTE_LIST: Final = 0x20
NAME_ATTRIBUTE: Final = 0x30
OBJECT_ID: Final = 0x40
SECURITY_DESCRIPTOR: Final = 0x50
VOLUME_NAME: Final = 0x60
VOLUME_INFORMATION: Final = 0x70
DATA: Final = 0x80
INDEX_ROOT: Final = 0x90
INDEX_ALLOCATION: Final = 0xA0
BITMAP: Final = 0xB0
REPARSE_POINT: Final = 0xC0
EA: Final = 0xE0
LOGGED_STREAM: Final = 0x100

COMPRESSED: Final = 0x00FF  # attribute flags: the method
LZNT1: Final = 1
ENCRYPTED: Final = 0x4000
SPARSE: Final = 0x8000

IN_USE: Final = 1  # flags of a record
DIRECTORY: Final = 2
RECORD_MASK: Final = (1 << 48) - 1  # of a file reference; a sequence number stands above
POSIX, WIN32, DOS, BOTH = range(4)  # namespaces of names
NAME_SIZE: Final = FILE_NAME.size  # then the name
MAX_ATTRIBUTES: Final = 4096  # of one record: a record of 64 KiB has room for fewer


class Record(NamedTuple):
    """A FILE record with its fixups undone. ``base`` is the reference of the record that it extends, or 0."""

    number: int
    data: bytes
    sequence: int
    links: int
    flags: int
    base: int
    first: int  # where its attributes begin

    @property
    def in_use(self) -> bool:
        return bool(self.flags & IN_USE)


class Attribute(NamedTuple):
    """An attribute of a record, or the part of one that is there.

    ``data`` is the record, ``at`` its place in it.
    """

    type: int
    name: str
    flags: int
    instance: int
    data: bytes
    at: int
    length: int
    resident: bool

    @property
    def content(self) -> bytes:
        """What a resident attribute holds. Raises ``FormatError``."""
        size, start = RESIDENT.unpack_from(self.data, self.at)
        if start + size > self.length:
            raise FormatError(NAME, f"an attribute of type {self.type:#x} whose {size} bytes end past it")
        return self.data[self.at + start : self.at + start + size]

    @property
    def pairs(self) -> bytes:
        """The mapping pairs of a non-resident attribute. Raises ``FormatError``."""
        start: int = NON_RESIDENT.unpack_from(self.data, self.at)[2]
        if not NON_RESIDENT.size <= start <= self.length:
            raise FormatError(
                NAME,
                f"an attribute of type {self.type:#x} whose runs begin at {start:#x} of {self.length:#x}",
            )
        return self.data[self.at + start : self.at + self.length]

    @property
    def first_cluster(self) -> int:
        """Where the part of a non-resident attribute begins; 0 for a resident one."""
        return 0 if self.resident else int.from_bytes(self.data[self.at + 16 : self.at + 24], "little")


def fixups_at(data: bytes) -> int:
    """Where a record says that its fixups are."""
    return int(_FIXUPS.unpack_from(data)[0])


def unfixed(raw: bytes, magic: bytes, what: str, number: int) -> bytes:
    """A record with the last bytes of its 512-byte strides put back.

    ``what`` and ``number`` say which. Raises ``FormatError``.
    """
    fixups, count = _FIXUPS.unpack_from(raw)
    if raw[:4] != magic:
        raise FormatError(NAME, f"{what} {number} begins with {raw[:4]!r}, {magic!r} is right")
    if count - 1 != len(raw) // STRIDE or fixups + 2 * count > len(raw) or fixups & 1:
        reason = (
            f"{what} {number} has {count} fixups at {fixups:#x}, {len(raw) // STRIDE + 1} inside it are right"
        )
        raise FormatError(NAME, reason)
    mark, replaced = raw[fixups : fixups + 2], raw[fixups + 2 : fixups + 2 * count]
    if (raw[STRIDE - 2 :: STRIDE], raw[STRIDE - 1 :: STRIDE]) != (
        mark[:1] * (count - 1),
        mark[1:] * (count - 1),
    ):
        end = next(end for end in range(STRIDE, len(raw) + 1, STRIDE) if raw[end - 2 : end] != mark)
        raise FormatError(
            NAME, f"{what} {number} was written in part: its bytes before {end:#x} are of another time"
        )
    data = bytearray(raw)
    data[STRIDE - 2 :: STRIDE], data[STRIDE - 1 :: STRIDE] = replaced[::2], replaced[1::2]
    return bytes(data)


def parse_record(raw: bytes, number: int) -> Record:
    """The FILE record in ``raw``, in use or not. Raises ``FormatError``."""
    data = unfixed(raw, b"FILE", "record", number)
    _, sequence, links, first, flags, base = HEADER.unpack_from(data)
    if not MIN_FIRST <= first <= len(data) - 4:
        raise FormatError(NAME, f"record {number}: its attributes begin at {first:#x} of {len(data):#x}")
    return Record(number, data, sequence, links, flags, base, first)


def attributes(record: Record) -> Iterator[Attribute]:
    """The attributes of ``record``. Raises ``FormatError`` where they are damaged."""
    data, at = record.data, record.first
    for _ in range(MAX_ATTRIBUTES):
        if at + 4 > len(data) or int.from_bytes(data[at : at + 4], "little") == END:
            return
        try:
            kind, length, elsewhere, name_length, name, flags, instance = ATTRIBUTE.unpack_from(data, at)
        except StructError:
            length = 0
        if length < (64 if length and elsewhere else 24) or length & 7 or at + length > len(data):
            raise FormatError(
                NAME, f"record {record.number}: an attribute of {length} bytes at {at:#x} of {len(data):#x}"
            )
        if name_length and name + 2 * name_length > length:
            raise FormatError(
                NAME, f"record {record.number}: the name of an attribute at {at:#x} ends past it"
            )
        text = names.decode(data[at + name : at + name + 2 * name_length]) if name_length else ""
        yield Attribute(kind, text, flags, instance, data, at, length, not elsewhere)
        at += length
    raise FormatError(NAME, f"record {record.number}: more than {MAX_ATTRIBUTES} attributes")


class Listed(NamedTuple):
    """An entry of an attribute list: where an attribute is, or its part from ``first_cluster`` on."""

    type: int
    name: str
    first_cluster: int
    reference: int
    instance: int


def listed(content: bytes) -> Iterator[Listed]:
    """The entries of an attribute list. Raises ``FormatError`` where it is damaged."""
    at = 0
    while at + LIST_ENTRY.size <= len(content):
        kind, length, name_length, name, first, reference, instance = LIST_ENTRY.unpack_from(content, at)
        if length < LIST_ENTRY.size or (name_length and name + 2 * name_length > length):
            raise FormatError(NAME, f"an attribute list with an entry of {length} bytes at {at:#x}")
        yield Listed(
            kind, names.decode(content[at + name : at + name + 2 * name_length]), first, reference, instance
        )
        at += length


class FileName(NamedTuple):
    """A name: ``parent`` is a reference, ``space`` the namespace."""

    parent: int
    name: str
    space: int


def file_name(content: bytes) -> FileName:
    """The name that a $FILE_NAME attribute or the key of a directory's entry holds.

    Raises ``FormatError``.
    """
    if len(content) < NAME_SIZE:
        raise FormatError(NAME, f"a name attribute of {len(content)} bytes")
    parent, length, space = FILE_NAME.unpack_from(content)
    if NAME_SIZE + 2 * length > len(content):
        raise FormatError(NAME, f"a name of {length} letters in {len(content)} bytes")
    return FileName(parent, names.decode(content[NAME_SIZE : NAME_SIZE + 2 * length]), space)


def file_names(record: Record) -> Iterator[FileName]:
    """The names of a file that are in ``record``. Raises ``FormatError``."""
    yield from map(file_name, name_contents(record))


def name_contents(record: Record) -> Iterator[bytes]:
    """What the attributes with the names of a file hold, those in ``record``. Raises ``FormatError``."""
    for attribute in attributes(record):
        if attribute.type == NAME_ATTRIBUTE and attribute.resident:
            yield attribute.content
