"""Amiga rigid disk blocks: partitions with drive names, geometry and, perhaps, the code of file systems.

The table begins in one of the first 16 blocks, so a PC's partition table fits in front of it (Emu68 writes
both). Wrong checksums are tolerated: Parceiro writes some. Source: "devices/hardblocks.h" of the Amiga NDK.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table, text
from imgmount.core.format import Context, Match, Partition, PartitionsFormat, begins_on
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, ImageError

log = logging.getLogger(__name__)

LOCATION_LIMIT: Final = 16  # blocks in which the table may begin
BLOCK_SIZES: Final = (512, 1024, 2048, 4096)
RECORD: Final = 512  # bytes of a block that are looked at: all that its checksum covers
END: Final = 0xFFFF_FFFF  # of a list
MAX_LIST: Final = 256  # partitions, or filesystems

# block size; lists of bad blocks, partitions, filesystems; cylinders, sectors, heads
_RIGID: Final = Struct(">16xI4x3I28x3I")
_DRIVE: Final = Struct(">160x8s16s4s")  # maker, model, revision
# longs in a sector, surfaces, sectors in a track, first and last cylinder
_ENVIRONMENT: Final = Struct(">132xI4xI4xI12xII")
_DOS_TYPE: Final = 192  # in a PART, the last long of an environment of 17
_ENVIRONMENT_SIZE: Final = 128  # where the number of the longs that follow it is
_HANDLER: Final = Struct(">32x4s2H132x84s")  # in an FSHD: dos type, version, name
_BAD_BLOCKS: Final = 24  # in a BADB: pairs of longs
MAX_SHOWN: Final = 20  # bad blocks
_LONGEST_NAME: Final = 31
_NAME: Final = 36
_FLAGS: Final = 20
_BOOTABLE: Final = 1
_NO_MOUNT: Final = 2


class Rigid(NamedTuple):
    """The first block of a table. Lists are numbers of blocks."""

    block_size: int
    bad_blocks: int
    partitions: int
    filesystems: int
    cylinders: int
    sectors: int
    heads: int
    drive: str  # maker, model, revision
    sound: bool  # its checksum is right


def _sound(record: bytes) -> bool:
    """Whether the longs that a block says it has add up to 0."""
    count = int.from_bytes(record[4:8], "big")
    return 0 < count <= len(record) // 4 and sum(table(record[: 4 * count], 4, "big")) & 0xFFFF_FFFF == 0


def find_rigid(device: BlockDevice) -> Rigid:
    """The first table that is whole, else the first of all. Raises ``FormatError``."""
    damaged = None
    for offset in sorted({size * number for size in BLOCK_SIZES for number in range(LOCATION_LIMIT)}):
        record = device.pread(offset, RECORD)
        if len(record) < RECORD or record[:4] != b"RDSK":
            continue
        drive = " ".join(word for part in _DRIVE.unpack_from(record) if (word := text(part, "latin-1")))
        rigid = Rigid._make((*_RIGID.unpack_from(record), drive, _sound(record)))
        if rigid.block_size not in BLOCK_SIZES:
            continue
        if rigid.sound:
            return rigid
        damaged = damaged or rigid
    if damaged is None:
        raise FormatError("rdb", "none of the first 16 blocks is a sound RDSK block")
    return damaged


def probe(device: BlockDevice) -> Match:
    """CERTAIN with a good checksum: then it wins over a PC's table in front of it."""
    return Match.CERTAIN if find_rigid(device).sound else Match.LIKELY


def open_rdb(device: BlockDevice, _: Context) -> list[Partition]:
    """The partitions in the order of their list, numbered from 1, by their drive names."""
    rigid = find_rigid(device)
    if not rigid.sound:
        log.warning("rdb: bad checksum of the rigid disk block")
    if bad := _bad_blocks(device, rigid):
        log.warning(
            "rdb: %d bad blocks are listed, which are read as they are, the first is %d", len(bad), bad[0][0]
        )
    handlers = dict(_handlers(device, rigid))
    parts = []
    for index, (number, record) in enumerate(_list(device, rigid, rigid.partitions, b"PART"), 1):
        place = number * rigid.block_size
        try:
            start, size = _extent(record, rigid, place)
        except FormatError as exc:
            log.warning("%s: partition %d is left out", exc, index)
            continue
        if not begins_on(device, "rdb", index, start):
            continue
        length = min(record[_NAME], _LONGEST_NAME)
        name = record[_NAME + 1 : _NAME + 1 + length].decode("latin-1")
        parts.append(Partition(index, _kind(record, handlers), name, Slice(device, start, size)))
    return parts


def _list(device: BlockDevice, rigid: Rigid, first: int, magic: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of the blocks of a list, as far as it can be followed."""
    seen: set[int] = set()
    number = first
    while number != END:
        offset = number * rigid.block_size
        try:
            if number in seen or len(seen) == MAX_LIST:
                raise FormatError("rdb", "a list of blocks loops", offset=offset)
            record = device.read_exactly(offset, RECORD, "rdb")
            if record[:4] != magic:
                raise FormatError(
                    "rdb", f"block {number} of a list does not begin with {magic.decode()}", offset=offset
                )
        except ImageError as exc:
            log.warning("%s: the rest of the list is lost", exc)
            return
        if not _sound(record):
            log.warning("rdb: bad checksum of %s block %d", magic.decode(), number)
        seen.add(number)
        yield number, record
        number = int.from_bytes(record[16:20], "big")


def _bad_blocks(device: BlockDevice, rigid: Rigid) -> list[tuple[int, int]]:
    """(bad block, the one that replaces it)."""
    pairs: list[tuple[int, int]] = []
    for _, record in _list(device, rigid, rigid.bad_blocks, b"BADB"):
        longs = table(
            record[_BAD_BLOCKS : 4 * min(int.from_bytes(record[4:8], "big"), RECORD // 4)], 4, "big"
        )
        pairs += zip(longs[::2], longs[1::2], strict=False)
    return pairs


def _handlers(device: BlockDevice, rigid: Rigid) -> Iterator[tuple[bytes, str]]:
    """(dos type, version and name) of the filesystems whose code is stored in the table."""
    for _, record in _list(device, rigid, rigid.filesystems, b"FSHD"):
        dos_type, version, revision, name = _HANDLER.unpack_from(record)
        yield dos_type, f"{version}.{revision} {text(name, 'latin-1')}".strip()


def about(device: BlockDevice) -> dict[str, str]:
    """The drive, its bad blocks, and the filesystems that are stored in the table."""
    rigid = find_rigid(device)
    geometry = f"C/H/S {rigid.cylinders}/{rigid.heads}/{rigid.sectors}, sectors of {rigid.block_size} bytes"
    facts = {"drive": rigid.drive, "geometry": geometry}
    bad = _bad_blocks(device, rigid)
    shown = [f"{block} (replaced by {other})" for block, other in bad[:MAX_SHOWN]]
    facts["bad blocks"] = ", ".join([*shown, *(["..."] if len(bad) > MAX_SHOWN else [])])
    facts["filesystems"] = ", ".join(
        f"{_printable(dos_type)} {version}" for dos_type, version in _handlers(device, rigid)
    )
    return {name: value for name, value in facts.items() if value}


def _extent(record: bytes, rigid: Rigid, offset: int) -> tuple[int, int]:
    """(start, size) of a partition in bytes."""
    longs, surfaces, track, low, high = _ENVIRONMENT.unpack_from(record)
    sector = longs * 4 if longs * 4 in BLOCK_SIZES else rigid.block_size
    cylinder = surfaces * track * sector
    if not cylinder or high < low:
        raise FormatError(
            "rdb",
            f"a partition from cylinder {low} to {high}, of {cylinder} bytes each, is impossible",
            offset=offset,
        )
    return low * cylinder, (high + 1 - low) * cylinder  # high is inclusive


def _kind(record: bytes, handlers: dict[bytes, str]) -> str:
    longs = int.from_bytes(record[_ENVIRONMENT_SIZE : _ENVIRONMENT_SIZE + 4], "big")
    # a shorter environment means DOS\0, as in Kickstart 36
    dos_type = (
        record[_DOS_TYPE : _DOS_TYPE + 4] if longs >= (_DOS_TYPE - _ENVIRONMENT_SIZE) // 4 else b"DOS\0"
    )
    words = [_printable(dos_type)]
    flags = int.from_bytes(record[_FLAGS : _FLAGS + 4], "big")
    words += ["bootable"] if flags & _BOOTABLE else []
    words += ["not mounted by itself"] if flags & _NO_MOUNT else []
    words += [f"filesystem {handlers[dos_type]} stored in the table"] if dos_type in handlers else []
    return ", ".join(words)


def _printable(dos_type: bytes) -> str:
    r"""``DOS\3`` for 44 4F 53 03, as Amiga tools write it."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte}" for byte in dos_type)


FORMAT: Final = PartitionsFormat(
    name="rdb",
    title="Amiga RDB partition table",
    extensions=(".hdf",),
    checks="sum of each block",
    probe=probe,
    open=open_rdb,
    about=about,
)
