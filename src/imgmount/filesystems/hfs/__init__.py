"""HFS, Mac OS Standard: the filesystem of Macs from 1985 to 1998. Inside Macintosh: Files, chapter 2."""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Match
from imgmount.families.apple.options import SHARED
from imgmount.filesystems.hfs.header import EMBEDDED, NAME, PLACE, SECTOR, parse_block, read_copy
from imgmount.filesystems.hfs.verify import problems
from imgmount.filesystems.hfs.volume import HfsVolume

_ISO_9660: Final = (0x8001, b"CD001")
MAX_REST: Final = 1 << 20  # bytes of a partition behind the last block


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the master directory block is sound.

    LIKELY beside ISO 9660 on a disc; FALLBACK around an HFS+ volume.
    """
    block = parse_block(device, PLACE)
    if block.embedded in EMBEDDED:
        return Match.FALLBACK
    hybrid = device.pread(_ISO_9660[0], 5) == _ISO_9660[1]
    return Match.LIKELY if hybrid else Match.CERTAIN


def rescue(device: BlockDevice) -> Match:
    """LIKELY where the copy of the block is sound and fits the device."""
    copy = read_copy(device)
    end = copy.first_block * SECTOR + copy.blocks * copy.block_size
    return Match.LIKELY if 0 <= device.size - end < MAX_REST else Match.NO


FORMAT: Final = FilesystemFormat(
    name=NAME,
    title="HFS (Mac OS Standard)",
    extensions=(".hfs", ".hfv", ".dsk", ".img"),
    checks="volume headers, trees, counts, the bitmap",
    probe=probe,
    rescue=rescue,
    open=HfsVolume,
    check=problems,
    options=SHARED,
)
