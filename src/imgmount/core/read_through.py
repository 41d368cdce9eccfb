"""A device read from one end to the other, a step at a time: for checksums of it all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from imgmount.core.device import BlockDevice

STEP: Final = 1 << 20


def read_through(
    device: BlockDevice, start: int = 0, end: int | None = None, step: int = STEP
) -> Iterator[bytes]:
    """The bytes from ``start`` to ``end``, by default all, ``step`` of them at a time.

    Raises ``ImageError``.
    """
    end = device.size if end is None else end
    for offset in range(start, end, step):
        yield device.pread(offset, min(step, end - offset))


def digests(device: BlockDevice, algorithms: Iterable[str]) -> dict[str, bytes]:
    """The digest of all of ``device`` by each of ``algorithms``, named as ``hashlib`` does.

    Raises ``ImageError``.
    """
    found = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    for data in read_through(device):
        for digest in found.values():
            digest.update(data)
    return {name: digest.digest() for name, digest in found.items()}
