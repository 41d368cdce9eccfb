"""HFS+ and HFSX, Mac OS Extended: the filesystem of Macs from 1998 to 2017, alone or inside an HFS volume.

Source: Apple Technical Note TN1150, "HFS Plus Volume Format"; xnu ``hfs_format.h`` for what is newer.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Match
from imgmount.core.option import NO_JOURNAL
from imgmount.families.apple import options
from imgmount.filesystems.hfsplus.header import PLACE, embedded, parse_header, read_copy
from imgmount.filesystems.hfsplus.verify import problems
from imgmount.filesystems.hfsplus.volume import HfsPlusVolume

_ISO_9660: Final = (0x8001, b"CD001")
MAX_REST: Final = 1 << 20  # bytes of a partition behind the last block


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the header is sound, LIKELY beside ISO 9660 on a disc."""
    inner = embedded(device)
    parse_header(device if inner is None else inner, PLACE)
    hybrid = device.pread(_ISO_9660[0], 5) == _ISO_9660[1]
    return Match.LIKELY if hybrid else Match.CERTAIN


def rescue(device: BlockDevice) -> Match:
    """LIKELY where the copy of the header is sound and fits the device."""
    copy = read_copy(device)
    return Match.LIKELY if 0 <= device.size - copy.blocks * copy.block_size < MAX_REST else Match.NO


FORMAT: Final = FilesystemFormat(
    name="hfsplus",
    title="HFS+ and HFSX (Mac OS Extended)",
    checks="volume headers, trees, counts, the bitmap",
    probe=probe,
    rescue=rescue,
    open=HfsPlusVolume,
    check=problems,
    limits="journals on other devices; attributes of more than 64 KiB",
    options=(*options.SHARED, NO_JOURNAL, options.HIDDEN),
)
