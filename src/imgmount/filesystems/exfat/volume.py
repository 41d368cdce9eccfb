"""Volumes, directories and files of an exFAT filesystem."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final

from imgmount.core.bitmap import Bitmap
from imgmount.core.device import BlockDevice, Extent
from imgmount.core.fields import table
from imgmount.core.format import Context
from imgmount.core.header import within
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Directory, File, Filesystem, Node, Stat
from imgmount.core.single_parent import SingleParent
from imgmount.core.slices import Concat, MemoryDevice, Slice, ZeroDevice
from imgmount.errors import FormatError, ImageError
from imgmount.families.fat.chains import Chain, ClusterDevice, ClusterTable
from imgmount.families.fat.times import dos_serial
from imgmount.filesystems.exfat import records
from imgmount.filesystems.exfat.boot import NAME, check_region, parse_boot, read_boot

log = logging.getLogger(__name__)

MAX_DIRECTORY: Final = 256 << 20  # the specification's own limit
MAX_UPCASE: Final = 128 << 10  # one unit for each of 65536
_REPEAT: Final = 0xFFFF  # in the up-case table: so many letters are their own
_ENTRY_MASK: Final = 0xFFFF_FFFF  # of the FAT
MAX_BITMAP: Final = 64 << 20  # counted for info: 512 million clusters


class ExfatVolume(Filesystem):
    """An exFAT volume."""

    def __init__(self, device: BlockDevice, _: Context) -> None:
        self.device = device
        self.boot = read_boot(device)
        active = self.boot.fat_offset + self.boot.active_fat * self.boot.fat_size
        self.fat = ClusterTable(device, NAME, bits=32, mask=_ENTRY_MASK, end=self.boot.end, places=[active])
        self.uuid = dos_serial(self.boot.serial)
        self.single_parent = SingleParent(NAME)

    @property
    def root(self) -> ExfatDirectory:
        return ExfatDirectory(self, 0, b"", b"")

    def place(self, cluster: int) -> int:
        """Where ``cluster`` begins in the volume."""
        return self.boot.heap_offset + (cluster - 2) * self.boot.cluster_size

    def content(self, flags: int, first: int, length: int) -> ClusterDevice:
        """``length`` bytes in clusters."""
        count = -(-length // self.boot.cluster_size)
        chain = self.fat.straight(first, count) if flags & records.NO_CHAIN else self.fat.chain(first, count)
        return self.in_clusters(chain, length)

    def in_clusters(self, chain: Chain, size: int) -> ClusterDevice:
        """``size`` bytes in the clusters of ``chain``."""
        return ClusterDevice(
            self.device, NAME, chain, size, cluster_size=self.boot.cluster_size, base=self.place(0)
        )

    @cached_property
    def _root_bytes(self) -> bytes:
        try:
            device = self.root.content()
            return device.pread(0, min(device.size, MAX_DIRECTORY))
        except ImageError:
            return b""

    @cached_property
    def label(self) -> str:  # type: ignore[override]
        """The label in the root directory, which opening does not read."""
        entry = records.critical(self._root_bytes, records.LABEL)
        return records.label(entry) if entry else ""

    @cached_property
    def upcase(self) -> Mapping[int, int]:
        """The letters that have capitals, by code unit; none where the table is damaged. Section 7.2."""
        entry = records.critical(self._root_bytes, records.UPCASE)
        if entry is None:
            return {}
        stored, first, length = records.place(entry)
        try:
            if length > MAX_UPCASE:
                raise FormatError(NAME, f"an up-case table of {length} bytes")
            data = self.content(0, first, length).pread(0, length)
        except ImageError as exc:
            log.warning("%s", exc)
            return {}
        if _table_checksum(data) != stored:
            log.warning("%s: the checksum of the up-case table is wrong", NAME)
            return {}
        return _unpack_upcase(table(data, 2, "little"))

    def info(self) -> Mapping[str, str]:
        boot = self.boot
        facts = {"label": self.label, "serial": self.uuid}
        facts["clusters"] = f"{boot.end - 2} of {boot.cluster_size} bytes"
        facts["sectors"] = f"{boot.sector_size} bytes"
        if (used := self._used()) is not None:
            facts["free"] = f"{boot.end - 2 - used} clusters"
        facts["state"] = "dirty" if boot.dirty else "clean"
        if boot.offset:
            facts["boot region"] = "damaged, the backup is used"
        return {key: value for key, value in facts.items() if value}

    @cached_property
    def clusters(self) -> Bitmap:
        """Which clusters are in use. Raises ``ImageError``."""
        entry = records.critical(self._root_bytes, records.BITMAP)
        if entry is None:
            raise FormatError(NAME, "there is no bitmap of clusters")
        _, first, length = records.place(entry)
        within(NAME, "bytes of the bitmap of clusters", length, -(-(self.boot.end - 2) // 8), MAX_BITMAP)
        return Bitmap(self.content(0, first, length), self.boot.end - 2, NAME, "clusters", base=2)

    def _used(self) -> int | None:
        try:
            return self.clusters.part(2, self.clusters.count).bit_count()
        except ImageError:
            return None

    def verify(self) -> Iterator[str]:
        if self.boot.dirty:
            yield "the volume was not unmounted properly"
        if self.boot.failing:
            yield "the medium of the volume was failing"
        for offset, name in ((0, "main"), (12 * self.boot.sector_size, "backup")):
            try:
                check_region(self.device, parse_boot(self.device, offset))
            except ImageError as exc:
                yield f"{name} boot region: {exc}"
        entry = records.critical(self._root_bytes, records.UPCASE)
        if entry is None or not self.upcase:
            yield "there is no sound up-case table"


def _table_checksum(data: bytes) -> int:
    """Section 7.2.2."""
    total = 0
    for byte in data:
        total = ((total << 31 | total >> 1) + byte) & 0xFFFF_FFFF
    return total


def _unpack_upcase(units: array[int]) -> Mapping[int, int]:
    capitals: dict[int, int] = {}
    letter, rest = 0, iter(units)
    for unit in rest:
        if unit == _REPEAT:
            letter += next(rest, 0)
            continue
        if unit != letter:
            capitals[letter] = unit
        letter += 1
    return capitals


class _ExfatNode(Node):
    """A node is its file and stream entries; ``id`` is where the former is on the disk."""

    __slots__ = ("_file", "_stream", "_volume")

    def __init__(self, volume: ExfatVolume, place: int, file: bytes, stream: bytes) -> None:
        self._volume = volume
        self.id = place
        self._file = file
        self._stream = stream

    def xattrs(self) -> Mapping[str, bytes]:
        if not self._file:
            return {}
        return {
            "user.dos.attributes": b"%#04x" % (records.facts_of(self._file).attributes & ~records.DIRECTORY)
        }

    def _stat(self, mode: int, size: int, allocated: int | None = None) -> Stat:
        facts = records.facts_of(self._file)
        accessed, birth = facts.accessed or None, facts.created or None
        return Stat(mode, size, facts.modified, accessed, allocated=allocated, birth_ns=birth)


class ExfatDirectory(_ExfatNode, Directory):
    """A directory. The root has the id 0 and no entries of its own."""

    __slots__ = ()
    case_sensitive = False

    def stat(self) -> Stat:
        return self._stat(DIRECTORY_MODE, 0) if self._file else Stat(DIRECTORY_MODE)

    def fold(self, name: str) -> str:
        capitals = self._volume.upcase
        if not capitals:
            return super().fold(name)
        return name.translate(capitals)

    def content(self) -> BlockDevice:
        """The entries. Raises ``FormatError``."""
        volume = self._volume
        if not self._file:
            chain = volume.fat.chain(volume.boot.root, MAX_DIRECTORY // volume.boot.cluster_size)
            size = sum(chain.counts) * volume.boot.cluster_size
            if chain.damage is not None and chain.counts:
                log.warning("%s: the root directory: %s", NAME, chain.damage)
            elif chain.damage is not None:
                raise chain.damage.again()
            return volume.in_clusters(chain, size)
        flags, _, first, length = records.stream_of(self._stream)
        if length > MAX_DIRECTORY:
            raise FormatError(NAME, f"a directory of {length} bytes", offset=self.id)
        return volume.content(flags, first, length) if length else MemoryDevice(b"")

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume = self._volume
        first = records.stream_of(self._stream)[2] if self._file else volume.boot.root
        volume.single_parent.claim(first, self.id)
        data, runs, damage = read_entries(self.content())
        for place, entry in placed(records.scan(data), runs):
            node = ExfatDirectory if entry.is_directory else ExfatFile
            yield entry.name, node(volume, place, entry.file, entry.stream)
        # damage behind the end mark does not matter
        if damage is not None and records.END not in data[:: records.RECORD]:
            raise damage


def placed(entries: Iterable[records.Entry], runs: Iterable[Extent]) -> Iterator[tuple[int, records.Entry]]:
    """(where it is in the volume, entry) of the entries of a directory whose bytes are in ``runs``."""
    pieces = iter(runs)
    at = stop = shift = 0
    for entry in entries:
        while entry.at >= stop:
            length, _, offset = next(pieces)
            at, stop = stop, stop + length
            shift = offset - at
        yield entry.at + shift, entry


def read_entries(device: BlockDevice) -> tuple[bytes, list[Extent], ImageError | None]:
    """(bytes, where they are, what ended them early) of a directory."""
    pieces, runs = [], []
    try:
        for run in device.extents(0, device.size):
            if run.device is not None:
                pieces.append(run.device.pread(run.offset, run.length))
                runs.append(run)
    except ImageError as exc:
        return b"".join(pieces), runs, exc
    return b"".join(pieces), runs, None


class ExfatFile(_ExfatNode, File):
    """A regular file."""

    __slots__ = ()

    def stat(self) -> Stat:
        _, valid, _, length = records.stream_of(self._stream)
        if length >> 62:
            raise FormatError(NAME, f"a file of {length} bytes", offset=self.id)
        return self._stat(FILE_MODE, length, valid if valid < length else None)

    def open(self) -> BlockDevice:
        flags, valid, first, length = records.stream_of(self._stream)
        if length >> 62:
            raise FormatError(NAME, f"a file of {length} bytes", offset=self.id)
        if length == 0:
            return MemoryDevice(b"")
        if valid == 0:
            return ZeroDevice(length)
        data = self._stored(flags, first, valid)
        # the rest was never written
        return data if valid == length else Concat([Extent(valid, data), Extent(length - valid)])

    def _stored(self, flags: int, first: int, size: int) -> BlockDevice:
        """The ``size`` bytes that were written."""
        clusters = self._volume.content(flags, first, size)
        start = clusters.single
        return clusters if start is None else Slice(self._volume.device, start, size)
