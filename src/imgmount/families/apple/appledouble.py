"""AppleSingle and AppleDouble: a file's forks and facts as numbered entries, with the data fork or beside it.

Source: RFC 1740, appendix A. Big endian.
"""

from __future__ import annotations

import struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.slices import Concat, MemoryDevice
from imgmount.errors import FormatError

SINGLE: Final = b"\x00\x05\x16\x00"
DOUBLE: Final = b"\x00\x05\x16\x07"
HEADER: Final = 26
ENTRY: Final = struct.Struct(">3I")  # identifier, offset, length
DATA, RESOURCE, NAME, FINDER_INFO = 1, 2, 3, 9
MAX_ENTRIES: Final = 64
VERSIONS: Final = (1 << 16, 2 << 16)
MAC_OS_X: Final = b"Mac OS X".ljust(16)  # the home of a file, in the header


def entries(file: BlockDevice, fmt: str) -> dict[int, tuple[int, int]]:
    """(offset, length) of each entry by its identifier. Raises ``FormatError`` in the name of ``fmt``."""
    head = file.read_exactly(0, HEADER, fmt)
    version, count = int.from_bytes(head[4:8], "big"), int.from_bytes(head[24:26], "big")
    if head[:4] not in (SINGLE, DOUBLE) or version not in VERSIONS:
        raise FormatError(fmt, f"neither AppleSingle nor AppleDouble, version {version:#x}", offset=0)
    if count > MAX_ENTRIES:
        raise FormatError(fmt, f"{count} entries", offset=24)
    found: dict[int, tuple[int, int]] = {}
    for identifier, offset, length in ENTRY.iter_unpack(file.read_exactly(HEADER, count * ENTRY.size, fmt)):
        if offset + length > file.size:
            raise FormatError(
                fmt, f"entry {identifier} of {length} bytes: the file ends first", offset=offset
            )
        found.setdefault(identifier, (offset, length))
    return found


def double(info: bytes, fork: BlockDevice | None) -> BlockDevice:
    """An AppleDouble file of Finder info and resource fork, as macOS lays it out."""
    size = fork.size if fork is not None else 0
    start = HEADER + 2 * ENTRY.size
    head = DOUBLE + VERSIONS[1].to_bytes(4, "big") + MAC_OS_X + (2).to_bytes(2, "big")
    head += ENTRY.pack(FINDER_INFO, start, len(info)) + ENTRY.pack(RESOURCE, start + len(info), size)
    return Concat.of([MemoryDevice(head + info), *([fork] if fork is not None else [])])
