"""A block device as a binary file, for libraries that want one."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from imgmount.core.device import BlockDevice

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class DeviceFile(io.RawIOBase):
    """``device`` with a position. Reading only; closing it leaves the device open."""

    def __init__(self, device: BlockDevice) -> None:
        super().__init__()
        self._device = device
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._device.pread(self._position, len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._device.size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position
