"""Discs made on the spot, by the generator of the fixtures and with what is in them at hand."""

from __future__ import annotations

import runpy
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from fixture import unpack
from helpers import FIXTURES, context
from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice
from imgmount.filesystems.udf.volume import UdfFilesystem, open_udf
from imgmount.sources.file import FileDevice

FOLDER: Final = FIXTURES / "filesystems" / "udf"
MAKER: Final[Any] = SimpleNamespace(**runpy.run_path(str(FOLDER / "disc.py")))
BLOCK: Final = 2048
START: Final = 272  # of the partition of a disc that MAKER makes


def opened(path: Path, **options: object) -> UdfFilesystem:
    return open_udf(FileDevice(path), context(None, **options))


def in_memory(data: bytes | bytearray, **options: object) -> UdfFilesystem:
    return open_udf(MemoryDevice(bytes(data)), context(None, **options))


def fixture_bytes(variant: str, tmp_path: Path) -> bytearray:
    """The image of a fixture, to be damaged."""
    unpack(next((FOLDER / variant).glob("*.xz")), tmp_path / variant)
    return bytearray((tmp_path / variant).read_bytes())


def small_disc(names: list[tuple[Any, ...]], blocks: int = 700) -> Any:
    """A disc with ``names`` in its root, whose entries the caller writes; ``finish`` it."""
    disc = MAKER.Disc(blocks, end=blocks)
    root = disc.names(names, 1)
    disc.entry(1, 4, len(root), root, MAKER.EMBEDDED)
    disc.file_set(0, 1)
    return disc


def finish(disc: Any) -> UdfFilesystem:
    disc.volume()
    return in_memory(disc.data)


def retag(data: bytearray, offset: int) -> None:
    """Make the tag at ``offset`` right for what follows it."""
    ident, version, _, _, serial, _, length, location = struct.unpack_from("<HHBBHHHI", data, offset)
    data[offset : offset + 16 + length] = MAKER.tag(ident, location, bytes(data[offset + 16 : offset + 16 + length]), version)
    assert serial == 1


class Counting(BlockDevice):
    """Counts the bytes and the requests that reach the device below."""

    def __init__(self, device: BlockDevice) -> None:
        self.device = device
        self.size = device.size
        self.bytes = self.requests = 0

    def _pread(self, offset: int, size: int) -> bytes:
        self.bytes += size
        self.requests += 1
        return self.device.pread(offset, size)
