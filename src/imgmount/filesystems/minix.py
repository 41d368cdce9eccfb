"""The Minix filesystem: versions 1 and 2 with names of 14 or 30 bytes, and version 3; either byte order.

Source: the structures of MINIX 3 (``mfs/super.h``, ``mfs/type.h``) and of Linux' ``minix_fs.h``, of which
this is a description.
"""

from __future__ import annotations

import os
import stat as s
import struct
from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import NS
from imgmount.core.format import Context, FilesystemFormat, Match
from imgmount.core.node import Stat
from imgmount.core.single_parent import SingleParent
from imgmount.errors import FormatError, UnsupportedError
from imgmount.families.unix.block_pointers import PointerMap, Pointers, mapped_file
from imgmount.families.unix.inodes import UNKNOWN, Entry, InodeVolume, TablePages, directory_parts, scan

NAME: Final = "minix"
SUPER_AT: Final = 1024
SUPER_SIZE: Final = 32
# version, length of names
MAGICS: Final = {0x137F: (1, 14), 0x138F: (1, 30), 0x2468: (2, 14), 0x2478: (2, 30)}
MAGIC_3: Final = 0x4D5A
NAMES_3: Final = 60
BLOCK_SIZES: Final = (1024, 2048, 4096, 8192, 16384, 32768)  # of version 3; 1024 before
ROOT: Final = 1
DIRECT: Final = 7
VALID, ERRORS = 1, 2  # s_state
# inodes, zones (1), blocks of both bitmaps, first zone of data, logarithm of blocks a zone, largest file,
# magic, state, zones (2)
_SUPER: Final = "HHHHHHIHHI"
# inodes, blocks of both bitmaps, first zone of data, logarithm of blocks a zone, largest file, zones, magic,
# block size, version
_SUPER_3: Final = "I2xHHHH2xIIH2xHB"
_INODE_1: Final = "HHIIBB18s"  # mode, uid, size, time, gid, links, zones
_INODE_2: Final = "HHHHIIII40s"  # mode, links, uid, gid, size, times of access, content, inode; zones
_KINDS: Final = (s.S_IFREG, s.S_IFDIR, s.S_IFLNK, s.S_IFCHR, s.S_IFBLK, s.S_IFIFO, s.S_IFSOCK)


class Inode(NamedTuple):
    """An inode and its pointers to zones, or to a device."""

    number: int
    stat: Stat
    zones: bytes


class Superblock(NamedTuple):
    """The fields a reader needs, checked. Counts of zones are of blocks."""

    order: Literal["little", "big"]
    version: int
    name_size: int
    block_size: int
    inodes: int
    zones: int
    inode_bitmap: int
    zone_bitmap: int
    first_zone: int
    state: int  # 0: unknown

    @property
    def prefix(self) -> str:
        """The byte order for ``struct``."""
        return "<" if self.order == "little" else ">"

    @property
    def inode_size(self) -> int:
        """Bytes of an inode."""
        return 32 if self.version == 1 else 64

    @property
    def inodes_at(self) -> int:
        """Where the inode table begins, in blocks: behind the boot block, the superblock and both bitmaps."""
        return 2 + self.inode_bitmap + self.zone_bitmap


def read_superblock(device: BlockDevice) -> Superblock:
    """The superblock. Raises ``FormatError``, ``UnsupportedError``."""
    raw = device.read_exactly(SUPER_AT, SUPER_SIZE, NAME)
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        if int.from_bytes(raw[16:18], order) in MAGICS:
            return _checked(*_parse(raw, order))
        if int.from_bytes(raw[24:26], order) == MAGIC_3:
            return _checked(*_parse_3(raw, order))
    raise FormatError(NAME, "no magic of Minix is at byte 16 or 24 of the superblock", offset=SUPER_AT)


def _parse(raw: bytes, order: Literal["little", "big"]) -> tuple[Superblock, int]:
    fields = struct.unpack_from(("<" if order == "little" else ">") + _SUPER, raw)
    inodes, zones_1, inode_bitmap, zone_bitmap, first, log_zone, _, magic, state, zones_2 = fields
    version, name_size = MAGICS[magic]
    zones = zones_1 if version == 1 else zones_2
    return Superblock(
        order, version, name_size, 1024, inodes, zones, inode_bitmap, zone_bitmap, first, state
    ), log_zone


def _parse_3(raw: bytes, order: Literal["little", "big"]) -> tuple[Superblock, int]:
    fields = struct.unpack_from(("<" if order == "little" else ">") + _SUPER_3, raw)
    inodes, inode_bitmap, zone_bitmap, first, log_zone, _, zones, _, block_size, _ = fields
    return Superblock(
        order, 3, NAMES_3, block_size, inodes, zones, inode_bitmap, zone_bitmap, first, 0
    ), log_zone


def _checked(spb: Superblock, log_zone: int) -> Superblock:
    if spb.block_size not in BLOCK_SIZES:
        raise FormatError(
            NAME, f"block size {spb.block_size} is not a power of two from 1 KiB on", offset=SUPER_AT
        )
    bits = 8 * spb.block_size
    if (
        not 0 < spb.inodes < spb.inode_bitmap * bits
        or not spb.zones <= spb.first_zone + spb.zone_bitmap * bits
    ):
        raise FormatError(
            NAME, f"{spb.inodes} inodes and {spb.zones} zones do not fit in their bitmaps", offset=SUPER_AT
        )
    table = -(-spb.inodes * spb.inode_size // spb.block_size)
    if log_zone == 0 and not spb.inodes_at + table <= spb.first_zone < spb.zones:
        raise FormatError(
            NAME,
            f"first zone of data {spb.first_zone} is not behind the inodes and before {spb.zones}",
            offset=SUPER_AT,
        )
    if log_zone:
        raise UnsupportedError(f"{NAME}: zones of 2**{log_zone} blocks")
    return spb


class MinixVolume(InodeVolume[Inode]):
    """A Minix volume."""

    fmt = NAME
    root_number = ROOT

    def __init__(self, device: BlockDevice, _: Context) -> None:
        self.device = device
        self.super = spb = read_superblock(device)
        self.single_parent = SingleParent(NAME)
        self._tables = TablePages(device, NAME)
        self._layout = Pointers(
            device, NAME, width=2 if spb.version == 1 else 4, order=spb.order, block_size=spb.block_size,
            first=spb.first_zone, end=spb.zones,
        )  # fmt: skip

    def _read_inode(self, number: int) -> Inode:
        spb = self.super
        if not 0 < number <= spb.inodes:
            raise FormatError(NAME, f"inode {number} is not from 1 to {spb.inodes}")
        raw = self._tables.read(
            spb.inodes_at * spb.block_size + (number - 1) * spb.inode_size, spb.inode_size
        )
        if spb.version == 1:
            mode, uid, size, changed, gid, links, zones = struct.unpack(spb.prefix + _INODE_1, raw)
            accessed = content = changed
        else:
            mode, links, uid, gid, size, accessed, content, changed, zones = struct.unpack(
                spb.prefix + _INODE_2, raw
            )
        kind, rdev = s.S_IFMT(mode), 0
        if kind not in _KINDS:
            raise FormatError(NAME, f"inode {number} has the mode {mode:#o}, which is no kind of file")
        if kind in (s.S_IFCHR, s.S_IFBLK):
            device = int.from_bytes(zones[: self._layout.width], spb.order)
            rdev, size = os.makedev(device >> 8 & 0xFF, device & 0xFF), 0
        return Inode(
            number,
            Stat(mode, size, content * NS, accessed * NS, changed * NS, uid, gid, max(1, links), rdev),
            zones,
        )

    def content(self, inode: Inode) -> BlockDevice:
        blocks = PointerMap(self._layout, self._layout.parse(inode.zones), DIRECT)
        return mapped_file(self.device, self.super.block_size, inode.stat.size, blocks.find)

    def target(self, inode: Inode) -> bytes:
        return self.content(inode).pread(0, inode.stat.size)

    def entries(self, inode: Inode) -> Iterator[Entry]:
        spb = self.super
        width = 4 if spb.version == 3 else 2
        record = struct.Struct(f"{spb.prefix}{'I' if width == 4 else 'H'}{spb.name_size}s")

        def parse(data: bytes, base: int) -> Iterator[Entry]:
            if data.count(0) == len(data):
                return  # a hole
            whole = len(data) // record.size * record.size
            for index, (number, padded) in enumerate(record.iter_unpack(memoryview(data)[:whole])):
                name = padded.split(b"\0", 1)[0]
                if number and name and name not in (b".", b".."):
                    yield Entry(base + index * record.size, number, UNKNOWN, name)

        return scan(directory_parts(self.content(inode), spb.block_size, NAME, self.device.size), parse)

    def info(self) -> Mapping[str, str]:
        spb = self.super
        facts = {
            "version": f"{spb.version}, names of {spb.name_size} bytes, {spb.order} endian",
            "blocks": f"{spb.zones} of {spb.block_size} bytes",
            "inodes": str(spb.inodes),
        }
        if spb.state:
            facts["state"] = (
                "has errors" if spb.state & ERRORS else "clean" if spb.state & VALID else "not unmounted"
            )
        return facts

    def verify(self) -> Iterator[str]:
        spb = self.super
        if spb.version < 3 and not spb.state & VALID:
            yield "the volume was not unmounted properly"
        if spb.state & ERRORS:
            yield "the filesystem is marked as having errors"
        if spb.zones * spb.block_size > self.device.size:
            yield f"the volume has {spb.zones * spb.block_size} bytes, the image {self.device.size}"


def probe(device: BlockDevice) -> Match:
    """CERTAIN where superblock and root directory make sense: a magic of 16 bits is no proof."""
    try:
        spb = read_superblock(device)
    except UnsupportedError:
        return Match.LIKELY
    raw = device.read_exactly(spb.inodes_at * spb.block_size, 2, NAME)
    return Match.CERTAIN if s.S_ISDIR(int.from_bytes(raw, spb.order)) else Match.LIKELY


FORMAT: Final = FilesystemFormat(
    name=NAME,
    title="Minix 1, 2 and 3",
    checks="state and size of the volume",
    probe=probe,
    open=MinixVolume,
    limits="zones of several blocks",
)
