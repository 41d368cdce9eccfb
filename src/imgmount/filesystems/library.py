"""What filesystems that another project's C library reads have in common: a lock, errors in our words, data runs as extents.

The libraries do not promise to be safe for threads, so each call into one is made inside ``Library.call``.
Where a library tells the runs of a file, the file is made of extents of the device below, and the library is
not asked again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, NamedTuple

from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice, ChunkedDevice, Extent
from imgmount.core.slices import Concat, MemoryDevice, Slice
from imgmount.errors import FormatError, UnsupportedError

CHUNK: Final = 128 << 10  # bytes asked of a library at once: where the C libraries are fastest
MAX_RUNS: Final = 1 << 20  # of one file; one in more pieces is read through its library
MAX_XATTR: Final = 64 << 10  # bytes of one extended attribute: what Linux can show
MAX_XATTR_NAME: Final = 255

_ERRORS: Final = (
    *(OSError, EOFError, ValueError, TypeError, AttributeError, LookupError),
    *(ArithmeticError, MemoryError, RuntimeError, SystemError),
)


class Run(NamedTuple):
    """``length`` bytes of a file at ``offset`` of the volume, or a hole where that is None."""

    length: int
    offset: int | None


class Library:
    """A library's module, its lock, and which directory was found in which."""

    def __init__(self, fmt: str, module: str) -> None:
        """Import ``module`` for ``fmt``, whose optional part of the package has its name.

        Raises ``UnsupportedError``.
        """
        self.fmt = fmt
        self._lock = threading.RLock()
        self._parents: dict[int, int] = {}
        try:
            self.module: Any = import_module(module)
        except ImportError as exc:
            raise UnsupportedError(
                f"{fmt}: the library that reads it is not installed: pip install imgmount[{fmt}]"
            ) from exc

    @contextmanager
    def call(self, what: str) -> Iterator[None]:
        """Hold the lock; what the library raises becomes a ``FormatError`` about ``what``."""
        with self._lock:
            try:
                yield
            except _ERRORS as exc:
                text = " ".join(str(exc).split())[:200]
                raise FormatError(self.fmt, f"{what}: {text or type(exc).__name__}") from exc

    def claim(self, directory: int, parent: int) -> None:
        """Refuse a directory that was listed as another's: loops end, and a walk is bounded by the number of directories."""
        if self._parents.setdefault(directory, parent) != parent:
            raise FormatError(self.fmt, f"directory {directory} belongs to two others")


class LibraryDevice(ChunkedDevice):
    """A file's content as the library decodes it.

    ``read(offset, size)`` gives up to ``size`` bytes and is called locked.
    """

    def __init__(
        self, library: Library, size: int, read: Callable[[int, int], bytes], cache: ReadCache
    ) -> None:
        super().__init__(size, CHUNK, cache)
        self._library = library
        self._read = read

    def _read_chunk(self, index: int) -> bytes:
        _, start, stop = self._chunk_at(index * CHUNK)
        data = b""
        with self._library.call(f"content at {start:#x}"):
            while start + len(data) < stop:
                piece = self._read(start + len(data), stop - start - len(data))
                if not piece:
                    raise EOFError(f"it ends at {start + len(data):#x}")
                data += piece
        return data


def mapped(device: BlockDevice, runs: Iterable[Run], size: int) -> BlockDevice:
    """A file of ``size`` bytes in ``runs`` of ``device``.

    What the runs lack or lies past the end raises when it is read.
    """
    extents = []
    left = size
    for run in runs:
        length = min(run.length, left)
        left -= length
        extents.append(Extent(length) if run.offset is None else Extent(length, device, run.offset))
        if not left:
            break
    if left:
        extents.append(Extent(left, device, device.size))
    if len(extents) == 1 and extents[0].device is not None:
        return Slice(device, extents[0].offset, size)
    return Concat(extents) if extents else MemoryDevice(b"")


def holed(runs: Iterable[Run], valid: int) -> Iterator[Run]:
    """``runs`` with a hole from byte ``valid`` of the file on: what was allocated and never written reads as zeros."""
    for run in runs:
        kept = min(run.length, valid)
        valid -= kept
        if kept:
            yield Run(kept, run.offset)
        if kept < run.length:
            yield Run(run.length - kept, None)
