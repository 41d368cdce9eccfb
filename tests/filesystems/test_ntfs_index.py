"""Index blocks of every size: a folder's index laid anew in a real volume, which ntfsls then reads too."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from filesystems.ntfs_images import attribute_at, load, number_of, record_at, volume
from helpers import tool
from imgmount.core.node import Directory
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.index import entries

INNER = (3, 7)  # which of eleven entries stand in the inner node; three are in each leaf
NAMES = 11


def entry(reference: int, key: bytes, child: int | None) -> bytes:
    flags = (0 if key else 2) | (0 if child is None else 1)
    size = -(-(16 + len(key)) // 8) * 8 + (0 if child is None else 8)
    raw = struct.pack("<QHHH2x", reference, size, len(key), flags) + key
    return raw.ljust(size if child is None else size - 8, b"\0") + (
        b"" if child is None else struct.pack("<Q", child)
    )


def block(size: int, number: int, content: bytes, *, inner: bool) -> bytes:
    """An index block with its fixups in place."""
    first = -(-(0x28 + 2 * (size // 512 + 1)) // 8) * 8  # behind the fixups
    node = struct.pack("<IIII", first - 24, first - 24 + len(content), size - 24, inner)
    head = struct.pack("<4sHHQQ", b"INDX", 0x28, size // 512 + 1, 0, number) + node
    raw = bytearray((head.ljust(first, b"\0") + content).ljust(size, b"\0"))
    assert len(raw) == size
    raw[0x28:0x2A] = b"\7\0"
    for stride in range(1, size // 512 + 1):
        raw[0x28 + 2 * stride : 0x2A + 2 * stride] = raw[512 * stride - 2 : 512 * stride]
        raw[512 * stride - 2 : 512 * stride] = b"\7\0"
    return bytes(raw)


def relaid(variant: str, folder: str, size: int) -> tuple[bytes, list[str]]:
    """(the volume whose folder has blocks of ``size`` bytes, the eleven names that are left in it)."""
    data = bytearray(load(variant))
    opened = volume(bytes(data))
    record = opened.mft.record(number_of(bytes(data), folder))
    index = opened.index(record)
    found = [item for node in index.nodes() for item in entries(node) if item.key]
    found.sort(key=lambda item: records.file_name(item.key).name.upper())
    chosen = found[:NAMES]
    unit = opened.boot.cluster_size if opened.boot.cluster_size <= size else 512
    numbers = [place * size // unit for place in range(4)]
    leaves: list[bytes] = [b"", b"", b""]
    inner = b""
    for position, item in enumerate(chosen):
        if position in INNER:
            inner += entry(item.reference, item.key, numbers[1 + INNER.index(position)])
        else:
            leaves[sum(position > edge for edge in INNER)] += entry(item.reference, item.key, None)
    inner += entry(0, b"", numbers[3])
    blocks = block(size, numbers[0], inner, inner=True) + b"".join(
        block(size, number, leaf + entry(0, b"", None), inner=False)
        for number, leaf in zip(numbers[1:], leaves, strict=True)
    )
    stream = opened.stream(record, records.INDEX_ALLOCATION, "$I30")
    assert stream is not None
    at = 0
    for run in opened.content(stream).extents(0, len(blocks)):
        data[run.offset : run.offset + run.length] = blocks[at : at + run.length]
        at += run.length
    assert at == len(blocks)
    where = record_at(load(variant), folder)
    root = attribute_at(load(variant), where, records.INDEX_ROOT, "$I30") + 32
    top = entry(0, b"", numbers[0])
    data[root + 8 : root + 13] = struct.pack("<IB", size, max(1, size // unit))
    data[root + 16 : root + 32 + len(top)] = struct.pack("<IIII", 16, 16 + len(top), 16 + len(top), 1) + top
    bitmap = attribute_at(load(variant), where, records.BITMAP, "$I30") + 32
    data[bitmap : bitmap + 8] = b"\x0f".ljust(8, b"\0")
    return bytes(data), [records.file_name(item.key).name for item in chosen]


@pytest.mark.parametrize(
    ("variant", "folder", "size"),
    [
        *(("plain", "many", size) for size in (512, 1024, 2048, 4096)),  # clusters of 1 KiB
        *(("clusters", "many", size) for size in (512, 1024, 2048, 4096, 8192)),  # clusters of 8 KiB
    ],
)
def test_blocks_of_every_size(variant: str, folder: str, size: int, tmp_path: Path) -> None:
    data, names = relaid(variant, folder, size)
    found = volume(data).root.lookup(folder)
    assert isinstance(found, Directory)
    assert sorted(found.names()) == sorted(names)
    assert all(node.stat().size for _, node in found.entries())
    disk = tmp_path / "disk"
    disk.write_bytes(data)
    command = [tool("ntfsls"), "-f", "-p", f"/{folder}", str(disk)]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert sorted(name for name in listed if name not in (".", "..")) == sorted(names)
