"""Security descriptors: in the file's record, or once for many files in the stream $SDS of $Secure.

Source: "$Secure" in the documentation of the Linux-NTFS project.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from imgmount.core.fields import table
from imgmount.errors import ChecksumError, FormatError
from imgmount.families.windows.security import MAX_DESCRIPTOR
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.boot import NAME
from imgmount.filesystems.ntfs.mft import SECURE

if TYPE_CHECKING:
    from imgmount.filesystems.ntfs.records import Record
    from imgmount.filesystems.ntfs.volume import NtfsVolume

_ENTRY: Final = Struct("<IIQI")  # hash, id, place in the stream, size
_ID_AT: Final = 52  # in standard information of NTFS 3
_ID: Final = Struct("<I")
COPY: Final = 0x40000  # bytes from each entry of the stream to its copy


def descriptor(volume: NtfsVolume, record: Record) -> bytes | None:
    """The security descriptor of a file, self-relative as Windows gives it. Raises ``ImageError``."""
    own = volume.stream(record, records.SECURITY_DESCRIPTOR)
    if own is not None:
        return volume.content(own).pread(0, min(own.size, MAX_DESCRIPTOR))
    standard = volume.stream(record, records.STANDARD_INFORMATION)
    if standard is None or standard.content is None or len(standard.content) < _ID_AT + _ID.size:
        return None
    (number,) = _ID.unpack_from(standard.content, _ID_AT)
    return shared(volume, number) if number else None


def shared(volume: NtfsVolume, number: int) -> bytes:
    """The descriptor with an id.

    Raises ``FormatError`` where it is not there, ``ChecksumError`` where both copies are wrong.
    """
    secure = volume.mft.record(SECURE)
    found = volume.index(secure, "$SII").find(number)
    stream = volume.stream(secure, records.DATA, "$SDS")
    if found is None or stream is None or len(found) < _ENTRY.size:
        raise FormatError(NAME, f"no security descriptor has the id {number}")
    checksum, _, place, size = _ENTRY.unpack_from(found)
    if not _ENTRY.size < size <= MAX_DESCRIPTOR + _ENTRY.size:
        raise FormatError(NAME, f"a security descriptor of {size} bytes")
    content = volume.content(stream)
    for at in (place, place + COPY):
        data = content.pread(at, size)[_ENTRY.size :]
        if len(data) == size - _ENTRY.size and hashed(data) == checksum:
            return data
    raise ChecksumError(NAME, f"the checksum of security descriptor {number} is wrong in both of its copies")


def hashed(data: bytes) -> int:
    """The checksum of a descriptor: each word is added to the sum so far, turned left by three."""
    total = 0
    for word in table(data, 4, "little"):
        total = (word + (total << 3 | total >> 29)) & 0xFFFF_FFFF
    return total
