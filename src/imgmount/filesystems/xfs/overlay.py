"""A volume with other bytes in some of its sectors, which are in memory."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from imgmount.filesystems.xfs.superblock import NAME, SECTOR

MAX_SECTORS: Final = 1 << 18  # 128 MiB


class Overlay:
    """Sectors of ``device`` that are being changed."""

    def __init__(self, device: BlockDevice) -> None:
        self._device = device
        self._places: dict[int, int] = {}  # sector -> where it is in the memory
        self._memory = bytearray()

    def __len__(self) -> int:
        """Sectors that differ."""
        return len(self._places)

    def read(self, offset: int, size: int) -> bytes:
        """The bytes as they are now. Raises ``FormatError`` outside the device."""
        data = bytearray(self._device.read_exactly(offset, size, NAME))
        for sector in range(offset // SECTOR, -(-(offset + size) // SECTOR)):
            place = self._places.get(sector)
            if place is None:
                continue
            start, end = max(offset, sector * SECTOR), min(offset + size, (sector + 1) * SECTOR)
            skipped = place + start - sector * SECTOR
            data[start - offset : end - offset] = self._memory[skipped : skipped + end - start]
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """Put ``data`` at ``offset``. Raises ``FormatError`` outside the device, and where it is too much."""
        first, end = offset // SECTOR, -(-(offset + len(data)) // SECTOR)
        whole = bytearray(self.read(first * SECTOR, (end - first) * SECTOR))
        whole[offset - first * SECTOR : offset - first * SECTOR + len(data)] = data
        for sector in range(first, end):
            place = self._places.setdefault(sector, len(self._memory))
            at = (sector - first) * SECTOR
            self._memory[place : place + SECTOR] = whole[at : at + SECTOR]
        if len(self._places) > MAX_SECTORS:
            raise FormatError(NAME, f"more than {MAX_SECTORS} sectors are in the log")

    def frozen(self) -> BlockDevice:
        """The volume as it is now."""
        return _Frozen(self._device, self._places, MemoryDevice(bytes(self._memory)))


class _Frozen(MappedDevice):
    def __init__(self, device: BlockDevice, places: dict[int, int], memory: BlockDevice) -> None:
        self.size = device.size
        self.block_size = device.block_size
        self._device = device
        self._places = places
        self._memory = memory
        self._sectors = sorted(places)

    def _map(self, offset: int) -> Extent:
        sector, skip = divmod(offset, SECTOR)
        place = self._places.get(sector)
        if place is not None:
            return Extent(SECTOR - skip, self._memory, place + skip)
        following = bisect_right(self._sectors, sector)
        end = self._sectors[following] * SECTOR if following < len(self._sectors) else self.size
        return Extent(end - offset, self._device, offset)
