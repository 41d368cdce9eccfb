"""Options of forensic images."""

from __future__ import annotations

from typing import Final

from imgmount.core.option import Option

ON_ERROR: Final = Option(
    "on-error", "damaged parts of forensic images: an error (default), or zeros", ("fail", "zero"), flag=True
)
IMAGE: Final = Option("image", "which disk image of an AFF4 volume: its URN or the end of it", metavar="URN")
OPTIONS: Final = (ON_ERROR, IMAGE)
