"""What the tests of compressed images share."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from helpers import context, tool, wrong
from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, own_check
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ImageError
from imgmount.jobs.reading import Reader
from imgmount.registry import best_match

CHUNK = 64 << 10


def disk(size: int) -> bytes:
    """A disk in which every 16 bytes differ."""
    return b"".join(b"%015d\n" % number for number in range(-(-size // 16)))[:size]


def run(command: str, data: bytes, cwd: Path | None = None) -> bytes:
    """What a tool makes of ``data``; the test skips where it is not installed."""
    name, *arguments = command.split()
    return subprocess.run(
        [tool(name), *arguments], input=data, stdout=subprocess.PIPE, check=True, cwd=cwd
    ).stdout


def noise(size: int) -> bytes:
    """Text that packs to about a half: letters in no order."""
    return random.Random(size).randbytes(size // 2).hex().encode()


def opened(data: bytes, fmt: str, cache: ReadCache | None = None) -> BlockDevice:
    """The container in ``data``, which must be recognised as ``fmt``."""
    file = MemoryDevice(data)
    found = best_match(ContainerFormat, file)
    assert found is not None
    assert found[1].name == fmt
    device: BlockDevice = found[1].open(file, context() if cache is None else context()._replace(cache=cache))
    return device


def readable(device: BlockDevice, expected: bytes) -> int:
    """How many bytes can be read of ``device``; each of them must be right."""
    count = 0
    for offset in range(0, device.size, CHUNK):
        try:
            data = device.pread(offset, CHUNK)
        except ImageError:
            continue
        assert data == expected[offset : offset + len(data)]
        count += len(data)
    return count


def problems(device: BlockDevice) -> list[str]:
    """What ``verify`` says, of the format and of what cannot be read."""
    return [*wrong(own_check(device)), *map(str, Reader().unreadable(device, "disk"))]
