"""The checksums over metadata: CRC-32C with ``metadata_csum``, CRC-16 with the older ``uninit_bg``."""

from __future__ import annotations

from typing import Final

from imgmount.codecs import crc32c
from imgmount.errors import ChecksumError

_NAME: Final = "ext"
_ONES: Final = 0xFFFF_FFFF
_GENERATION: Final = 0x64  # in an inode
_INODE_LOW: Final = 0x7C  # the two halves of its checksum
_INODE_HIGH: Final = 0x82
_INODE_BASE: Final = 128
_WITH_HIGH: Final = 4  # bytes in use behind the first 128
_IBM: Final = 0xA001  # the polynomial 0x8005, reflected


def metadata_crc(data: bytes, seed: int = _ONES) -> int:
    """CRC-32C begun at ``seed`` and, unlike the usual one, not inverted."""
    return crc32c.crc32c(data, seed ^ _ONES) ^ _ONES


def group_crc(data: bytes, seed: int = 0xFFFF) -> int:
    """CRC-16/ARC begun at ``seed``."""
    for byte in data:
        seed ^= byte
        for _ in range(8):
            seed = seed >> 1 ^ (_IBM if seed & 1 else 0)
    return seed


class Checks:
    """Checks what ``metadata_csum`` protects; nothing where the feature is off. ``seed`` is the volume's.

    Each method raises ``ChecksumError``, or gives None. Kernel documentation, ext4/checksums.rst.
    """

    def __init__(self, seed: int, *, enabled: bool) -> None:
        self._seed = seed
        self.enabled = enabled

    def inode(self, raw: bytes, number: int) -> None:
        """Inode ``number``, all of it."""
        if not self.enabled:
            return
        stored = int.from_bytes(raw[_INODE_LOW : _INODE_LOW + 2], "little")
        body, mask = raw[:_INODE_LOW] + bytes(2) + raw[_INODE_LOW + 2 :], 0xFFFF
        if (
            len(raw) > _INODE_BASE
            and int.from_bytes(raw[_INODE_BASE : _INODE_BASE + 2], "little") >= _WITH_HIGH
        ):
            stored |= int.from_bytes(raw[_INODE_HIGH : _INODE_HIGH + 2], "little") << 16
            body, mask = body[:_INODE_HIGH] + bytes(2) + body[_INODE_HIGH + 2 :], _ONES
        if metadata_crc(body, self.of_inode(raw, number)) & mask != stored:
            raise ChecksumError(_NAME, f"the checksum of inode {number} is wrong")

    def of_inode(self, raw: bytes, number: int) -> int:
        """The seed of what belongs to an inode: its number and generation."""
        return metadata_crc(number.to_bytes(4, "little") + raw[_GENERATION : _GENERATION + 4], self._seed)

    def extents(self, data: bytes, seed: int, offset: int) -> None:
        """A block of an extent tree, which has its checksum behind the room for entries."""
        if not self.enabled:
            return
        end = 12 + 12 * int.from_bytes(data[4:6], "little")
        if metadata_crc(data[:end], seed) != int.from_bytes(data[end : end + 4], "little"):
            raise ChecksumError(_NAME, "the checksum of a block of extents is wrong", offset=offset)

    def attributes(self, data: bytes, block: int, offset: int) -> None:
        """Block number ``block``, of extended attributes."""
        if not self.enabled:
            return
        body = block.to_bytes(8, "little") + data[:16] + bytes(4) + data[20:]
        if metadata_crc(body, self._seed) != int.from_bytes(data[16:20], "little"):
            raise ChecksumError(_NAME, "the checksum of a block of attributes is wrong", offset=offset)

    def directory(self, data: bytes, seed: int, at: int) -> None:
        """A block of a directory, at ``at`` in it: of entries, or of the index that hides in unused ones."""
        if not any(data):
            return  # a hole
        index = _index_at(data)
        if index:
            limit, count = (
                int.from_bytes(data[index : index + 2], "little"),
                int.from_bytes(data[index + 2 : index + 4], "little"),
            )
            tail = index + 8 * limit
            body = data[: index + 8 * count] + data[tail : tail + 4] + bytes(4)
            found, stored = metadata_crc(body, seed), data[tail + 4 : tail + 8]
        else:
            found, stored = metadata_crc(data[:-12], seed), data[-4:]
        if len(stored) != 4 or found != int.from_bytes(stored, "little"):
            raise ChecksumError(_NAME, f"the checksum of a block at {at:#x} of a directory is wrong")


def _index_at(data: bytes) -> int:
    """Where the numbers of an index begin in a block of a directory; 0 in a block of entries."""
    size, length = len(data) & 0xFFFF, int.from_bytes(data[4:6], "little")
    if length == size and not any(data[:4]):
        return 8
    second = int.from_bytes(data[16:18], "little")
    is_root = length == 12 and second == (len(data) - 12) & 0xFFFF and not any(data[24:28]) and data[29] == 8
    return 32 if is_root else 0
