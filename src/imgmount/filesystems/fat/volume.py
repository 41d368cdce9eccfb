"""Volumes, directories and files of a FAT filesystem."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.node import DIRECTORY_MODE, Directory, File, Filesystem, Node, Stat
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import FormatError, ImageError, MountError
from imgmount.families.fat.chains import Chain, ClusterDevice
from imgmount.families.fat.times import dos_serial
from imgmount.filesystems.fat import records
from imgmount.filesystems.fat.boot import find_bpb
from imgmount.filesystems.fat.table import cluster_table

log = logging.getLogger(__name__)

DEFAULT_ENCODING: Final = "cp437"
MAX_DIRECTORY: Final = 16 << 20  # bytes: half a million records; the specification allows 2 MiB
NO_LABEL: Final = b"NO NAME"
# 0x000: lead signature, signature, free clusters, next free, trail signature
_FSINFO: Final = Struct("<4s480x4sII12x4s")
_FSINFO_MARKS: Final = (b"RRaA", b"rrAa", b"\0\0\x55\xaa")
_CLEAN: Final = {16: 1 << 15, 32: 1 << 27}  # of FAT entry 1: unmounted properly


class FatVolume(Filesystem):
    """A FAT12, FAT16 or FAT32 volume."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        self.bpb = find_bpb(device)
        self.encoding = _charset(context.options.encoding or DEFAULT_ENCODING)
        self.fat = cluster_table(device, self.bpb)
        self.uuid = "" if self.bpb.serial is None else dos_serial(self.bpb.serial)
        # first cluster of a directory -> id of the directory that was listed with it
        self._owners: dict[int, int] = {}

    @property
    def root(self) -> FatDirectory:
        return FatDirectory(self, 0, b"")

    @cached_property
    def label(self) -> str:  # type: ignore[override]
        """The label in the root directory, which opening does not read; else the one in the boot sector."""
        try:
            found = records.volume_label(self.content(self.root)[0], self.encoding)
        except ImageError:
            found = None
        if found is None and self.bpb.label != NO_LABEL:
            found = self.bpb.label.decode(self.encoding, "surrogateescape")
        return found or ""

    def offset(self, cluster: int) -> int:
        """Where ``cluster`` begins in the volume."""
        return self.bpb.data_offset + (cluster - 2) * self.bpb.cluster_size

    def chain_of(self, record: bytes) -> Chain:
        """The clusters of a file, no more than it needs."""
        first = records.first_cluster(record, self.bpb.bits)
        return self.fat.chain(first, -(-records.file_size(record) // self.bpb.cluster_size))

    def runs(self, directory: FatDirectory) -> tuple[list[tuple[int, int]], ImageError | None]:
        """((offset, size) of the pieces of a directory, what is wrong with its chain)."""
        if directory.id == 0 and self.bpb.bits != 32:
            return [(self.bpb.root_offset, self.bpb.root_size)], None
        size = self.bpb.cluster_size
        first = (
            self.bpb.root_cluster
            if directory.id == 0
            else records.first_cluster(directory.record, self.bpb.bits)
        )
        chain = self.fat.chain(first, MAX_DIRECTORY // size)
        pieces = [
            (self.offset(first), count * size)
            for first, count in zip(chain.firsts, chain.counts, strict=True)
        ]
        if chain.clusters * size == MAX_DIRECTORY and chain.damage is None:
            return pieces, FormatError(
                "fat", f"a directory of {MAX_DIRECTORY} bytes or more", offset=directory.id
            )
        return pieces, chain.damage

    def content(self, directory: FatDirectory) -> tuple[bytes, list[tuple[int, int]], ImageError | None]:
        """(bytes, pieces as in ``runs``, what ended them early) of a directory."""
        pieces, damage = self.runs(directory)
        data = []
        for offset, size in pieces:
            try:
                data.append(self.device.read_exactly(offset, size, "fat"))
            except ImageError as exc:
                damage = exc
                data.append(self.device.pread(offset, size))  # what a truncated image has of it
                break
        return b"".join(data), pieces, damage

    def claim(self, directory: FatDirectory) -> None:
        """Refuse a directory whose clusters are another's: loops end, and the disk bounds a walk."""
        first = (
            records.first_cluster(directory.record, self.bpb.bits) if directory.id else self.bpb.root_cluster
        )
        if first == 0 and directory.id == 0:
            return
        if first == 0 or self._owners.setdefault(first, directory.id) != directory.id:
            raise FormatError(
                "fat", f"a directory in cluster {first} that belongs to another", offset=directory.id
            )

    def info(self) -> Mapping[str, str]:
        bpb = self.bpb
        facts = {"type": f"FAT{bpb.bits}", "label": self.label, "oem": bpb.oem, "serial": self.uuid}
        facts["clusters"] = f"{bpb.clusters} of {bpb.cluster_size} bytes"
        if (free := self._free()) is not None:
            facts["free"] = f"{free} clusters, says FSInfo"
        if bpb.source:
            facts["boot sector"] = f"missing or damaged, read from {bpb.source}"
        facts["state"] = "dirty" if self.dirty else "clean"
        return {key: value for key, value in facts.items() if value}

    @property
    def dirty(self) -> bool:
        """Whether the volume was not unmounted, as the boot sector (Linux, NT) or FAT entry 1 (DOS) says."""
        clean = _CLEAN.get(self.bpb.bits, 0)
        try:
            return self.bpb.dirty or bool(clean and not self.fat[1] & clean)
        except ImageError:
            return True

    def _free(self) -> int | None:
        raw = self.device.pread(self.bpb.fsinfo, _FSINFO.size) if self.bpb.fsinfo else b""
        if len(raw) < _FSINFO.size:
            return None
        lead, middle, free, _, trail = _FSINFO.unpack(raw)
        return free if (lead, middle, trail) == _FSINFO_MARKS and free <= self.bpb.clusters else None


class _FatNode(Node):
    """A node is its record; ``id`` is where the record is on the disk."""

    __slots__ = ("_volume", "record")

    def __init__(self, volume: FatVolume, place: int, record: bytes) -> None:
        self._volume = volume
        self.id = place
        self.record = record

    def xattrs(self) -> Mapping[str, bytes]:
        if not self.record:
            return {}
        return {"user.dos.attributes": b"%#04x" % (records.attributes(self.record) & ~records.DIRECTORY)}


class FatDirectory(_FatNode, Directory):
    """A directory. The root has the id 0 and no record."""

    __slots__ = ()
    case_sensitive = False

    def stat(self) -> Stat:
        return records.stat_of(self.record) if self.record else Stat(DIRECTORY_MODE)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume = self._volume
        volume.claim(self)
        data, pieces, damage = volume.content(self)
        piece = iter(pieces)
        begin = stop = shift = 0
        for at, name, record in records.scan(data, volume.encoding):
            while at >= stop:
                offset, size = next(piece)
                begin, stop = stop, stop + size
                shift = offset - begin
            node = FatDirectory if record[11] & records.DIRECTORY else FatFile
            yield name, node(volume, at + shift, record)
        if damage is not None and 0 not in data[:: records.RECORD]:  # unless the end mark came first
            raise damage


class FatFile(_FatNode, File):
    """A regular file."""

    __slots__ = ()

    def stat(self) -> Stat:
        return records.stat_of(self.record)

    def open(self) -> BlockDevice:
        volume = self._volume
        size = records.file_size(self.record)
        if size == 0:
            return MemoryDevice(b"")
        content = ClusterDevice(
            volume.device, "fat", volume.chain_of(self.record), size,
            cluster_size=volume.bpb.cluster_size, base=volume.offset(0),
        )  # fmt: skip
        start = content.single
        return content if start is None else Slice(volume.device, start, size)


def _charset(name: str) -> str:
    """The codec called ``name``. Raises ``MountError``."""
    try:
        return codecs.lookup(name).name
    except LookupError as exc:
        raise MountError(f"no charset is called {name!r}") from exc
