"""The copies of the superblock, one at the start of each group, for volumes whose first one is lost.

The size of a group is in the first superblock alone. The headers of group 0 behind it say it as well; where
they are gone too, the sizes that ``mkfs.xfs`` chooses are tried. Source: XFS Algorithms and Data Structures,
"Allocation Groups"; xfsprogs, ``libxfs/topology.c``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Match
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.xfs.superblock import MAGIC, NAME, Superblock, parse_superblock

log = logging.getLogger(__name__)

_SECTORS: Final = (512, 1024, 2048, 4096)
_BLOCK_SIZES: Final = (4096, 512, 1024, 2048, 8192, 16384, 32768, 65536)
_USUAL: Final = 4096
_HEADERS: Final = ((1, b"XAGF"), (2, b"XAGI"))  # of a group: sector, magic; its length in blocks is at 12
_LENGTH: Final = slice(12, 16)
_DIVISIONS: Final = (4, *range(2, 17), 32)  # of the device into groups
_POWERS: Final = range(24, 41)  # sizes of a group of volumes that were made larger, 16 MiB to 1 TiB
_NO_INODE: Final = (1 << 64) - 1


def read_superblock(device: BlockDevice) -> Superblock:
    """The first superblock, or else a copy that proves itself.

    Raises ``FormatError``, ``UnsupportedError`` for the former.
    """
    try:
        primary = parse_superblock(device, 0)
        if primary.checksum_is_right:
            return primary
    except FormatError as exc:
        found = _copy(device, _places(device))
        if found is None:
            raise
        log.warning("%s: using the copy at %#x", exc, found.offset)
        return found
    found = _copy(device, iter([primary.group_blocks * primary.block_size]))
    if found is None or found.uuid != primary.uuid:
        return primary
    log.warning("%s: the superblock's checksum is wrong, using the copy at %#x", NAME, found.offset)
    return found


def rescue(device: BlockDevice) -> Match:
    """LIKELY where a copy of the superblock proves itself."""
    return Match.LIKELY if _copy(device, _places(device)) else Match.NO


def _places(device: BlockDevice) -> Iterator[int]:
    """Where the copy of group 1 may be, in bytes, the likely places first."""
    for sector in _SECTORS:
        for number, magic in _HEADERS:
            head = device.pread(number * sector, _LENGTH.stop)
            if head[:4] == magic:
                length = int.from_bytes(head[_LENGTH], "big")
                yield from (length * size for size in _BLOCK_SIZES)
    for division in _DIVISIONS:
        yield -(-(device.size // _USUAL) // division) * _USUAL
    yield from (1 << power for power in _POWERS)


def _copy(device: BlockDevice, places: Iterator[int]) -> Superblock | None:
    for place in dict.fromkeys(places):
        if not 0 < place < device.size or device.pread(place, len(MAGIC)) != MAGIC:
            continue
        with suppress(FormatError, UnsupportedError):
            found = parse_superblock(device, place)
            if found.group_blocks * found.block_size == place and found.checksum_is_right:
                return found if found.root != _NO_INODE else _with_root(device, found)
    return None


def _with_root(device: BlockDevice, known: Superblock) -> Superblock:
    """``known``, which does not name the root, with what the last or the middle copy says."""
    for group in (known.groups - 1, known.groups // 2, *range(2, min(known.groups, 8))):
        try:
            other = parse_superblock(device, group * known.group_blocks * known.block_size)
        except ImageError:
            continue
        if other.root != _NO_INODE and other.uuid == known.uuid:
            return known._replace(root=other.root)
    raise FormatError(NAME, "no copy of the superblock names the root directory", offset=known.offset)
