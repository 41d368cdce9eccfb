"""SquashFS 4.0 with any of its compressors, and versions 1.0 to 3.1; also as device makers write them.

Those are big endian, have magics of their own, or LZMA where zlib is declared: the fields decide.

Source: the kernel's Documentation/filesystems/squashfs.rst; for the older versions see ``old``. Bytes that
are stored as they are stay runs of the image; the rest is decoded a block at a time.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Match
from imgmount.errors import FormatError, UnsupportedError
from imgmount.filesystems.squashfs.superblock import MAGICS
from imgmount.filesystems.squashfs.volume import SquashVolume, read_superblock


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the superblock makes sense; LIKELY where only its own magic is there."""
    try:
        read_superblock(device)
    except FormatError:
        if device.pread(0, 4) not in MAGICS:
            raise
        return Match.LIKELY
    except UnsupportedError:  # it is SquashFS all the same
        return Match.CERTAIN
    return Match.CERTAIN


FORMAT: Final = FilesystemFormat(
    name="squashfs",
    title="SquashFS 1 to 4",
    extensions=(".squashfs", ".sqsh", ".sfs"),
    checks="those of coded blocks",
    probe=probe,
    open=SquashVolume,
)
