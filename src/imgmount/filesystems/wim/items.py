"""What entries carry as tagged items.

Modes and owners of Unix, extended attributes, the object identifier of NTFS.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.fields import build
from imgmount.filesystems.wim.metadata import Entry

OBJECT_ID: Final = 1
XATTRS: Final = 2
UNIX: Final = 0x337D_D873
OLD_XATTRS: Final = 0x337D_D874
_UNIX: Final = Struct("<IIII")
_FIRST: Final = Struct("<II").pack(UNIX, _UNIX.size)
_HEAD: Final = len(_FIRST)
_XATTR: Final = Struct("<HBB")  # bytes of the value, of the name, flags
_OLD_XATTR: Final = Struct("<II")  # bytes of the name, of the value
OBJECT_ID_SIZE: Final = 16
NAMESPACES: Final = ("user.", "trusted.", "security.", "system.")


class Unix(NamedTuple):
    """What ``stat`` said of a file that was captured on Unix."""

    uid: int
    gid: int
    mode: int
    rdev: int


def unix(entry: Entry) -> Unix | None:
    """The Unix facts about an entry, if it has them."""
    raw, at = entry.raw, entry.items_offset
    if at + _HEAD > entry.facts.length:
        return None
    if raw[at : at + 8] == _FIRST:  # as wimlib writes it
        return build(Unix, _UNIX.unpack_from(raw, at + 8)) if at + 8 + _UNIX.size <= len(raw) else None
    for tag, data in entry.items():
        if tag == UNIX and len(data) >= _UNIX.size:
            return Unix._make(_UNIX.unpack_from(data))
    return None


def xattrs(entry: Entry) -> Iterator[tuple[str, bytes]]:
    """(name, value) of the extended attributes.

    Those of Windows, which have no namespace, below ``user.ea``.
    """
    for tag, data in entry.items():
        if tag == OBJECT_ID and len(data) >= OBJECT_ID_SIZE:
            yield "user.wim.object_id", data[:OBJECT_ID_SIZE]
        elif tag in (XATTRS, OLD_XATTRS):
            for raw, value in _new(data) if tag == XATTRS else _old(data):
                name = raw.decode("utf-8", "surrogateescape")
                yield name if name.startswith(NAMESPACES) else f"user.ea.{name}", value


def _new(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + _XATTR.size <= len(data):
        size, length, _ = _XATTR.unpack_from(data, at)
        at += _XATTR.size
        value = data[at + length + 1 : at + length + 1 + size]
        if not length or len(value) != size:
            return
        yield data[at : at + length], value
        at = at + length + 1 + size


def _old(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + _OLD_XATTR.size <= len(data):
        length, size = _OLD_XATTR.unpack_from(data, at)
        at += _OLD_XATTR.size
        if not length or at + length + size > len(data):
            return
        yield data[at : at + length], data[at + length : at + length + size]
        at = at + length + size + 3 & ~3
