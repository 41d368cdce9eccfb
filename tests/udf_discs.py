"""Discs made on the spot, by the generator of the fixtures and with what is in them at hand."""

from __future__ import annotations

import runpy
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from fixture import unpack
from helpers import FIXTURES, context, tool
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


def large_disc(folders: int, files: int) -> Any:
    """A disc with so many files in so many folders, in blocks of 512 bytes.

    The entries of a folder's files lie together.
    """
    span = files + 56  # blocks of a folder: its entry, its content, the entries of its files
    disc = MAKER.Disc(START + 1000 + folders * span, 512, end=START + 900 + folders * span)
    for folder in range(folders):
        first = 100 + folder * span
        content = disc.names([(f"{name:09}", first + 50 + name) for name in range(files)], 1, block=first + 1)
        disc.entry(first, 4, len(content), MAKER.short_ad(len(content), first + 1))
        disc.write(first + 1, content)
        for name in range(files):
            disc.entry(first + 50 + name, 5, 0)
    root = disc.names(
        [(f"{folder:04}", 100 + folder * span, MAKER.DIRECTORY) for folder in range(folders)], 1, block=2
    )
    disc.write(2, root)
    disc.entry(1, 4, len(root), MAKER.short_ad(len(root), 2))
    disc.file_set(0, 1)
    disc.volume(files=files * folders, directories=folders + 1)
    return disc


def finish(disc: Any) -> UdfFilesystem:
    disc.volume()
    return in_memory(disc.data)


def retag(data: bytearray, offset: int) -> None:
    """Make the tag at ``offset`` right for what follows it."""
    ident, version, _, _, serial, _, length, location = struct.unpack_from("<HHBBHHHI", data, offset)
    data[offset : offset + 16 + length] = MAKER.tag(
        ident, location, bytes(data[offset + 16 : offset + 16 + length]), version
    )
    assert serial == 1


def udfclient(path: Path, commands: str, *options: str, block_size: int = BLOCK) -> str:
    """What udfclient prints when it is given ``commands``; ``-W`` lets it write."""
    call = [tool("udfclient"), *options, "-b", str(block_size), str(path)]
    return subprocess.run(
        call, input=f"{commands}\nquit\n", check=True, capture_output=True, text=True, cwd=path.parent
    ).stdout


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
