"""XFS versions 4 and 5, read by libfsxfs. The log is not replayed: a volume that was not unmounted is shown as it is.

Source of what is looked at here: the XFS Algorithms and Data Structures guide, 3rd edition, "Superblocks", "On-disk Inode".
"""

from __future__ import annotations

import logging
import stat as s
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from struct import Struct
from typing import Any, Final, NamedTuple
from uuid import UUID

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Format, Kind, Match
from imgmount.core.node import Directory, File, Filesystem, Node, Special, Stat, Symlink
from imgmount.core.slices import MemoryDevice
from imgmount.core.stream import DeviceFile
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.library import MAX_RUNS, MAX_XATTR, MAX_XATTR_NAME, Library, LibraryDevice, Run, mapped

log = logging.getLogger(__name__)

# block size, blocks, realtime blocks, UUID, blocks a group, version, inode size, logarithms of inodes a block and blocks a group
_SUPERBLOCK: Final = Struct(">4xIQQ8x16s36xI12xH2xH17xBB")
_INCOMPAT: Final = Struct(">216xI")
VERSION_MASK: Final = 0x000F
VERSIONS: Final = (4, 5)
BLOCK_SIZES: Final = range(512, 65537)
UNKNOWN_INCOMPAT: Final = ~0xFF  # known: ftype, sparse inodes, metadata UUID, bigtime, needs repair, nrext64, exchange, parent
DI_FLAGS: Final = 0x5A  # offset in an inode
DIFLAG_REALTIME: Final = 1
# Versions of the library that give the number of a run's first block, times the block size, for its offset: that is not where
# the block is, unless groups are a power of two. A version that mends this must not be corrected; until it is known, it reads.
NUMBERED_RUNS: Final = ("20260901",)
MAX_INODE: Final = 1 << 48
MAX_XATTRS: Final = 256  # of one file
NAMESPACES: Final = ("user.", "trusted.", "security.", "system.")


class Superblock(NamedTuple):
    """The fields that are looked at here. ``inode_shift`` and ``group_shift`` are logarithms."""

    block_size: int
    blocks: int
    realtime_blocks: int
    uuid: bytes
    group_blocks: int
    version: int
    inode_size: int
    inode_shift: int
    group_shift: int

    @classmethod
    def read(cls, device: BlockDevice) -> Superblock:
        """The first superblock. Raises ``FormatError``, ``UnsupportedError``."""
        raw = device.read_exactly(0, 512, "xfs")
        fields = cls._make(_SUPERBLOCK.unpack_from(raw))
        if fields.block_size not in BLOCK_SIZES or fields.block_size & (fields.block_size - 1) or not fields.blocks:
            raise FormatError("xfs", f"{fields.blocks} blocks of {fields.block_size} bytes", offset=4)
        version = fields.version & VERSION_MASK
        if version not in VERSIONS:
            raise UnsupportedError(f"xfs: version {version}")
        (features,) = _INCOMPAT.unpack_from(raw)
        if version == VERSIONS[-1] and features & UNKNOWN_INCOMPAT:
            raise UnsupportedError(f"xfs: incompatible features {features & UNKNOWN_INCOMPAT:#x}")
        return fields

    def inode_offset(self, number: int) -> int:
        """Where an inode is on the device."""
        block, index = divmod(number, 1 << self.inode_shift)
        return self.block_offset(block) + index * self.inode_size

    def block_offset(self, number: int) -> int:
        """Where a block is on the device. The upper bits of its number are the group, whatever the size of a group."""
        group, block = divmod(number, 1 << self.group_shift)
        return (group * self.group_blocks + block) * self.block_size


class XfsVolume(Filesystem):
    """A volume and the library's handle on it."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        self.cache = context.cache
        self.superblock = Superblock.read(device)
        self.uuid = str(UUID(bytes=self.superblock.uuid))
        self.library = Library("xfs", "pyfsxfs")
        self._file = DeviceFile(device)
        self._volume = self.library.module.volume()
        with self.library.call("the volume"):
            self._volume.open_file_object(self._file)
            self.label = self._volume.label or ""
        powers = self.superblock.group_blocks == 1 << self.superblock.group_shift
        self.tells_runs: bool = powers or self.library.module.get_version() in NUMBERED_RUNS

    @property
    def root(self) -> Directory:
        with self.library.call("the root directory"):
            entry = self._volume.root_directory
            return XfsDirectory(self, entry.inode_number, _stat(entry))

    def info(self) -> Mapping[str, str]:
        return {
            "version": str(self.superblock.version & VERSION_MASK),
            "uuid": self.uuid,
            "blocks": f"{self.superblock.blocks} of {self.superblock.block_size} bytes",
        }

    def entry(self, number: int) -> Any:
        """The library's object for an inode. The lock must be held."""
        return self._volume.get_file_entry_by_inode(number)

    def realtime(self, number: int) -> bool:
        """Whether a file's content is on the realtime device."""
        if not self.superblock.realtime_blocks:
            return False
        offset = self.superblock.inode_offset(number) + DI_FLAGS
        return bool(int.from_bytes(self.device.read_exactly(offset, 2, "xfs"), "big") & DIFLAG_REALTIME)


def _stat(entry: Any) -> Stat:
    """What the library knows of ``entry``. The lock must be held."""
    mode = entry.file_mode
    major, minor = (entry.device_number or (0, 0)) if s.S_ISBLK(mode) or s.S_ISCHR(mode) else (0, 0)
    return Stat(
        mode,
        0 if s.S_ISDIR(mode) else entry.size,
        entry.get_modification_time_as_integer() or 0,
        entry.get_access_time_as_integer() or 0,
        entry.get_inode_change_time_as_integer() or 0,
        entry.owner_identifier,
        entry.group_identifier,
        max(1, entry.number_of_links),
        (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12,  # as makedev of Linux
    )


class _XfsNode(Node):
    """A node is an inode. ``id`` is its number."""

    __slots__ = ("_stat", "_volume")

    def __init__(self, volume: XfsVolume, number: int, stat: Stat) -> None:
        self._volume = volume
        self.id = number
        self._stat = stat

    def stat(self) -> Stat:
        return self._stat

    def xattrs(self) -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}
        with self._volume.library.call(f"inode {self.id}"):
            entry = self._volume.entry(self.id)
            for index in range(min(entry.number_of_extended_attributes, MAX_XATTRS)):
                attribute = entry.get_extended_attribute(index)
                name, size = attribute.name, attribute.size
                fits = size <= MAX_XATTR and len(name.encode("utf-8", "replace")) <= MAX_XATTR_NAME
                if fits and name.startswith(NAMESPACES):
                    found[name] = attribute.read_buffer_at_offset(size, 0) if size else b""
        return found


class XfsDirectory(_XfsNode, Directory):
    """A directory."""

    __slots__ = ()

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume = self._volume
        damage: ImageError | None = None
        with volume.library.call(f"directory {self.id}"):
            entry = volume.entry(self.id)
            count = entry.number_of_sub_file_entries
        for index in range(count):
            try:
                with volume.library.call(f"directory {self.id}, entry {index}"):
                    found = self._entry(entry.get_sub_file_entry(index))
            except ImageError as exc:
                damage = exc
                continue
            yield found
        if damage is not None:
            raise damage

    def _entry(self, entry: Any) -> tuple[str, Node]:
        """The name and node of the library's ``entry``. The lock must be held."""
        number, stat = entry.inode_number, _stat(entry)
        if not 0 < number < MAX_INODE:
            raise FormatError("xfs", f"inode {number}")
        try:
            name = entry.name
        except (OSError, UnicodeError):
            name = f"inode {number}"  # the library does not give names that are not UTF-8
            log.warning("xfs: directory %d: the name of inode %d is not UTF-8", self.id, number)
        return name, self._node(number, stat)

    def _node(self, number: int, stat: Stat) -> Node:
        volume = self._volume
        if s.S_ISDIR(stat.mode):
            volume.library.claim(number, self.id)
            return XfsDirectory(volume, number, stat)
        if s.S_ISREG(stat.mode):
            return XfsFile(volume, number, stat)
        return XfsLink(volume, number, stat) if s.S_ISLNK(stat.mode) else XfsSpecial(volume, number, stat)


class XfsFile(_XfsNode, File):
    """A regular file: extents of the device, holes where nothing was written."""

    __slots__ = ()

    def open(self) -> BlockDevice:
        volume, size = self._volume, self._stat.size
        if size == 0:
            return MemoryDevice(b"")
        if volume.realtime(self.id):
            raise UnsupportedError("xfs: a file on the realtime device")
        with volume.library.call(f"inode {self.id}"):
            entry = volume.entry(self.id)
            if volume.tells_runs and 0 < entry.number_of_extents <= MAX_RUNS:
                return mapped(volume.device, list(_runs(entry, volume.superblock)), size)
        return LibraryDevice(volume.library, size, partial(_at, entry), volume.cache)


def _runs(entry: Any, superblock: Superblock) -> Iterator[Run]:
    """The runs of the library's ``entry``. The lock must be held."""
    for index in range(entry.number_of_extents):
        offset, length, hole = entry.get_extent(index)
        yield Run(length, None if hole else superblock.block_offset(offset // superblock.block_size))


def _at(entry: Any, offset: int, size: int) -> bytes:
    data: bytes = entry.read_buffer_at_offset(size, offset)
    return data


class XfsLink(_XfsNode, Symlink):
    """A symbolic link."""

    __slots__ = ()

    def readlink(self) -> str:
        with self._volume.library.call(f"inode {self.id}"):
            target: str = self._volume.entry(self.id).symbolic_link_target
        return target


class XfsSpecial(_XfsNode, Special):
    """A device node, FIFO or socket."""

    __slots__ = ()


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the superblock makes sense."""
    with suppress(UnsupportedError):  # it is XFS all the same
        Superblock.read(device)
    return Match.CERTAIN


FORMAT: Final = Format(
    name="xfs",
    title="XFS",
    kind=Kind.FILESYSTEM,
    probe=probe,
    open=XfsVolume,
    limits="files on a realtime device; the log is not replayed",
    extra="xfs",
)
