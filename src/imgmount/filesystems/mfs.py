"""MFS, the filesystem of the first Macs (1984): one list of files, which the Finder shows in folders.

The volume information is at 0x400, with a map of 12 bits for each allocation block behind it: 0 free, 1 the
last of its file, 0xFFF taken by the directory, else the next block. The folders are resources ``FOBJ`` of the
file ``DeskTop``: their number is what ``fdFldr`` of files counts, their parent is at byte 12. ``flat`` shows
no folders.

Source: Inside Macintosh II, "The File Manager", "Data Organization on Volumes"; folders as disks have them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, FilesystemFormat, Match
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Directory, File, Filesystem, Node, Stat
from imgmount.errors import FormatError, ImageError
from imgmount.families.apple import forks, options
from imgmount.families.apple.extents import Blocks, Run
from imgmount.families.apple.names import decoded, folded, shown
from imgmount.families.apple.resources import ResourceFork
from imgmount.families.apple.times import hfs_time_ns

NAME: Final = "mfs"
PLACE: Final = 0x400
SIGNATURE: Final = b"\xd2\xd7"
SECTOR: Final = 512
MAP_AT: Final = 64  # behind the volume information
MAX_BLOCKS: Final = 4094  # that 12 bits count
FIRST_BLOCK: Final = 2
USED, LOCKED = 0x80, 1  # flags of an entry
MAX_ENTRY_AT: Final = 460  # no entry begins later in its block
DESKTOP: Final = "desktop"  # in any case
ROOT_FOLDER, ROOT = 0, 1
ON_DESKTOP, IN_TRASH = -2, -3
SPECIAL: Final = {ON_DESKTOP: "Desktop Folder", IN_TRASH: "Trash"}
PARENT_AT: Final = 12  # in FOBJ
_INFO: Final = Struct(">2sIIHHHHHIIHIH28s")
_ENTRY: Final = Struct(">Bx16sIHIIHIIIIB")
_FOLDER_AT: Final = 14  # in FInfo
_FOLDER_BIT: Final = 1 << 32  # of a node's number: folders are numbered apart from files


class VolumeInfo(NamedTuple):
    """The fields at 0x400. Times are seconds since 1904, local."""

    signature: bytes
    created: int
    backed_up: int
    attributes: int
    files: int
    directory_start: int  # in sectors
    directory_sectors: int
    blocks: int
    block_size: int
    clump: int
    first_block: int  # in sectors
    next_file: int
    free_blocks: int
    name: bytes  # with its length before it


class Entry(NamedTuple):
    """A file. ``data`` and ``resource`` are (first block, size, bytes in blocks)."""

    flags: int
    finder: bytes
    number: int
    data: tuple[int, int, int]
    resource: tuple[int, int, int]
    created: int
    modified: int
    name: bytes

    @property
    def folder(self) -> int:
        """The Finder's folder."""
        return int.from_bytes(self.finder[_FOLDER_AT : _FOLDER_AT + 2], "big", signed=True)


class Folder(NamedTuple):
    """A folder of the Finder."""

    parent: int
    name: str


def read_info(device: BlockDevice) -> VolumeInfo:
    """The volume information, checked. Raises ``FormatError``."""
    info = VolumeInfo._make(_INFO.unpack(device.read_exactly(PLACE, _INFO.size, NAME)))
    if info.signature != SIGNATURE:
        raise FormatError(NAME, f"a volume that begins with {info.signature!r}", offset=PLACE)
    if info.block_size == 0 or info.block_size % SECTOR or not 0 < info.blocks <= MAX_BLOCKS:
        raise FormatError(NAME, f"{info.blocks} blocks of {info.block_size} bytes", offset=PLACE + 0x12)
    if not 0 < info.name[0] <= 27 or not info.first_block or not info.directory_start:
        raise FormatError(NAME, f"a volume with a name of {info.name[0]} letters", offset=PLACE + 0x24)
    return info


def block_map(device: BlockDevice, blocks: int) -> array[int]:
    """The entry of each block, as many as ``blocks``; block n has entry n - 2. Raises ``FormatError``."""
    raw = device.read_exactly(PLACE + MAP_AT, (blocks * 12 + 7) // 8, NAME) + b"\0\0"
    found = array("H")
    for at in range(0, blocks * 3 // 2 + 1, 3):
        three = int.from_bytes(raw[at : at + 3].ljust(3, b"\0"), "big")
        found.append(three >> 12)
        found.append(three & 0xFFF)
    return found[:blocks]


def parse_entries(sector: bytes) -> Iterator[Entry]:
    """The entries in use in one block of the directory. Raises ``FormatError`` where one is cut short."""
    at = 0
    while at <= MAX_ENTRY_AT and sector[at]:
        flags, info, number, *numbers, length = _ENTRY.unpack_from(sector, at)
        end = at + _ENTRY.size + length
        if end > len(sector):
            raise FormatError(NAME, f"an entry of {end - at} bytes at {at} of a directory block")
        if flags & USED:
            data, resource = tuple(numbers[:3]), tuple(numbers[3:6])
            name = sector[at + _ENTRY.size : end]
            yield Entry(flags, info, number, data, resource, numbers[6], numbers[7], name)
        at = end + (end & 1)


class MfsVolume(Filesystem):
    """An MFS volume."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        self.header = info = read_info(device)
        self.forks_choice = options.FORKS.of(context.options.extra)
        self.is_flat = options.FLAT.is_on(context.options.extra)
        self._encoding = context.options.encoding
        self._stored = options.NAMES.of(context.options.extra) == "stored"
        self.label = self.shown(info.name[1 : 1 + info.name[0]])
        self._map = block_map(device, info.blocks)
        base = info.first_block * SECTOR - FIRST_BLOCK * info.block_size
        self._blocks = Blocks(NAME, device, base, info.block_size, info.blocks + FIRST_BLOCK)

    def shown(self, raw: bytes) -> str:
        """A name as a path component."""
        return shown(decoded(raw, self._encoding), stored=self._stored)

    def entries(self) -> Iterator[Entry]:
        """The files, in disk order. What is damaged is raised when the others were given."""
        damage: ImageError | None = None
        info = self.header
        for sector in range(info.directory_start, info.directory_start + info.directory_sectors):
            try:
                yield from parse_entries(self.device.read_exactly(sector * SECTOR, SECTOR, NAME))
            except ImageError as exc:
                damage = damage or exc
                if (sector + 1) * SECTOR > self.device.size:
                    break
        if damage is not None:
            raise damage

    def fork(self, part: tuple[int, int, int], name: str) -> BlockDevice:
        """The fork that begins at a block. Raises ``FormatError`` where its blocks run in a circle."""
        first, size, _ = part
        return self._blocks.fork(size, self._runs(first, -(-size // self.header.block_size)), name)

    def _runs(self, block: int, count: int) -> list[Run]:
        """The blocks from ``block`` on, ``count`` of them or fewer if the chain ends first."""
        runs: list[Run] = []
        for _ in range(min(count, self.header.blocks)):
            if not FIRST_BLOCK <= block < self.header.blocks + FIRST_BLOCK:
                break
            if runs and sum(runs[-1]) == block:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((block, 1))
            block = self._map[block - FIRST_BLOCK]
        return runs

    def folders(self) -> dict[int, Folder]:
        """The folders of the Finder, by number; none where they cannot be read."""
        if self.is_flat:
            return {}
        try:
            desks = (entry for entry in self.entries() if self.shown(entry.name).lower() == DESKTOP)
            desk = next(desks, None)
            if desk is None or not desk.resource[1]:
                return {}
            fork = ResourceFork(self.fork(desk.resource, DESKTOP), NAME)
            found = [one for one in fork.resources if one.type == b"FOBJ"]
            return {one.id: self._folder(one.name, fork.read(one)) for one in found}
        except ImageError:
            return {}

    def _folder(self, name: bytes, data: bytes) -> Folder:
        parent = int.from_bytes(data[PARENT_AT : PARENT_AT + 2], "big", signed=True)
        return Folder(parent, self.shown(name))

    @property
    def root(self) -> MfsDirectory:
        return MfsDirectory(self, ROOT_FOLDER)

    def info(self) -> Mapping[str, str]:
        info = self.header
        return {
            "label": self.label,
            "files": str(info.files),
            "blocks": f"{info.blocks} of {info.block_size} bytes, {info.free_blocks} free",
            "folders of the Finder": str(len(self.folders())),
        }

    def verify(self) -> Iterator[str]:
        found, taken = 0, array("H", bytes(2 * self.header.blocks))
        try:
            for entry in self.entries():
                found += 1
                yield from self._verify_entry(entry, taken)
        except ImageError as exc:
            yield str(exc)
        if found != self.header.files:
            yield f"{found} files in the directory, the volume information counts {self.header.files}"
        free = self._map.count(0)
        if free != self.header.free_blocks:
            yield f"{free} free blocks in the map, the volume information counts {self.header.free_blocks}"

    def _verify_entry(self, entry: Entry, taken: array[int]) -> Iterator[str]:
        name = self.shown(entry.name)
        for part in (entry.data, entry.resource):
            count = -(-part[1] // self.header.block_size)
            runs = self._runs(part[0], count)
            blocks = [block for first, length in runs for block in range(first, first + length)]
            if len(blocks) < count:
                yield f"{name!r}: {len(blocks)} blocks in a row, {count} expected"
            for block in blocks:
                taken[block - FIRST_BLOCK] = min(taken[block - FIRST_BLOCK] + 1, 2)
            if any(taken[block - FIRST_BLOCK] > 1 for block in blocks):
                yield f"{name!r}: a block that another file has as well"


class MfsNode(Node):
    """What files and folders share: a place in the volume."""

    __slots__ = ("_volume",)

    def __init__(self, volume: MfsVolume, number: int) -> None:
        self._volume = volume
        self.id = number


class MfsFile(MfsNode, File):
    """A file."""

    __slots__ = ("entry",)

    def __init__(self, volume: MfsVolume, entry: Entry) -> None:
        super().__init__(volume, entry.number)
        self.entry = entry

    def stat(self) -> Stat:
        data, resource = self.entry.data, self.entry.resource
        modified = hfs_time_ns(self.entry.modified, local=True)
        return Stat(FILE_MODE, data[1], modified, allocated=data[2] + resource[2])

    def open(self) -> BlockDevice:
        return self._volume.fork(self.entry.data, f"file {self.id}")

    def finder_info(self) -> bytes:
        """The Finder's 16 bytes, and 16 zeros; none where all are zero."""
        return self.entry.finder.ljust(forks.FINDER_INFO_SIZE, b"\0") if any(self.entry.finder) else b""

    def resource_fork(self) -> BlockDevice | None:
        """The resource fork, None where it is empty. Raises ``ImageError``."""
        if not self.entry.resource[1]:
            return None
        return self._volume.fork(self.entry.resource, f"the resource fork of file {self.id}")

    def xattrs(self) -> Mapping[str, bytes]:
        found = forks.attributes(self.finder_info(), self.resource_fork())
        if self.entry.created:
            found["user.mfs.birthtime"] = b"%d" % (hfs_time_ns(self.entry.created, local=True) // 10**9)
        if self.entry.flags & LOCKED:
            found["user.mfs.flags"] = b"locked"
        return found

    def streams(self) -> Mapping[str, File]:
        return forks.streams(self)


class MfsDirectory(MfsNode, Directory):
    """The volume, or a folder of the Finder; ``path`` are the folders that it is in."""

    __slots__ = ("_number", "_path")
    case_sensitive = False

    def __init__(self, volume: MfsVolume, number: int, path: tuple[int, ...] = ()) -> None:
        super().__init__(volume, _FOLDER_BIT | number & 0xFFFF)
        self._number = number
        self._path = path

    def fold(self, name: str) -> str:
        return folded(name)

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE, mtime_ns=hfs_time_ns(self._volume.header.created, local=True), nlink=2)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        top = self if self._number == ROOT_FOLDER else None
        return forks.listed(self._entries(), self._volume.forks_choice, top)

    def _entries(self) -> Iterator[tuple[str, Node]]:
        volume = self._volume
        folders = volume.folders()
        path = (*self._path, self._number)
        for number, folder in folders.items():
            if _home(folder.parent, folders) == self._number and number not in path:
                yield folder.name, MfsDirectory(volume, number, path)
        used = {_home(entry.folder, folders) for entry in volume.entries()} if not self._number else ()
        for number in used:
            if number in SPECIAL:
                yield SPECIAL[number], MfsDirectory(volume, number, path)
        for entry in volume.entries():
            if _home(entry.folder, folders) == self._number:
                yield volume.shown(entry.name), MfsFile(volume, entry)


def _home(folder: int, folders: Mapping[int, Folder]) -> int:
    """The folder that shows the files in ``folder``: the root for a folder that is unknown."""
    return folder if folder in folders or (folders and folder in SPECIAL) else ROOT_FOLDER


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the volume information is sound."""
    read_info(device)
    return Match.CERTAIN


FORMAT: Final = FilesystemFormat(
    name=NAME,
    title="MFS (Macintosh File System)",
    extensions=(".dsk", ".img"),
    checks="the directory, the block map, counts",
    probe=probe,
    open=MfsVolume,
    options=(*options.SHARED, options.FLAT),
)
