"""SquashFS 4.0 with any of its compressors, and versions 1.0 to 3.1, which no tool has written since 2009.

Source: the kernel's Documentation/filesystems/squashfs.rst; for the older versions see ``old``. Bytes that
are stored as they are stay runs of the image; the rest is decoded a block at a time.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.format import FilesystemFormat
from imgmount.filesystems.squashfs.volume import SquashVolume

FORMAT: Final = FilesystemFormat(
    name="squashfs",
    title="SquashFS 1 to 4",
    open=SquashVolume,
)
