"""A device that counts what is read of it: laziness is measured in bytes."""

from __future__ import annotations

from imgmount.core.device import BlockDevice


class CountingDevice(BlockDevice):
    def __init__(self, device: BlockDevice) -> None:
        self._device = device
        self.size = device.size
        self.bytes = 0
        self.reads = 0

    def _pread(self, offset: int, size: int) -> bytes:
        self.bytes += size
        self.reads += 1
        return self._device.pread(offset, size)
