"""``--on-error zero``: ranges of damaged evidence read as zeros and are reported, instead of an error."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from imgmount.containers.evidence.options import ON_ERROR
from imgmount.core.format import Context
from imgmount.errors import ImageError

log = logging.getLogger(__name__)

MAX_KEPT: Final = 1 << 16  # ranges
SHOWN: Final = 8


class ZeroFill:
    """The ranges of one device that were read as zeros so far."""

    def __init__(self, context: Context) -> None:
        self.wanted = ON_ERROR.of(context.options.extra) == "zero"
        self._sizes: dict[int, int] = {}

    def fill(self, offset: int, size: int, error: ImageError) -> bytes:
        """Zeros for the ``size`` bytes at ``offset`` that ``error`` is about.

        Raises it unless zeros are wanted.
        """
        if not self.wanted:
            raise error.again()
        if offset not in self._sizes and len(self._sizes) < MAX_KEPT:
            self._sizes[offset] = size
            log.warning("%s: %#x+%#x reads as zeros", error, offset, size)
        return bytes(size)

    def info(self) -> Mapping[str, str]:
        """The fact for ``imgmount info``, if there is something to tell."""
        if not self._sizes:
            return {}
        shown = ", ".join(f"{offset:#x}+{self._sizes[offset]:#x}" for offset in sorted(self._sizes)[:SHOWN])
        more = ", ..." if len(self._sizes) > SHOWN else ""
        return {"damaged, read as zeros": f"{len(self._sizes)} ranges: {shown}{more}"}
