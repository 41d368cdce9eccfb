"""Options of forensic images."""

from __future__ import annotations

from typing import Final

from imgmount.core.option import IMAGE, Option

ON_ERROR: Final = Option(
    "on-error", "damaged parts of forensic images: an error (default), or zeros", ("fail", "zero"), flag=True
)
OPTIONS: Final = (ON_ERROR, IMAGE)
