"""Devices of small blocks that are decoded several at once, but fail one at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from imgmount.core.cache import ReadCache
from imgmount.core.device import ChunkedDevice
from imgmount.errors import ImageError

GROUP: Final = 128 << 10  # bytes decoded at once: less costs more in bookkeeping than in decoding


class GroupedDevice(ChunkedDevice):
    """A device decoded in units of ``unit`` bytes. A unit that cannot be decoded is missing alone, not with its group."""

    def __init__(self, size: int, unit: int, cache: ReadCache) -> None:
        self.unit = unit
        self.units = -(-size // unit)
        self._group = max(1, GROUP // unit)
        super().__init__(size, unit * self._group, cache)

    @abstractmethod
    def _read_units(self, first: int, last: int) -> Sequence[bytes]:
        """Units ``first`` up to ``last``, not included, decoded. Called from any thread. Raises ``ImageError``."""

    def unit_size(self, index: int) -> int:
        """Bytes in unit ``index``: the last may be short."""
        return min(self.unit, self.size - index * self.unit)

    def _read_chunk(self, index: int) -> bytes:
        first = index * self._group
        return b"".join(self._read_units(first, min(first + self._group, self.units)))

    def _pread(self, offset: int, size: int) -> bytes:
        try:
            return super()._pread(offset, size)
        except ImageError:  # of a group; perhaps not of the units that are wanted
            first, last = offset // self.unit, (offset + size - 1) // self.unit
            data = b"".join([self._read_units(index, index + 1)[0] for index in range(first, last + 1)])
            skip = offset - first * self.unit
            return data[skip : skip + size]
