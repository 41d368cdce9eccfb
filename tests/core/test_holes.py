from __future__ import annotations

import pytest

from imgmount.core import holes
from imgmount.core.device import Extent, MappedDevice
from imgmount.core.slices import Concat, MemoryDevice
from imgmount.errors import ImageError


class Pieces(MappedDevice):
    """Data and holes of a byte each, in turn; it counts how often it is asked."""

    def __init__(self, size: int, bad: int = -1) -> None:
        self.size = size
        self.asked = 0
        self._data = MemoryDevice(b"x")
        self._bad = bad

    def _map(self, offset: int) -> Extent:
        self.asked += 1
        if offset == self._bad:
            raise ImageError("torn")
        return Extent(1) if offset % 2 else Extent(1, self._data)


def test_the_bytes_that_are_not_holes() -> None:
    data = MemoryDevice(b"abc")
    assert holes.allocated(Concat([Extent(3, data), Extent(100), Extent(2, data, 1)])) == 5
    assert holes.allocated(MemoryDevice(b"")) == 0


def test_a_device_in_too_many_pieces_is_not_looked_at_to_its_end() -> None:
    device = Pieces(1 << 20)
    assert holes.allocated(device) == (1 << 20) - holes.MEASURED_RUNS // 2
    assert device.asked <= holes.MEASURED_RUNS + 1


@pytest.mark.parametrize("bad", [0, 6, 7])
def test_what_is_mapped_to_nowhere_counts(bad: int) -> None:
    assert holes.allocated(Pieces(10, bad)) == 10 - bad // 2
