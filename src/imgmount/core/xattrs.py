"""Extended attributes of hostile images: many names may share one large value, so their sum has a limit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from imgmount.errors import FormatError

# bytes of all attributes of one node; Linux lists 64 KiB of names, with values of 64 KiB at most
MAX_TOTAL: Final = 16 << 20


def collect(attributes: Iterable[tuple[str, bytes]], fmt: str) -> dict[str, bytes]:
    """The attributes by name. Raises ``FormatError`` where they are more than any node has."""
    found: dict[str, bytes] = {}
    total = 0
    for name, value in attributes:
        total += len(name) + len(value)
        if total > MAX_TOTAL:
            raise FormatError(fmt, f"more than {MAX_TOTAL >> 20} MiB of extended attributes")
        found[name] = value
    return found
