"""The state of the log ($LogFile): whether all of it is on the volume. It is not replayed.

Source: "$LogFile" in the documentation of the Linux-NTFS project: two restart pages say which of the log's
clients are in use.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.errors import ImageError
from imgmount.filesystems.ntfs.records import unfixed

# magic, (fixups,) check disk, page sizes of system and log, offset of the restart area
_PAGE: Final = Struct("<4s4xQIIH")
_AREA: Final = Struct("<QHHHH")  # newest entry, clients, first free, first in use, flags
NO_CLIENT: Final = 0xFFFF
CLEAN_FLAG: Final = 2
PAGE_SIZES: Final = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
EMPTY: Final = b"\xff" * 8  # so ntfs-3g and Windows fill a log without history


class State(Enum):
    """What the log says of the volume, in words for ``info``."""

    CLEAN = "clean"
    EMPTY = "empty"
    OPEN = "has entries that are not replayed"
    DAMAGED = "damaged: it cannot be told whether entries are missing"


def log_state(log: BlockDevice) -> State:
    """The state of a log. The newer of its sound restart pages decides."""
    try:
        head = log.pread(0, _PAGE.size)
    except ImageError:
        return State.DAMAGED
    if head.startswith(EMPTY):
        return State.EMPTY
    page = 4096
    if len(head) == _PAGE.size and (size := _PAGE.unpack(head)[2]) in PAGE_SIZES:
        page = size
    found = [state for at in (0, page) if (state := _restart(log, at, page)) is not None]
    return max(found, key=lambda pair: pair[0])[1] if found else State.DAMAGED


def _restart(log: BlockDevice, at: int, size: int) -> tuple[int, State] | None:
    """(newest entry, state) of a restart page, if it is sound."""
    try:
        raw = log.read_exactly(at, size, "ntfs")
        magic, _, _, _, start = _PAGE.unpack_from(raw)
        data = unfixed(raw, magic if magic in (b"RSTR", b"CHKD") else b"RSTR", "restart page", at // size)
        if start + _AREA.size > size:
            return None
    except ImageError:
        return None
    newest, _, _, client, flags = _AREA.unpack_from(data, start)
    return newest, State.CLEAN if client == NO_CLIENT or flags & CLEAN_FLAG else State.OPEN
