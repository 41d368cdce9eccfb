"""The headers and tables of WIA and RVZ. Everything is big endian."""

from __future__ import annotations

from hashlib import sha1
from struct import Struct as Record
from typing import Any, Final, NamedTuple

from construct import Array, Bytes, ConstructError, Int8ub, Int32sb, Int32ub, Int64ub, Struct

from imgmount.core.device import BlockDevice
from imgmount.core.header import within
from imgmount.errors import ChecksumError, FormatError, UnsupportedError

MAGICS: Final = {b"WIA\1": "wia", b"RVZ\1": "rvz"}
_HEADER_1 = Struct(  # offset
    "magic" / Bytes(4),  # 0x00
    "version" / Int32ub,  # 0x04
    "compatible" / Int32ub,  # 0x08
    "header_2_size" / Int32ub,  # 0x0C
    "header_2_hash" / Bytes(20),  # 0x10
    "disc_size" / Int64ub,  # 0x24
    "file_size" / Int64ub,  # 0x2C
    "hash" / Bytes(20),  # 0x34  of what comes before it
)
HEADER_1_SIZE: Final = 0x48
_HASHED: Final = 0x34
_HEADER_2 = Struct(  # offset
    "disc_type" / Int32ub,  # 0x00
    "compression" / Int32ub,  # 0x04
    "level" / Int32sb,  # 0x08
    "chunk_size" / Int32ub,  # 0x0C
    "disc_header" / Bytes(0x80),  # 0x10
    "parts" / Int32ub,  # 0x90
    "part_size" / Int32ub,  # 0x94
    "parts_at" / Int64ub,  # 0x98
    "parts_hash" / Bytes(20),  # 0xA0
    "raws" / Int32ub,  # 0xB4
    "raws_at" / Int64ub,  # 0xB8
    "raws_size" / Int32ub,  # 0xC0
    "groups" / Int32ub,  # 0xC4
    "groups_at" / Int64ub,  # 0xC8
    "groups_size" / Int32ub,  # 0xD0
    "properties_size" / Int8ub,  # 0xD4
    "properties" / Array(7, Int8ub),
)
HEADER_2_SIZE: Final = 0xDC
PART: Final = Record(">16s8I")  # title key, 2 x (first sector, sectors, first group, groups)
RAW: Final = Record(">QQII")  # offset, size, first group, groups
COMPRESSIONS: Final = ("none", "purge", "bzip2", "lzma", "lzma2", "zstd")
READS_VERSION: Final = 0x0100_0000  # a file says which version a reader must know at least
OLDEST: Final = {"wia": 0x0008_0000, "rvz": 0x0003_0000}  # before these the layout was another
DISC_TYPES: Final = {1: "GameCube", 2: "Wii"}
SECTOR: Final = 0x8000
HASH_GROUP: Final = 64 * SECTOR
MAX_CHUNK: Final = {"wia": 200 << 20, "rvz": 32 << 20}  # wit's best has 100 MiB, Dolphin's largest 2 MiB
MAX_STRUCTURE: Final = 0x1000  # bytes of a structure that may grow
MAX_PARTS: Final = 128  # a disc has no more in all its tables
MAX_RAWS: Final = 1 << 12
MAX_GROUPS: Final = 1 << 21  # the largest disc in chunks of 32 KiB has 259,740
MAX_DISC: Final = 1 << 36


class Range(NamedTuple):
    """Sectors of the disc, kept as groups ``group`` to ``group + groups``."""

    sector: int
    sectors: int
    group: int
    groups: int


class Header(NamedTuple):
    """What both headers say, checked. ``extra`` is what the compression needs to know."""

    fmt: str
    version: int
    disc_size: int
    file_size: int
    disc_type: int
    compression: str
    level: int
    extra: bytes
    chunk_size: int
    disc_header: bytes
    parts: list[tuple[bytes, Range, Range]]
    fields: Any


def read_header(file: BlockDevice) -> Header:
    """Both headers and the table of partitions.

    Raises ``FormatError``, ``ChecksumError``, ``UnsupportedError``.
    """
    raw = file.read_exactly(0, HEADER_1_SIZE, "wia")
    fmt = MAGICS.get(raw[:4])
    if fmt is None:
        raise FormatError("wia", "the file begins neither with WIA nor with RVZ", offset=0)
    first = _HEADER_1.parse(raw)
    _check(fmt, raw[:_HASHED], first.hash, "its first header", 0)
    version = f"{fmt}: version {first.version:#010x}"
    if first.version < OLDEST[fmt]:
        raise UnsupportedError(f"{version} is older than {OLDEST[fmt]:#010x}, the first that is read")
    if first.compatible > READS_VERSION:
        raise UnsupportedError(
            f"{version} needs a reader of {first.compatible:#010x}, not {READS_VERSION:#010x}"
        )
    within(
        fmt, "size of the second header", first.header_2_size, HEADER_2_SIZE - 8, MAX_STRUCTURE, offset=0x0C
    )
    raw = file.read_exactly(HEADER_1_SIZE, first.header_2_size, fmt)
    _check(fmt, raw, first.header_2_hash, "its second header", HEADER_1_SIZE)
    try:
        second = _HEADER_2.parse(raw.ljust(HEADER_2_SIZE, b"\0"))
    except ConstructError as exc:
        reason = f"its second header of {len(raw)} bytes does not have all fields"
        raise FormatError(fmt, reason, offset=HEADER_1_SIZE) from exc
    if second.compression >= len(COMPRESSIONS):
        raise UnsupportedError(f"{fmt}: compression {second.compression} (0 to 5 are known)")
    _check_sizes(fmt, first, second)
    return Header(
        fmt=fmt,
        version=first.version,
        disc_size=first.disc_size,
        file_size=first.file_size,
        disc_type=second.disc_type,
        compression=COMPRESSIONS[second.compression],
        level=second.level,
        extra=bytes(second.properties[: second.properties_size]),
        chunk_size=second.chunk_size,
        disc_header=second.disc_header,
        parts=_parts(file, fmt, second),
        fields=second,
    )


def _check_sizes(fmt: str, first: Any, second: Any) -> None:
    chunk = second.chunk_size
    small = fmt == "rvz" and SECTOR <= chunk < HASH_GROUP and not chunk & (chunk - 1)
    if not small and (chunk % HASH_GROUP or not 0 < chunk <= MAX_CHUNK[fmt]):
        raise FormatError(fmt, f"chunks of {chunk} bytes", offset=HEADER_1_SIZE + 0x0C)
    within(fmt, "disc size", first.disc_size, 1, MAX_DISC, offset=0x24)
    within(fmt, "number of partitions", second.parts, 0, MAX_PARTS, offset=HEADER_1_SIZE + 0x90)
    within(fmt, "number of raw ranges", second.raws, 0, MAX_RAWS, offset=HEADER_1_SIZE + 0xB4)
    within(fmt, "number of groups", second.groups, 0, MAX_GROUPS, offset=HEADER_1_SIZE + 0xC4)


def _check(fmt: str, data: bytes, digest: bytes, what: str, offset: int) -> None:
    if sha1(data).digest() != digest:
        raise ChecksumError(fmt, f"{what} does not match its SHA-1", offset=offset)


def _parts(file: BlockDevice, fmt: str, second: Any) -> list[tuple[bytes, Range, Range]]:
    if not second.parts:
        return []
    offset = HEADER_1_SIZE + 0x94
    within(fmt, "size of a partition's entry", second.part_size, PART.size, MAX_STRUCTURE, offset=offset)
    raw = file.read_exactly(second.parts_at, second.parts * second.part_size, fmt)
    _check(fmt, raw, second.parts_hash, "the table of partitions", second.parts_at)
    entries = [PART.unpack_from(raw, at) for at in range(0, len(raw), second.part_size)]
    return [(entry[0], Range(*entry[1:5]), Range(*entry[5:9])) for entry in entries]


def read_raws(data: bytes) -> list[tuple[int, int, int, int]]:
    """(offset, size, first group, groups) of what no partition holds; offsets are rounded down to sectors."""
    ranges = []
    for offset, size, group, groups in RAW.iter_unpack(data):
        skipped = offset % SECTOR
        ranges.append((offset - skipped, size + skipped, group, groups))
    return ranges
