"""File attributes of Windows. Source: [MS-FSCC] 2.6."""

from __future__ import annotations

from typing import Final

DIRECTORY: Final = 0x10
SPARSE: Final = 0x200
REPARSE_POINT: Final = 0x400
COMPRESSED: Final = 0x800
OFFLINE: Final = 0x1000
ENCRYPTED: Final = 0x4000
RECALL: Final = 0x40_0000  # the content is elsewhere, and fetched when it is read


def text(attributes: int) -> bytes:
    """The attributes as extended attributes of files show them: ``0x00000020``."""
    return b"%#010x" % attributes
