r"""AmigaDOS floppies and hard disk partitions: OFS and FFS; INTL, DIRC and LNFS variants.

DOS\0 to DOS\7 of AmigaOS 1 to 3.2, also as the Multi-User File System marks them. No PFS, no SFS.
Sources: see ``blocks``.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Later, Match
from imgmount.errors import FormatError

LARGEST_FLOPPY: Final = 84 * 22 * 2 * 512  # only these are searched for a root block without a DOS bootblock


def probe(device: BlockDevice) -> Match:
    """CERTAIN with a DOS bootblock and a good root block; LIKELY with either, or on a floppy without both."""
    boot = device.pread(0, 4)
    if device.size > LARGEST_FLOPPY and not boot.startswith((b"DOS", b"muF")):
        return Match.NO
    from imgmount.filesystems.amigados.blocks import NO_FILESYSTEM, dos_type, find_root

    dos = dos_type(boot) is not None
    if not dos and device.size > LARGEST_FLOPPY:
        return Match.NO
    try:
        root = find_root(device)
    except FormatError:
        return Match.LIKELY if dos or boot in NO_FILESYSTEM else Match.NO
    if dos:
        return Match.CERTAIN if root.sound else Match.LIKELY
    return Match.LIKELY if root.sound else Match.NO


def rescue(device: BlockDevice) -> Match:
    """LIKELY where the bootblock is wiped and a root block with a good checksum is in its place."""
    from imgmount.filesystems.amigados.blocks import find_root

    return Match.LIKELY if find_root(device).sound else Match.NO


FORMAT: Final = FilesystemFormat(
    name="amigados",
    title="AmigaDOS: OFS, FFS (INTL, DIRC, LNFS)",
    extensions=(".adf", ".hdf"),
    checks="sum of each block but FFS data",
    probe=probe,
    rescue=rescue,
    open=Later("imgmount.filesystems.amigados.volume:AmigaVolume"),
    check=Later("imgmount.filesystems.amigados.check:check"),
    deleted=Later("imgmount.filesystems.amigados.deleted:deleted"),
    limits="hard links to directories are shown as symlinks; soft links keep their AmigaDOS paths",
)
