"""SquashFS 4.0 with any of its compressors.

Source: the kernel's Documentation/filesystems/squashfs.rst. Older versions, which no tool has written since 2009, are refused by
name. Bytes that are stored as they are stay runs of the image; the rest is decoded a block at a time.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.format import Format, Kind
from imgmount.filesystems.squashfs.volume import SquashVolume

FORMAT: Final = Format(
    name="squashfs",
    title="SquashFS 4.0",
    kind=Kind.FILESYSTEM,
    open=SquashVolume,
    limits="versions 1 to 3 are refused",
)
