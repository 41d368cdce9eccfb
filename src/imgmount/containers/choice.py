"""Which of several disks in one file is opened."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from imgmount.errors import ImageError

log = logging.getLogger(__name__)


def choose(fmt: str, names: Sequence[str], wanted: str) -> str:
    """The disk that ``wanted`` names, with its path or without. Without a wish the first, and a warning.

    ``fmt`` is the container's name. Raises ``ImageError`` that lists what there is.
    """
    found = [name for name in names if not wanted or wanted in (name, name.rpartition("/")[2])]
    if not found:
        asked = f"called {wanted!r}" if wanted else "inside"
        raise ImageError(f"{fmt}: no disk image {asked}; there are: {', '.join(names) or 'none'}")
    if not wanted and len(names) > 1:
        log.warning("%s: %s is opened, of %d disks: -X member=NAME chooses", fmt, found[0], len(names))
    return found[0]
