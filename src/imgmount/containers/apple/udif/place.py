"""Where the ``koly`` block of a UDIF image is: all that its probe needs."""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice

SIZE: Final = 512
VERSION: Final = 4
_HEAD: Final = b"koly" + VERSION.to_bytes(4, "big") + SIZE.to_bytes(4, "big")
_SEARCHED: Final = 1023  # from the end: some files are filled up to whole sectors behind it


def find(file: BlockDevice) -> int | None:
    """Where the block is: at the end of ``file``, a little before it, or at its start."""
    tail = file.pread(max(0, file.size - _SEARCHED), _SEARCHED)
    at = tail.rfind(_HEAD, 0, max(0, len(tail) - SIZE) + len(_HEAD))
    if at >= 0:
        return file.size - len(tail) + at
    return 0 if file.pread(0, len(_HEAD)) == _HEAD else None
