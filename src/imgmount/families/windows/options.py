"""Options of file systems of Windows."""

from __future__ import annotations

from typing import Final

from imgmount.core.option import IMAGE, Option

SYSTEM: Final = Option(
    "system", "the system's own files ($MFT...) of NTFS: hidden (default) or shown", ("hide", "show")
)
STREAMS: Final = Option(
    "ads", "alternate data streams as extended attributes (default) or as files", ("xattr", "files")
)
OPTIONS: Final = (IMAGE, SYSTEM, STREAMS)
