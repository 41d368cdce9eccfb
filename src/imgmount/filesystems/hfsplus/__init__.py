"""HFS+ and HFSX, Mac OS Extended: the filesystem of Macs from 1998 to 2017, alone or inside an HFS volume.

Source: Apple Technical Note TN1150, "HFS Plus Volume Format"; xnu ``hfs_format.h`` for what is newer.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Match
from imgmount.families.apple import options
from imgmount.filesystems.hfsplus.header import PLACE, embedded, read_header
from imgmount.filesystems.hfsplus.verify import problems
from imgmount.filesystems.hfsplus.volume import HfsPlusVolume

_ISO_9660: Final = (0x8001, b"CD001")


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the header is sound, LIKELY where only its copy is, or beside ISO 9660 on a disc."""
    inner = embedded(device)
    header = read_header(device if inner is None else inner)
    hybrid = device.pread(_ISO_9660[0], 5) == _ISO_9660[1]
    return Match.LIKELY if hybrid or header.place != PLACE else Match.CERTAIN


FORMAT: Final = FilesystemFormat(
    name="hfsplus",
    title="HFS+ and HFSX (Mac OS Extended)",
    probe=probe,
    open=HfsPlusVolume,
    check=problems,
    limits="journals on other devices; attributes of more than 64 KiB",
    needs="apple",
    options=(*options.SHARED, options.NO_JOURNAL, options.HIDDEN),
)
