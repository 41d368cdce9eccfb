"""FAT volumes for tests: those of the fixtures, and small ones laid out record by record from the specification."""

from __future__ import annotations

import struct
from pathlib import Path

from fixture import all_fixtures
from helpers import context
from imgmount.core.node import Directory, File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ImageError
from imgmount.filesystems.fat import FORMAT
from imgmount.filesystems.fat.volume import FatVolume

VARIANTS = {fixture.variant: fixture for fixture in all_fixtures() if fixture.format == "fat"}
RECORD = struct.Struct("<11sBBBHHHHHHHI")


def volume(data: bytes | bytearray, encoding: str | None = None) -> FatVolume:
    opened = FORMAT.open(MemoryDevice(bytes(data)), context(encoding=encoding))
    assert isinstance(opened, FatVolume)
    return opened


def fixture_images(folder: Path) -> dict[str, bytes]:
    """The volumes of the fixtures, by variant, unpacked below ``folder``."""
    found = {}
    for name, fixture in VARIANTS.items():
        (folder / name).mkdir()
        found[name] = fixture.image_path(folder / name).read_bytes()
    return found


def record(name: bytes, attributes: int = 0, cluster: int = 0, size: int = 0, *, case: int = 0) -> bytes:
    date = 0x5721  # 1 September 2023
    return RECORD.pack(name, attributes, case, 0, 0, 0, 0, cluster >> 16, 0, date, cluster & 0xFFFF, size)


def long_name(name: str, short: bytes, checksum: int | None = None) -> bytes:
    """The VFAT pieces of ``name``, as the specification lays them out."""
    total = 0
    for byte in short:
        total = ((total & 1) << 7) + (total >> 1) + byte & 0xFF
    units = (
        (name + "\0").encode("utf-16-le") if len(name.encode("utf-16-le")) % 26 else name.encode("utf-16-le")
    )
    units += b"\xff" * (-len(units) % 26)
    pieces = []
    for number in range(len(units) // 26, 0, -1):
        part = units[(number - 1) * 26 : number * 26]
        lead = number | (0x40 if number * 26 == len(units) else 0)
        mark = bytes([0x0F, 0, total if checksum is None else checksum])
        pieces.append(bytes([lead]) + part[:10] + mark + part[10:22] + bytes(2) + part[22:])
    return b"".join(pieces)


def small(
    root: bytes,
    links: dict[int, int] | None = None,
    clusters: dict[int, bytes] | None = None,
    *,
    bits: int = 16,
) -> bytearray:
    """A volume of 512-byte clusters laid out by the specification: 1 reserved sector, 2 FATs, a fixed root of 64 records."""
    count = 100 if bits == 12 else 5000
    fat_sectors = -(-(count + 2) * bits // 8 // 512)
    total = 1 + 2 * fat_sectors + 4 + count
    boot = struct.pack(
        "<3s8sHBHBHHBHHHII",
        b"\xeb\x3c\x90",
        b"TESTMADE",
        512,
        1,
        1,
        2,
        64,
        total,
        0xF8,
        fat_sectors,
        1,
        1,
        0,
        0,
    )
    disk = bytearray(boot.ljust(510, b"\0") + b"\x55\xaa" + bytes((total - 1) * 512))
    entries = {0: 0xFF8 if bits == 12 else 0xFFF8, 1: (1 << bits) - 1} | (links or {})
    packed = sum(value << cluster * bits for cluster, value in entries.items()).to_bytes(
        fat_sectors * 512, "little"
    )
    disk[512 : 512 + len(packed)] = packed
    disk[512 + len(packed) : 512 + 2 * len(packed)] = packed
    data = 512 + 2 * len(packed)
    disk[data : data + len(root)] = root
    for cluster, content in (clusters or {}).items():
        start = data + 2048 + (cluster - 2) * 512
        disk[start : start + len(content)] = content
    return disk


def walk(opened: FatVolume) -> tuple[int, int]:
    """(nodes listed, bytes read), whatever is damaged."""
    nodes = count = 0
    pending: list[Directory] = [opened.root]
    while pending:
        for node in pending.pop().listing().nodes.values():
            nodes += 1
            if isinstance(node, Directory):
                pending.append(node)
            elif isinstance(node, File):
                content = node.open()
                try:
                    count += len(content.pread(0, min(content.size, 1 << 20)))
                except ImageError:
                    continue
    return nodes, count
