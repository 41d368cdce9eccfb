"""A device read from one end to the other, a step at a time.

It is used for checksums of all data; a ``Watcher`` can show the progress.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from imgmount.core.device import BlockDevice

STEP: Final = 1 << 20


class Watcher(Protocol):
    """Is told how far a long read has come."""

    def expect(self, size: int) -> None:
        """At least ``size`` more bytes are going to be read."""

    def advance(self, size: int, name: str) -> None:
        """``size`` bytes of ``name`` have been read."""


_watchers: list[Watcher] = []


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell ``watcher`` of all that is read through, until this ends."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def expect(size: int) -> None:
    """Announce that at least ``size`` more bytes are going to be read through."""
    for watcher in _watchers:
        watcher.expect(size)


def advance(size: int, name: str = "") -> None:
    """Tell that ``size`` bytes of ``name`` have been read: ``read_through`` does it by itself."""
    for watcher in _watchers:
        watcher.advance(size, name)


def read_through(
    device: BlockDevice, start: int = 0, end: int | None = None, step: int = STEP
) -> Iterator[bytes]:
    """The bytes from ``start`` to ``end``, by default all, ``step`` of them at a time.

    Raises ``ImageError``.
    """
    end = device.size if end is None else end
    for offset in range(start, end, step):
        data = device.pread(offset, min(step, end - offset))
        advance(len(data))
        yield data
