"""Devices made of other devices.

They are a part of one, several in a row, sectors without headers, zeros, bytes in memory, or an error.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.errors import ImageError


class Slice(MappedDevice):
    """``size`` bytes of ``device`` from ``offset``. A slice of a slice is a slice of what lies below.

    A slice may claim more than its device holds (a truncated image): what is missing raises ``ImageError``
    when read.
    """

    def __init__(self, device: BlockDevice, offset: int, size: int) -> None:
        if offset < 0 or size < 0:
            raise ValueError(f"Slice({offset}, {size})")
        self.device: BlockDevice = device
        self.offset: int = offset
        if isinstance(device, Slice) and offset + size <= device.size:
            self.device = device.device
            self.offset = device.offset + offset
        self.size = size
        self.block_size = device.block_size

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self.device, self.offset + offset)

    def _pread(self, offset: int, size: int) -> bytes:
        start = self.offset + offset
        return (
            self.device.pread(start, size)
            if start + size <= self.device.size
            else super()._pread(offset, size)
        )


class Concat(MappedDevice):
    """Devices, or holes of a given extent, one after the other."""

    def __init__(self, runs: Sequence[Extent]) -> None:
        self._runs = [run for run in runs if run.length]
        self._starts = [0, *accumulate(run.length for run in self._runs)]
        self.size = self._starts.pop()

    @classmethod
    def of(cls, devices: Sequence[BlockDevice]) -> Concat:
        """The devices, each whole."""
        return cls([Extent(device.size, device) for device in devices])

    def _map(self, offset: int) -> Extent:
        index = bisect_right(self._starts, offset) - 1
        length, device, start = self._runs[index]
        skip = offset - self._starts[index]
        return Extent(length - skip, device, start + skip if device else 0)


def beneath(parent: BlockDevice | None, offset: int, length: int) -> Extent:
    """What an overlay that stores nothing at ``offset`` shows there.

    Its parent, zeros without one or past its end.
    """
    if parent is None or offset >= parent.size:
        return Extent(length)
    return Extent(min(length, parent.size - offset), parent, offset)


class Strided(BlockDevice):
    """``payload`` bytes at ``skip`` of every ``stride`` bytes of ``device``.

    2048 of each 2352-byte CD sector.

    Reads copy the data: runs of two kilobytes are not worth a splice each.
    """

    def __init__(self, device: BlockDevice, stride: int, skip: int, payload: int) -> None:
        self.device = device
        self.stride = stride
        self.skip = skip
        self.payload = payload
        whole, rest = divmod(device.size, stride)
        self.size = (whole + (rest >= skip + payload)) * payload
        self.block_size = payload

    def _pread(self, offset: int, size: int) -> bytes:
        first, lead = divmod(offset, self.payload)
        last = (offset + size - 1) // self.payload
        base = first * self.stride + self.skip
        span = (last - first) * self.stride + self.payload
        raw = memoryview(self.device.read_exactly(base, span, "sectors"))  # slices of it are no copies
        payload = self.payload
        data = b"".join([raw[at : at + payload] for at in range(0, span, self.stride)])
        return data if len(data) == size else data[lead : lead + size]


class ZeroDevice(MappedDevice):
    """``size`` zeros, as a hole."""

    def __init__(self, size: int) -> None:
        self.size = size

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset)


class MemoryDevice(BlockDevice):
    """Bytes that are in memory already: a decoded table, a generated header, a test."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def _pread(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]


class Unreadable(BlockDevice):
    """``size`` bytes that cannot be read, as in a partition without its key: each read says why."""

    def __init__(self, size: int, reason: ImageError) -> None:
        self.size = size
        self._reason = reason

    def _pread(self, offset: int, size: int) -> bytes:  # noqa: ARG002
        raise self._reason.again()
