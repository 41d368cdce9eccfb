"""``--on-error zero``: ranges of damaged evidence read as zeros and are reported, instead of an error."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from imgmount.containers.evidence.options import ON_ERROR
from imgmount.core.format import Context
from imgmount.errors import ImageError

log = logging.getLogger(__name__)

MAX_KEPT: Final = 1 << 16  # ranges
SHOWN: Final = 8


class Span(NamedTuple):
    """A range of bytes."""

    start: int
    end: int


def spans(found: Sequence[Span]) -> str:
    """``0x200+0x400, ...``: the first of them, for people."""
    shown = ", ".join(f"{start:#x}+{end - start:#x}" for start, end in found[:SHOWN])
    return shown + ", ..." * (len(found) > SHOWN)


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
        found = [Span(offset, offset + size) for offset, size in sorted(self._sizes.items())]
        return {"damaged, read as zeros": f"{len(found)} ranges: {spans(found)}"}
