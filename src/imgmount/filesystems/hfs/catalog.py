"""Records of the HFS catalog. Inside Macintosh: Files, "Catalog File Data Records"."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Stat
from imgmount.errors import FormatError
from imgmount.families.apple.btree import Record
from imgmount.families.apple.extents import Run
from imgmount.families.apple.times import hfs_time_ns
from imgmount.filesystems.hfs.header import NAME, parse_runs

FOLDER, FILE, FOLDER_THREAD, FILE_THREAD = 1, 2, 3, 4
ROOT: Final = 2
NAME_AT: Final = 7  # in the key: the name, behind its length
MAX_NAME: Final = 31
LOCKED: Final = 1  # flags of a file
SCRIPT_AT: Final = 24  # of FInfo and FXInfo together: fdScript, frScript
_FOLDER: Final = Struct(">BxHHIIII16s16s")
_FILE: Final = Struct(">BxBx16sIHIIHIIIII16sH12s12s")


class Item(NamedTuple):
    """A folder or file. ``data`` and ``resource`` are (size, bytes in blocks, extents)."""

    kind: int
    flags: int
    valence: int
    id: int
    created: int
    modified: int
    backed_up: int
    finder: bytes  # FInfo and FXInfo
    data: tuple[int, int, list[Run]] = (0, 0, [])
    resource: tuple[int, int, list[Run]] = (0, 0, [])

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.kind == FOLDER

    def stat(self) -> Stat:
        """The facts of the record; HFS has no owners and modes. Times are local."""
        mode = DIRECTORY_MODE if self.is_folder else FILE_MODE
        modified = hfs_time_ns(self.modified, local=True)
        allocated = None if self.is_folder else self.data[1] + self.resource[1]
        birth = hfs_time_ns(self.created, local=True) or None
        links = 2 if self.is_folder else 1
        return Stat(mode, self.data[0], modified, nlink=links, allocated=allocated, birth_ns=birth)


def parse_item(record: Record) -> Item | None:
    """The folder or file in a catalog record, None for others. Raises ``FormatError``."""
    raw, _, data, end = record
    kind = raw[data] if data < end else 0
    if kind in (FOLDER_THREAD, FILE_THREAD):
        return None
    layout = {FOLDER: _FOLDER, FILE: _FILE}.get(kind)
    if layout is None or data + layout.size > end:
        raise FormatError(NAME, f"a record of {max(0, end - data)} bytes in the catalog")
    if kind == FOLDER:
        _, flags, valence, number, *times, info, more = layout.unpack_from(raw, data)
        created, modified, backed_up = times
        return Item(kind, flags, valence, number, created, modified, backed_up, info + more)
    return _file(layout.unpack_from(raw, data))


def _file(fields: tuple[int, ...]) -> Item:
    kind, flags, info, number, _, size, stored, _, size2, stored2, *times, more, _, runs, runs2 = fields
    assert isinstance(info, bytes)
    assert isinstance(more, bytes)
    assert isinstance(runs, bytes)
    assert isinstance(runs2, bytes)
    data, resource = (size, stored, parse_runs(runs)), (size2, stored2, parse_runs(runs2))
    created, modified, backed_up = times
    return Item(kind, flags, 0, number, created, modified, backed_up, info + more, data, resource)


def record_name(record: Record) -> bytes:
    """The name in the key of a catalog record. Raises ``FormatError``."""
    raw, start, data, end = record
    length = raw[start + 6]
    if length > MAX_NAME or start + NAME_AT + length > min(data, end):
        raise FormatError(NAME, f"a name of {length} letters in the catalog")
    return raw[start + NAME_AT : start + NAME_AT + length]
