"""Blocks of an AmigaDOS volume: checksums, the fields of headers, where the root block is.

Every structure is a block of big-endian longs that starts with its type and, but for bitmaps, ends with a
secondary type. Fields of headers are counted from the end, so one table serves every block size; ``Tail``
offsets are into the last 200 bytes. Source: "The Amiga Guru Book" (Babel) and L. Clevy's "The .ADF File
Format FAQ"; long names as in the headers of AmigaOS 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from struct import Struct, unpack_from
from typing import Final, NamedTuple
from zlib import adler32

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError, ImageError

T_HEADER: Final = 2
T_DATA: Final = 8
T_LIST: Final = 16  # an extension of a file's table of blocks
T_DIRC: Final = 33
T_COMMENT: Final = 64
ST_ROOT: Final = 1
ST_USERDIR: Final = 2
ST_SOFTLINK: Final = 3
ST_LINKDIR: Final = 4
ST_FILE: Final = -3
ST_LINKFILE: Final = -4

# bootblocks of disks that may go without one
NO_FILESYSTEM: Final = {b"NDOS": "an NDOS disk", b"KICK": "a Kickstart disk"}
FFS: Final = 1  # flags of the dos type
MAX_DOS_TYPE: Final = 7
MULTI_USER: Final = b"muFS"
INTL: Final = 2  # this dos type and those above fold accented letters
DIRC: Final = (4, 5)
LNFS: Final = (6, 7)

TAIL: Final = 200  # bytes at the end of a header that are not its table
HEAD: Final = 24  # bytes before the table
BLOCK_SIZES: Final = (512, 1024, 2048, 4096, 8192)
RESERVED: Final = 2  # blocks before the first one in the bitmap, on all but unusual hard files
MAX_RESERVED: Final = 5
FLOPPIES: Final = (1760, 3520)  # blocks of DD and HD disks; dumps with 81 to 84 tracks have a few more
MAX_TRACKS: Final = 84
TRACKS: Final = 80
# sectors of a cylinder of a hard file; what is left over belongs to no cylinder
GEOMETRIES: Final = (32, 16 * 63)
MAX_NAME: Final = 30
MAX_COMMENT: Final = 79
LONG_AREA: Final = 112  # LNFS: name and comment, one after the other

_ROOT_HEAD: Final = Struct(">I8xI")  # type, hash table size
_LONG: Final = Struct(">i")


class Tail(NamedTuple):
    """Offsets of fields in the last 200 bytes of a header."""

    bitmap_flag: int = 0  # root
    bitmap_pages: int = 4  # root: 25
    protection: int = 8
    size: int = 12
    comment: int = 16
    bitmap_extension: int = 104  # root
    date: int = 108
    name: int = 120
    long_comment: int = 128  # LNFS: number of a block of type 64
    long_date: int = 140
    real_entry: int = 156
    disk_date: int = 160  # root
    next_link: int = 160
    created: int = 172  # root
    hash_chain: int = 184
    parent: int = 188
    extension: int = 192


T: Final = Tail()
BITMAP_PAGES: Final = 25  # of the root block


def long_at(data: bytes, offset: int) -> int:
    """The unsigned long at ``offset``."""
    return int.from_bytes(data[offset : offset + 4], "big")


class Header(NamedTuple):
    """What a directory has of an entry: its block, the end of that, and whether its checksum is right."""

    key: int
    tail: bytes  # the last 200 bytes
    sound: bool

    def long(self, field: int) -> int:
        """A field of ``T``, unsigned."""
        return int.from_bytes(self.tail[field : field + 4], "big")

    @property
    def kind(self) -> int:
        """The secondary type, signed."""
        return secondary(self.tail)


def secondary(block: bytes) -> int:
    """The secondary type of a header, signed: its last long."""
    return int(_LONG.unpack_from(block, len(block) - _LONG.size)[0])


@cache
def _longs(count: int) -> Struct:
    return Struct(f">{count}I")


def longs(block: bytes) -> tuple[int, ...]:
    """All longs of a block."""
    return _longs(len(block) // 4).unpack(block)


def checksum(block: bytes) -> int:
    """The sum of all longs, modulo 2**32: 0 where the block is as it was written."""
    total: int = sum(longs(block))
    return total & 0xFFFF_FFFF


def checksums(blocks: bytes, size: int) -> list[int]:
    """``checksum`` of each block of ``size`` bytes, twice as fast.

    Adler-32 holds the sum of bytes, plus one, modulo 65521: exact for up to 256. So the longs are summed byte
    by byte in C.
    """
    if size > 1024:
        return [checksum(blocks[at : at + size]) for at in range(0, len(blocks), size)]
    cut = _quarters(size // 4, len(blocks) // size).unpack
    first, second, third, fourth = (map(adler32, cut(blocks[byte::4])) for byte in range(4))
    bias = 0x0101_0101
    return [
        ((a << 24) + (b << 16) + ((c & 0xFFFF) << 8) + (d & 0xFFFF) - bias) & 0xFFFF_FFFF
        for a, b, c, d in zip(first, second, third, fourth, strict=True)
    ]


@lru_cache(256)
def _quarters(size: int, count: int) -> Struct:
    return Struct(f"{size}s" * count)


def boot_checksum(boot: bytes) -> int:
    """The checksum in the second long of a bootblock of 1024 bytes: an inverted sum with end-around carry."""
    total: int = sum(longs(boot)) - long_at(boot, 4)
    while total >> 32:
        total = (total & 0xFFFF_FFFF) + (total >> 32)
    return total ^ 0xFFFF_FFFF


def bcpl(data: bytes, offset: int, most: int) -> bytes:
    """A string that begins with its length."""
    return data[offset + 1 : offset + 1 + min(data[offset], most)]


def entry_name(tail: bytes, *, long: bool) -> bytes:
    """The name in a header."""
    return bcpl(tail, T.comment, LONG_AREA - 2) if long else bcpl(tail, T.name, MAX_NAME)


def entry_comment(tail: bytes, *, long: bool) -> bytes:
    """The comment in a header; a long one that has a block to itself is not there."""
    if not long:
        return bcpl(tail, T.comment, MAX_COMMENT)
    name = entry_name(tail, long=True)
    comment = bcpl(tail, T.comment + 1 + len(name), LONG_AREA - 2 - len(name))
    return b"" if comment == name else comment  # amitools writes the name twice


def dos_type(boot: bytes) -> int | None:
    r"""0 to 7, None where the bootblock is not a DOS one.

    The Multi-User File System writes ``muFS`` for FFS INTL, and ``muF\0`` to ``muF\7`` for the others.
    """
    if boot[:4] == MULTI_USER:
        return FFS | INTL
    return (
        boot[3]
        if boot[:3] in (b"DOS", MULTI_USER[:3]) and len(boot) > 3 and boot[3] <= MAX_DOS_TYPE
        else None
    )


class Root(NamedTuple):
    """Where the root block is, and what follows from its place. Sizes in bytes."""

    key: int
    block_size: int
    blocks: int
    reserved: int
    sound: bool  # its checksum is right

    @property
    def hash_size(self) -> int:
        """Slots of a hash table, and blocks that a file header names."""
        return self.block_size // 4 - (HEAD + TAIL) // 4


def is_root(block: bytes) -> bool:
    """Whether types and table size are a root block's, whatever its checksum."""
    kind, slots = _ROOT_HEAD.unpack_from(block)
    return kind == T_HEADER and slots == len(block) // 4 - (HEAD + TAIL) // 4 and block[-4:] == b"\0\0\0\x01"


def find_root(device: BlockDevice) -> Root:
    """The root block, in the middle of a size that the volume may have; one with a good checksum first.

    The number in the bootblock is 880 whatever the disk and is not asked. Raises ``FormatError``.
    """
    damaged = None
    for key, size, blocks, reserved in _places(device.size):
        try:
            block = device.read_exactly(key * size, size, "amigados")
        except ImageError:
            continue
        if not is_root(block):
            continue
        root = Root(key, size, blocks, reserved, checksum(block) == 0)
        if root.sound:
            return root
        damaged = damaged or root
    if damaged is None:
        raise FormatError("amigados", "no root block is where the middle of the volume may be")
    return damaged


def _places(size: int) -> Iterator[tuple[int, int, int, int]]:
    """(root block, block size, blocks, reserved blocks) to look at, likeliest first, none twice."""
    seen: set[tuple[int, int]] = set()
    for reserved in (RESERVED, *(number for number in range(1, MAX_RESERVED + 1) if number != RESERVED)):
        for block_size in BLOCK_SIZES:
            count = size // block_size
            counts = [count]
            if reserved == RESERVED and block_size == BLOCK_SIZES[0]:
                # floppies with more tracks than usual, and truncated ones
                counts += [floppy for floppy in FLOPPIES if count <= floppy // TRACKS * MAX_TRACKS]
                counts += [count // sectors * sectors for sectors in GEOMETRIES]
            for blocks in counts:
                key = (reserved + blocks - 1) // 2
                if key < reserved or (key, block_size) in seen or (key + 1) * block_size > size:
                    continue
                seen.add((key, block_size))
                yield key, block_size, blocks, reserved


def name_hash(name: bytes, slots: int, *, intl: bool) -> int:
    """The slot that a name belongs to."""
    value = len(name)
    for char in upper(name, intl=intl):
        value = value * 13 + char & 0x7FF
    return value % slots


def upper(name: bytes, *, intl: bool) -> bytes:
    """``name`` in the capitals of the filesystem: those of Latin-1 with INTL, ASCII's without."""
    return name.translate(_INTL_UPPER) if intl else name.upper()


_INTL_UPPER: Final = bytes(
    code - 32 if 0x61 <= code <= 0x7A or (0xE0 <= code <= 0xFE and code != 0xF7) else code
    for code in range(256)
)


def table(block: bytes, size: int) -> tuple[int, ...]:
    """The longs between head and tail: a hash table, or a file's blocks, last first."""
    return unpack_from(f">{size}I", block, HEAD)
