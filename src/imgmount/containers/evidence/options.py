"""Options of forensic images."""

from __future__ import annotations

from typing import Final

from imgmount.core.option import IMAGE, Option

ON_ERROR: Final = Option(
    "on-error",
    "parts of forensic images that are damaged: an error (default), or zeros; so too what an AFF4 says could "
    "not be read, which is UNREADABLEDATA over and over with 'zero'",
    ("fail", "zero"),
    flag=True,
)
OPTIONS: Final = (ON_ERROR, IMAGE)
