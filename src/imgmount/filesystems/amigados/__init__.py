r"""AmigaDOS floppies and hard disk partitions: OFS and FFS, with their international, cached and long-name variants.

DOS\0 to DOS\7 of AmigaOS 1 to 3.2. No PFS, no SFS. Sources: see ``blocks``.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Format, Kind, Match
from imgmount.core.node import Filesystem
from imgmount.errors import FormatError
from imgmount.filesystems.amigados.blocks import NO_FILESYSTEM, dos_type, find_root

LARGEST_FLOPPY: Final = 84 * 22 * 2 * 512  # only these are searched for a root block without a DOS bootblock


def probe(device: BlockDevice) -> Match:
    """CERTAIN with a DOS bootblock and a good root block, LIKELY with either, or on a floppy without a filesystem."""
    boot = device.pread(0, 4)
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


def open_amigados(device: BlockDevice, context: Context) -> Filesystem:
    """The volume on ``device``."""
    from imgmount.filesystems.amigados.volume import AmigaVolume  # this package is imported at every start, its reader is not

    return AmigaVolume(device, context)


FORMAT: Final = Format(
    name="amigados",
    title="AmigaDOS: OFS, FFS (INTL, DIRC, LNFS)",
    kind=Kind.FILESYSTEM,
    probe=probe,
    open=open_amigados,
    limits="hard links to directories are shown as symlinks; soft links keep their AmigaDOS paths",
)
