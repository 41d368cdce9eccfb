"""ISO 9660 images written record by record, for what no tool would write.

ECMA-119, SUSP and RRIP field by field.
"""

from __future__ import annotations

import random
import struct

from helpers import context
from imgmount.core.node import Directory
from imgmount.core.slices import MemoryDevice
from imgmount.filesystems.iso9660.volume import Iso9660

SECTOR = 2048
ROOT = 20  # block of the root directory, one sector
DATE = bytes((124, 2, 29, 12, 30, 59, 4))  # 2024-02-29 12:30:59 +01:00
DATA = random.Random(6).randbytes(4 * SECTOR)
BLOCKS = {30: DATA}  # content for files at block 30


def both16(value: int) -> bytes:
    return struct.pack("<H", value) + struct.pack(">H", value)


def both32(value: int) -> bytes:
    return struct.pack("<I", value) + struct.pack(">I", value)


def record(
    name: bytes,
    block: int = 0,
    size: int = 0,
    flags: int = 0,
    su: bytes = b"",
    *,
    xar: int = 0,
    unit: int = 0,
    gap: int = 0,
) -> bytes:
    raw = (
        bytes((0, xar))
        + both32(block)
        + both32(size)
        + DATE
        + bytes((flags, unit, gap))
        + both16(1)
        + bytes((len(name),))
        + name
    )
    raw += bytes(len(raw) % 2) + su
    raw += bytes(len(raw) % 2)
    return bytes((len(raw),)) + raw[1:]


def directory(
    block: int, records: list[bytes], *, parent: int = ROOT, su: bytes = b"", size: int = SECTOR
) -> bytes:
    raw = record(b"\0", block, size, 2, su) + record(b"\1", parent, size, 2)
    for entry in records:
        if len(raw) % SECTOR + len(entry) > SECTOR:
            raw += bytes(-len(raw) % SECTOR)
        raw += entry
    return raw.ljust(size, b"\0")


def descriptor(
    root: bytes,
    *,
    kind: int = 1,
    blocks: int = 64,
    block_size: int = SECTOR,
    escapes: bytes = b"",
    label: bytes = b"TEST",
) -> bytes:
    raw = (
        bytes((kind,))
        + b"CD001\1\0"
        + bytes(32)
        + label.ljust(32)
        + bytes(8)
        + both32(blocks)
        + escapes.ljust(32, b"\0")
    )
    raw += both16(1) + both16(1) + both16(block_size) + both32(10)
    scale = SECTOR // block_size
    raw += struct.pack("<II", 18 * scale, 0) + struct.pack(">II", 19 * scale, 0) + root
    raw += b" " * (813 - len(raw)) + b"2020010203040500\0" * 2
    return raw.ljust(SECTOR, b"\0")


def build(
    records: list[bytes],
    blocks: dict[int, bytes] | None = None,
    *,
    su: bytes = b"",
    pvd: bytes | None = None,
    sectors: int = 64,
) -> bytearray:
    """An image of 2048-byte blocks: its root directory holds ``records``.

    ``blocks`` are further bytes by block number.
    """
    image = bytearray(sectors * SECTOR)
    parts = {
        16: pvd or descriptor(record(b"\0", ROOT, SECTOR, 2)),
        17: b"\xffCD001\1",
        18: struct.pack("<BBIHB", 1, 0, ROOT, 1, 0),
        19: struct.pack(">BBIHB", 1, 0, ROOT, 1, 0),
        ROOT: directory(ROOT, records, su=su),
        **(blocks or {}),
    }
    for block, data in parts.items():
        image[block * SECTOR : block * SECTOR + len(data)] = data
    return image


def volume(image: bytes | bytearray, **options: str) -> Iso9660:
    return Iso9660(MemoryDevice(bytes(image)), context(None, **options))


def field(signature: bytes, payload: bytes = b"", version: int = 1) -> bytes:
    return signature + bytes((4 + len(payload), version)) + payload


def px(mode: int, links: int = 1, uid: int = 0, gid: int = 0, serial: int | None = None) -> bytes:
    numbers = [mode, links, uid, gid] + ([] if serial is None else [serial])
    return field(b"PX", b"".join(both32(number) for number in numbers))


def nm(name: bytes, flags: int = 0) -> bytes:
    return field(b"NM", bytes((flags,)) + name)


def ce(block: int, offset: int, length: int) -> bytes:
    return field(b"CE", both32(block) + both32(offset) + both32(length))


def sl(*components: tuple[int, bytes], flags: int = 0) -> bytes:
    return field(
        b"SL", bytes((flags,)) + b"".join(bytes((kind, len(text))) + text for kind, text in components)
    )


def sp(skip: int = 0) -> bytes:
    return field(b"SP", b"\xbe\xef" + bytes((skip,)))


FILE = 0o100644
LINK = 0o120777
RR = sp() + px(0o040755, 2)  # of the root's own record


def names(root: Directory) -> list[str]:
    return [name for name, _ in root.entries()]
