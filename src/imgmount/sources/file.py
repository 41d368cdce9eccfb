"""A host file, or block device, as a block device. The only device that the kernel can read for us."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from imgmount.core.device import BlockDevice
from imgmount.errors import ImageError, MountError


class FileDevice(BlockDevice):
    """``path`` opened for reading, never for anything else.

    A file that an image ``named`` must be a regular file, and no symbolic link.
    """

    def __init__(self, path: Path, *, named: bool = False) -> None:
        self.path = path
        try:
            self.fd = os.open(
                path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if named else 0)
            )
        except OSError as exc:
            raise MountError(f"{path}: {exc.strerror}") from exc
        try:
            self.size = self._measure(named=named)
        except BaseException:
            os.close(self.fd)
            raise

    def _measure(self, *, named: bool) -> int:
        mode = os.fstat(self.fd).st_mode
        if stat.S_ISDIR(mode):
            raise MountError(f"{self.path}: is a directory")
        if not (stat.S_ISREG(mode) or (stat.S_ISBLK(mode) and not named)):
            raise MountError(f"{self.path}: is neither a file nor a block device")
        return os.lseek(self.fd, 0, os.SEEK_END)  # st_size of a block device is 0

    def _shrunk(self, end: int) -> ImageError:
        return ImageError(f"{self.path.name} ends before {end:#x}: it has shrunk since it was opened")

    def _pread(self, offset: int, size: int) -> bytes:
        data = self._read(offset, size)
        if len(data) == size:
            return data
        pieces = [data]
        while (missing := size - sum(map(len, pieces))) > 0:  # a read stops at 2 GiB
            data = self._read(offset + size - missing, missing)
            if not data:
                raise self._shrunk(offset + size)
            pieces.append(data)
        return b"".join(pieces)

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self.fd, size, offset)
        except OSError as exc:
            raise ImageError(f"{self.path.name} cannot be read at {offset:#x}: {exc.strerror}") from exc

    def next_data(self, offset: int) -> int:
        """The first position at or after ``offset`` that the host has stored; ``size`` if none is."""
        return self._seek(offset, os.SEEK_DATA)

    def next_hole(self, offset: int) -> int:
        """The first position at or after ``offset`` that the host has not stored; ``size`` if all is."""
        return self._seek(offset, os.SEEK_HOLE)

    def _seek(self, offset: int, whence: int) -> int:
        try:
            return min(self.size, os.lseek(self.fd, offset, whence))
        except OSError:  # ENXIO: nothing of that kind follows
            return self.size if whence == os.SEEK_DATA or offset >= self.size else offset

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
