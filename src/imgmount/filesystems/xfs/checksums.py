"""The checksums over metadata of version 5: CRC-32C, little endian, with its own four bytes as zeros.

XFS Algorithms and Data Structures, "Self Describing Metadata".
"""

from __future__ import annotations

from typing import Final

from imgmount.codecs.crc32c import crc32c
from imgmount.errors import ChecksumError

_NAME: Final = "xfs"
# where the checksum is
SUPERBLOCK: Final = 224
INODE: Final = 100
EXTENTS: Final = 64  # a block of a tree of them
DIRECTORY: Final = 4
ATTRIBUTES: Final = 12  # also long links and values


def is_right(data: bytes, at: int) -> bool:
    """Whether the checksum at ``at`` is that of ``data``."""
    return _right(data, at) == data[at : at + 4]


def sealed(data: bytes, at: int) -> bytes:
    """``data`` with the checksum at ``at`` that is right for it."""
    return data[:at] + _right(data, at) + data[at + 4 :]


def _right(data: bytes, at: int) -> bytes:
    return crc32c(data[:at] + bytes(4) + data[at + 4 :]).to_bytes(4, "little")


def check(data: bytes, at: int, what: str, offset: int | None = None) -> None:
    """Raise ``ChecksumError`` for ``what`` where the checksum at ``at`` is not that of ``data``."""
    if not is_right(data, at):
        raise ChecksumError(_NAME, f"the checksum of {what} is wrong", offset=offset)
