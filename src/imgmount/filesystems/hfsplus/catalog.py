"""Records of the HFS+ catalog. TN1150, "Catalog File"; BSD's fields as xnu ``hfs_format.h`` has them."""

from __future__ import annotations

import stat as s
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Stat
from imgmount.errors import FormatError
from imgmount.families.apple.btree import Record
from imgmount.families.apple.names import utf16
from imgmount.families.apple.times import hfs_time_ns
from imgmount.filesystems.hfsplus.header import NAME, ForkData, parse_fork

FOLDER, FILE = 1, 2  # kinds of records; 3 and 4 are threads
SIZES: Final = {FOLDER: 88, FILE: 248}
ROOT: Final = 2
NAME_AT: Final = 8  # in the key: the name, behind its length
MAX_NAME: Final = 255  # UTF-16 units

HAS_FOLDER_COUNT: Final = 1 << 4  # flags of the record
LINK_CHAIN: Final = 1 << 5
COMPRESSED: Final = 0x20  # owner's flags: UF_COMPRESSED
UNKNOWN_OWNER: Final = 99

_HEAD: Final = Struct(">hHII28xBBHI8s")  # what a listing needs
_TIMES: Final = Struct(">12x5III")  # created, content and record changed, read, backed up; owner, group
_SIZES: Final = Struct(">88xQ4xI76xI")  # of a file: bytes and blocks of its data, blocks of its resource fork
_DATA_FORK: Final = 0x58
_RESOURCE_FORK: Final = 0xA8
_FINDER: Final = slice(0x30, 0x50)
_CREATED: Final = slice(0x0C, 0x10)
_FOLDERS: Final = slice(0x54, 0x58)
_KINDS: Final = (s.S_IFREG, s.S_IFLNK, s.S_IFCHR, s.S_IFBLK, s.S_IFIFO, s.S_IFSOCK)


class Item(NamedTuple):
    """A folder or file record. ``special`` is a link's number, the count of links, or a device's number.

    ``mark`` are the type and creator that the Finder knows a file by; ``raw`` is the whole record.
    """

    kind: int
    flags: int
    valence: int
    id: int
    admin_flags: int
    owner_flags: int
    mode: int
    special: int
    mark: bytes
    raw: bytes

    @property
    def finder(self) -> bytes:
        """FInfo and FXInfo, or those of a folder."""
        return self.raw[_FINDER]

    @property
    def created(self) -> int:
        """Seconds since 1904."""
        return int.from_bytes(self.raw[_CREATED], "big")

    @property
    def data(self) -> ForkData:
        """The data fork of a file."""
        return parse_fork(self.raw, _DATA_FORK)

    @property
    def resource(self) -> ForkData:
        """The resource fork of a file."""
        return parse_fork(self.raw, _RESOURCE_FORK)

    @property
    def is_compressed(self) -> bool:
        """Whether an attribute has the content."""
        return bool(self.owner_flags & COMPRESSED)

    @property
    def links(self) -> int:
        """How many names there are, of what hard links lead to."""
        return self.special if 0 < self.special < 1 << 31 else 1

    @property
    def folders(self) -> int:
        """How many folders a folder holds, as far as it says."""
        if not self.flags & HAS_FOLDER_COUNT:
            return 0
        return int.from_bytes(self.raw[_FOLDERS], "big")

    @property
    def format_bits(self) -> int:
        """What kind of node it is, as S_IFMT masks it."""
        if self.kind == FOLDER:
            return s.S_IFDIR
        told = s.S_IFMT(self.mode)
        return told if told in _KINDS else s.S_IFREG

    def stat(self, block: int, links: int) -> Stat:
        """The facts of the record, with blocks of so many bytes.

        Volumes of systems before Mac OS X know no owners and modes.
        """
        _, modified, changed, accessed, _, owner, group = _TIMES.unpack_from(self.raw)
        bits, size, allocated = self.format_bits, 0, None
        if self.kind == FILE:
            size, blocks, more = _SIZES.unpack_from(self.raw)
            allocated = (blocks + more) * block
        if self.mode:
            mode = bits | self.mode & 0o7777
        else:
            mode = DIRECTORY_MODE if self.kind == FOLDER else FILE_MODE
            owner = group = UNKNOWN_OWNER
        return Stat(
            mode,
            size,
            hfs_time_ns(modified),
            hfs_time_ns(accessed) or None,
            hfs_time_ns(changed) or None,
            None if owner == UNKNOWN_OWNER else owner,
            None if group == UNKNOWN_OWNER else group,
            links,
            allocated=allocated,
            birth_ns=hfs_time_ns(self.created) or None,
        )


def record_name(record: Record) -> str:
    """The name in the key of a catalog record. Raises ``FormatError``."""
    raw, start, data, end = record
    length = raw[start + 6] << 8 | raw[start + 7]
    if length > MAX_NAME or start + NAME_AT + 2 * length > min(data, end):
        raise FormatError(NAME, f"a name of {length} letters in the catalog")
    return utf16(raw[start + NAME_AT : start + NAME_AT + 2 * length])


def record_kind(record: Record) -> int:
    """The type of a catalog record; 0 where there is none."""
    raw, _, data, end = record
    return raw[data] << 8 | raw[data + 1] if data + 2 <= end else 0


def parse_item(record: Record) -> Item:
    """The folder or file in a catalog record. Raises ``FormatError``."""
    raw, _, data, end = record
    size = SIZES.get(record_kind(record), 0)
    if not size or data + size > end:
        raise FormatError(NAME, f"a record of {max(0, end - data)} bytes in the catalog")
    body = raw[data : data + size]
    return Item._make((*_HEAD.unpack_from(body), body))


def thread_name(record: Record) -> tuple[int, str]:
    """(parent, name) in a thread record. Raises ``FormatError``."""
    raw, _, data, end = record
    length = raw[data + 8] << 8 | raw[data + 9] if data + 10 <= end else MAX_NAME + 1
    if length > MAX_NAME or data + 10 + 2 * length > end:
        raise FormatError(NAME, "a thread record that is cut short")
    return int.from_bytes(raw[data + 4 : data + 8], "big"), utf16(raw[data + 10 : data + 10 + 2 * length])
