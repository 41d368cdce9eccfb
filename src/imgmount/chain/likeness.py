"""Whether bytes in which nothing is recognised can be those of a disk at all."""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import Final

from imgmount.core.device import BlockDevice

SMALLEST_SECTOR: Final = 256  # of a Commodore 64's floppies
HEAD: Final = 4096
_CONTROLS: Final = bytes(code for code in range(32) if code not in b"\t\n\f\r\x1b")


def why_no_disk(device: BlockDevice) -> str:
    """What makes a disk impossible: lines of text, or a size that is no number of sectors. "" if nothing.

    Raises ``ImageError``.
    """
    if _is_text(device.pread(0, HEAD)):
        return "it is text"
    if device.size % SMALLEST_SECTOR:
        return f"its {device.size} bytes are no whole sectors"
    return ""


def _is_text(head: bytes) -> bool:
    """Lines, without controls. One pattern all over, of a wiped disk, has no line ends."""
    if b"\n" not in head or head.translate(None, _CONTROLS) != head:
        return False
    try:
        getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True
