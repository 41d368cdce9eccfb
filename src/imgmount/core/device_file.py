"""A block device as a binary file object, for libraries that want one.

It has a position, so each reader takes its own.
"""

from __future__ import annotations

import io

from imgmount.core.device import BlockDevice


class DeviceFile(io.RawIOBase):
    """A read-only, seekable stream over ``device``.

    Closing it does not close the device. Reads raise ``ImageError``.
    """

    def __init__(self, device: BlockDevice) -> None:
        super().__init__()
        self._device = device
        self._position = 0

    @property
    def mode(self) -> str:
        """What ``open`` would have been asked for; some libraries look."""
        return "rb"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._device.size}
        if whence not in bases or bases[whence] + offset < 0:
            raise ValueError(f"seek({offset}, {whence})")
        self._position = bases[whence] + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._device.size - self._position)
        data = self._device.pread(self._position, left if size is None or size < 0 else size)
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: memoryview | bytearray, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
