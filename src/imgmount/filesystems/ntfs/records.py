"""The parts of NTFS that libfsntfs keeps to itself: how a stream is stored, and reparse points.

Source: the layout of FILE records and attributes as in Linux, ``fs/ntfs/layout.h`` (documentation of its
fields), and [MS-FSCC] 2.1.2 for reparse points.
"""

from __future__ import annotations

from collections.abc import Iterator
from stat import S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK
from struct import Struct
from typing import Final, NamedTuple

from imgmount.errors import FormatError

_HEADER: Final = Struct(
    "<4sHHQHHHH"
)  # FILE, fixup offset, fixups, log sequence, sequence, links, first attribute, flags
_ATTRIBUTE: Final = Struct(
    "<IIBBHHH"
)  # type, length, non-resident, name length, name offset, flags, instance
_RESIDENT: Final = Struct("<16xIH")  # length, offset of the content
_LIST_ENTRY: Final = Struct("<IHBBQQ")  # type, length, name length, name offset, first cluster, record
_REPARSE: Final = Struct("<IHH")  # tag, length, reserved
_NAMES: Final = Struct("<HHHH")  # substitute name's offset and length, print name's

FIXUP_STRIDE: Final = 512
END: Final = b"\xff\xff\xff\xff"  # instead of a type
ATTRIBUTE_LIST: Final = 0x20
VOLUME_INFORMATION: Final = 0x70
DATA: Final = 0x80
REPARSE_POINT: Final = 0xC0
COMPRESSED: Final = 0x00FF  # attribute flags: the method
ENCRYPTED: Final = 0x4000
VOLUME_FLAGS: Final = 10  # offset in the information about the volume
DIRTY: Final = 0x1
LINKS: Final = 0x12  # offset of the number of links in a record
RECORD_MASK: Final = (1 << 48) - 1  # of a file reference; a sequence number stands above

MOUNT_POINT: Final = 0xA000_0003
SYMLINK: Final = 0xA000_000C
LX_SYMLINK: Final = 0xA000_001D
WOF: Final = 0x8000_0017
SPECIALS: Final = {
    0x8000_0023: S_IFSOCK,
    0x8000_0024: S_IFIFO,
    0x8000_0025: S_IFCHR,
    0x8000_0026: S_IFBLK,
}  # of WSL
ELSEWHERE: Final = {0x8000_0013: "deduplicated", 0xC000_0004: "migrated", 0x8000_0006: "migrated"}
CLOUD: Final = 0x9000_001A
CLOUD_MASK: Final = 0xFFFF_0FFF  # the digit between tells the provider's layer
RELATIVE: Final = 1  # flag of a symbolic link


class Attribute(NamedTuple):
    """An attribute of a record; ``content`` is None where it is not in the record."""

    type: int
    name: str
    flags: int
    content: bytes | None


class Reparse(NamedTuple):
    """A reparse point; ``data`` follows its header."""

    tag: int
    data: bytes


def attributes(raw: bytes) -> Iterator[Attribute]:
    """The attributes in the record ``raw``. Raises ``FormatError``."""
    magic, fixups, count, _, _, _, at, _ = _HEADER.unpack_from(raw)
    if magic != b"FILE" or fixups + 2 * count > len(raw) or (count - 1) * FIXUP_STRIDE > len(raw):
        raise FormatError("ntfs", "not a FILE record")
    data = bytearray(raw)
    for number in range(1, count):
        end = number * FIXUP_STRIDE
        if raw[end - 2 : end] != raw[fixups : fixups + 2]:
            raise FormatError("ntfs", "a FILE record that was written in part")
        data[end - 2 : end] = raw[fixups + 2 * number : fixups + 2 * number + 2]
    while at + 4 <= len(data) and data[at : at + 4] != END:
        if at + _ATTRIBUTE.size > len(data):
            raise FormatError("ntfs", "an attribute past the end of its record")
        kind, length, elsewhere, name_length, name, flags, _ = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size + 8 or at + length > len(data):
            raise FormatError("ntfs", f"an attribute of {length} bytes")
        content = None
        if not elsewhere:
            size, start = _RESIDENT.unpack_from(data, at)
            content = bytes(data[at + start : min(at + start + size, at + length)])
        text = bytes(data[at + name : at + name + 2 * name_length]).decode("utf-16-le", "replace")
        yield Attribute(kind, text, flags, content)
        at += length


def listed(content: bytes, wanted: int) -> Iterator[int]:
    """The numbers of the records that hold attributes of a type, says an attribute list."""
    at = 0
    while at + _LIST_ENTRY.size <= len(content):
        kind, length, _, _, _, reference = _LIST_ENTRY.unpack_from(content, at)
        if length < _LIST_ENTRY.size:
            return
        if kind == wanted:
            yield reference & RECORD_MASK
        at += length


def reparse(content: bytes) -> Reparse:
    """The reparse point in an attribute's content. Raises ``FormatError``."""
    if len(content) < _REPARSE.size:
        raise FormatError("ntfs", "a reparse point without a tag")
    tag, length, _ = _REPARSE.unpack_from(content)
    return Reparse(tag, content[_REPARSE.size : _REPARSE.size + length])


def link(point: Reparse) -> tuple[str, bool]:
    """(the target as Windows writes it, whether it is relative) of a symbolic link or junction.

    Raises ``FormatError``.
    """
    names = _NAMES.size + (4 if point.tag == SYMLINK else 0)
    if len(point.data) < names:
        raise FormatError("ntfs", "a link without a target")
    start, length, _, _ = _NAMES.unpack_from(point.data)
    target = point.data[names + start : names + start + length].decode("utf-16-le", "surrogatepass")
    return target, point.tag == SYMLINK and bool(point.data[_NAMES.size] & RELATIVE)
