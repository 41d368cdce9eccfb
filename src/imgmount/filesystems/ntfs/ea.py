"""Extended attributes ($EA), where the Windows Subsystem for Linux keeps owners and modes.

Source: FILE_FULL_EA_INFORMATION, [MS-FSCC] 2.4.16.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from imgmount.errors import FormatError
from imgmount.filesystems.ntfs.boot import NAME

_ENTRY: Final = Struct("<IBBH")  # where the next begins, flags, name length, value length


def extended_attributes(content: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, value) of each attribute in $EA. Raises ``FormatError`` where they are damaged."""
    at = 0
    while at + _ENTRY.size <= len(content):
        step, _, letters, size = _ENTRY.unpack_from(content, at)
        start = at + _ENTRY.size
        stop = start + letters + 1 + size
        if stop > len(content) or (step and step < stop - at):
            raise FormatError(
                NAME, f"an extended attribute at {at:#x} that ends at {stop:#x} of {len(content):#x} bytes"
            )
        yield content[start : start + letters].decode("latin-1"), content[stop - size : stop]
        if not step:
            return
        at += step
