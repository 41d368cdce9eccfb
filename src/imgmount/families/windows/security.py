"""Security descriptors in their self-relative form.

Source: [MS-DTYP] 2.4.2 (SID) and 2.4.6 (SECURITY_DESCRIPTOR).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

_DESCRIPTOR: Final = Struct("<BBHIIII")  # revision, (unused), control, then offsets: owner, group, SACL, DACL
_SID: Final = Struct(">BBHI")  # revision, count of what follows, authority
MAX_SUBAUTHORITIES: Final = 15
MAX_DESCRIPTOR: Final = 64 << 10  # bytes: what fits an extended attribute


def owners(descriptor: bytes) -> tuple[str, str]:
    """The SIDs of the owner and of the owner's group, ``S-1-5-32-544``; empty where there is none."""
    if len(descriptor) < _DESCRIPTOR.size:
        return "", ""
    _, _, _, owner, group, _, _ = _DESCRIPTOR.unpack_from(descriptor)
    return sid(descriptor, owner), sid(descriptor, group)


def sid(data: bytes, offset: int) -> str:
    """The SID at ``offset`` as text; empty if none is there."""
    if not 0 < offset <= len(data) - _SID.size:
        return ""
    revision, count, high, low = _SID.unpack_from(data, offset)
    start = offset + _SID.size
    if revision != 1 or count > MAX_SUBAUTHORITIES or start + 4 * count > len(data):
        return ""
    parts = [int.from_bytes(data[at : at + 4], "little") for at in range(start, start + 4 * count, 4)]
    return "-".join(map(str, ("S", revision, high << 32 | low, *parts)))
