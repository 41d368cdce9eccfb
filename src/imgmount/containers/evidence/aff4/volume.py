"""An AFF4 volume: a zip file of streams, named after their URNs, and facts in ``information.turtle``."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import Final
from urllib.parse import unquote

from imgmount.containers.evidence.aff4.dialect import Dialect, dialect_of, standardised
from imgmount.containers.evidence.aff4.turtle import Graph, parse
from imgmount.core.device import BlockDevice
from imgmount.core.device_file import DeviceFile
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, UnsupportedError

DESCRIPTION: Final = "container.description"
INFORMATION: Final = "information.turtle"
MAX_MEMBERS: Final = 1 << 20
MAX_DIRECTORY: Final = 128 << 20
MAX_TEXT: Final = 1 << 20
# zip, local file header: signature, length of the name and of the extra field
_LOCAL: Final = struct.Struct("<4s22xHH")
_END: Final = b"PK\x05\x06"
_END_SEARCH: Final = (1 << 16) + 22
_ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    NotImplementedError,
    EOFError,
    OSError,
    RuntimeError,
)


class Volume:
    """The members of one zip file, by URN, and what its turtle says."""

    def __init__(self, file: BlockDevice, name: str) -> None:
        self.file = file
        self.name = name
        _check_directory(file, name)
        try:
            self._zip = zipfile.ZipFile(DeviceFile(file))
        except _ZIP_ERRORS as exc:
            raise FormatError("aff4", f"{name}: its zip directory is damaged") from exc
        members = self._zip.infolist()
        if len(members) > MAX_MEMBERS:
            raise FormatError("aff4", f"{name}: {len(members)} members: at most {MAX_MEMBERS} are read")
        by_name = {member.filename: member for member in members}
        comment = self._zip.comment.split(b"\0")[0].decode("utf-8", "replace").strip()
        self.urn = self._text(by_name, DESCRIPTION).strip() if DESCRIPTION in by_name else comment
        self._members = {self._urn_of(unquote(found)): member for found, member in by_name.items()}
        stated = parse(self._text(by_name, INFORMATION))
        self.dialect = dialect_of(stated)
        self.graph: Graph = stated if self.dialect is Dialect.STANDARD else standardised(stated)

    def _urn_of(self, name: str) -> str:
        return name if name.startswith("aff4:") else f"{self.urn}/{name}"

    def _text(self, members: dict[str, zipfile.ZipInfo], name: str) -> str:
        member = members.get(name)
        if member is None:
            raise FormatError("aff4", f"{self.name}: no {name}")
        return self._read(member, MAX_TEXT).decode("utf-8-sig", "replace")

    def __contains__(self, urn: str) -> bool:
        return urn in self._members

    def _read(self, member: zipfile.ZipInfo, limit: int) -> bytes:
        if member.file_size > limit:
            raise FormatError(
                "aff4",
                f"{self.name}: {member.filename!r} has {member.file_size} bytes: at most {limit} are read",
                offset=member.header_offset,
            )
        try:
            with self._zip.open(member) as stream:
                return stream.read(limit + 1)[:limit]
        except _ZIP_ERRORS as exc:
            reason = f"{self.name}: {member.filename!r} is damaged, or not what the zip directory says"
            raise FormatError("aff4", reason, offset=member.header_offset) from exc

    def read(self, urn: str, limit: int) -> bytes:
        """A small member, whole; its CRC is checked. Raises ``FormatError``."""
        return self._read(self._members[urn], limit)

    def open(self, urn: str) -> BlockDevice:
        """A stored member, in place. Raises ``FormatError``, ``UnsupportedError``."""
        member = self._members[urn]
        if member.compress_type != zipfile.ZIP_STORED:
            raise UnsupportedError("aff4: data in compressed zip members")
        header = self.file.read_exactly(member.header_offset, _LOCAL.size, "aff4")
        signature, name, extra = _LOCAL.unpack(header)
        start = member.header_offset + _LOCAL.size + name + extra
        if signature != b"PK\x03\x04" or start + member.file_size > self.file.size:
            raise FormatError(
                "aff4", f"{self.name}: {member.filename!r} is not whole", offset=member.header_offset
            )
        return Slice(self.file, start, member.file_size)


def _check_directory(file: BlockDevice, name: str) -> None:
    """Refuse a central directory too large to be read whole, as zipfile does."""
    start = max(0, file.size - _END_SEARCH)
    tail = file.pread(start, _END_SEARCH)
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        raise FormatError("aff4", f"{name}: no end of the zip directory: the file is truncated")
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    zip64 = file.pread(start + at - 76, 56)  # before its locator of 20 bytes
    if size == 0xFFFF_FFFF and zip64[:4] == b"PK\x06\x06":
        size = int.from_bytes(zip64[40:48], "little")
    if size > min(MAX_DIRECTORY, file.size):
        raise FormatError("aff4", f"{name}: a zip directory of {size} bytes", offset=start + at)
