"""Deleted files: sets of entries that are not in use and whose checksum is still right.

Certain are the name, the times and the size, and where a file was if its clusters followed each other or are
still linked. Where the links are gone, that the clusters follow each other is a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from imgmount.core.deleted import DeletedFolder, Found, FreeSpace, walk
from imgmount.core.device import BlockDevice
from imgmount.core.node import Node
from imgmount.families.fat.chains import STRAIGHT, Chain, ClusterDevice
from imgmount.filesystems.exfat import records
from imgmount.filesystems.exfat.boot import NAME
from imgmount.filesystems.exfat.records import Entry
from imgmount.filesystems.exfat.volume import ExfatDirectory, ExfatFile, placed, read_entries

if TYPE_CHECKING:
    from imgmount.filesystems.exfat.volume import ExfatVolume

MAX_FOLDER: Final = 16 << 20  # bytes of a deleted one


class _Folder(NamedTuple):
    """A folder. The root has no entry."""

    is_deleted: bool
    place: int = 0
    entry: Entry | None = None


def deleted(volume: ExfatVolume) -> Iterator[tuple[str, Node]]:
    """(path, node) of each deleted file and folder whose entries have not been used again."""

    def first_used(first: int, count: int) -> int | None:
        return volume.clusters.first_used(first, count)  # where it is damaged, that is told by reading

    size, base = volume.boot.cluster_size, volume.place(0)
    free = FreeSpace(volume.device, NAME, "cluster", size, first_used=first_used, base=base)
    top = Found("", None, _Folder(is_deleted=False), (volume.boot.root, False))
    return walk(top, partial(_look, volume, free))


def _look(volume: ExfatVolume, free: FreeSpace, folder: _Folder) -> Iterator[Found]:
    """What is in a folder: of a deleted one everything is deleted."""
    data, runs, _ = read_entries(_content(volume, free, folder))
    for place, entry in placed(records.scan(data), runs) if not folder.is_deleted else ():
        if entry.is_directory:
            first = records.stream_of(entry.stream)[2]
            below = _Folder(is_deleted=False, place=place, entry=entry)
            yield Found(entry.name, None, below, (first, False))
    for place, entry in placed(records.remnants(data, used=folder.is_deleted), runs):
        yield _found(volume, free, place, entry)


def _content(volume: ExfatVolume, free: FreeSpace, folder: _Folder) -> BlockDevice:
    """The entries of a folder. Raises ``ImageError``."""
    entry = folder.entry
    if entry is None:
        return volume.root.content()
    if not folder.is_deleted:
        return ExfatDirectory(volume, folder.place, entry.file, entry.stream).content()
    length = min(records.stream_of(entry.stream)[3], MAX_FOLDER)
    free.spend(length)
    return _clusters(volume, free, entry.stream, length)[0]


def _found(volume: ExfatVolume, free: FreeSpace, place: int, entry: Entry) -> Found:
    _, _, first, length = records.stream_of(entry.stream)
    if entry.is_directory:
        stat = ExfatDirectory(volume, place, entry.file, entry.stream).stat()
        below = _Folder(is_deleted=True, place=place, entry=entry) if length else None
        return Found(entry.name, DeletedFolder(place, stat), below, (first, True))
    return Found(entry.name, ExfatDeleted(volume, place, entry, free))


def _clusters(volume: ExfatVolume, free: FreeSpace, stream: bytes, size: int) -> tuple[ClusterDevice, str]:
    """(the first ``size`` bytes of what a deleted file had, what is a guess)."""
    flags, _, first, length = records.stream_of(stream)
    cluster, guess = volume.boot.cluster_size, ""
    count = -(-length // cluster)
    chain = volume.fat.straight(first, count)
    if count > 1 and not flags & records.NO_CHAIN:
        linked = volume.fat.chain(first, count)
        if linked.damage is None and linked.clusters == count and _ends(volume, linked):
            chain = linked
        else:
            guess = STRAIGHT
    content = ClusterDevice(free, NAME, chain, size, cluster_size=cluster, base=volume.place(0))
    return content, guess


def _ends(volume: ExfatVolume, chain: Chain) -> bool:
    return volume.fat[chain.firsts[-1] + chain.counts[-1] - 1] > volume.fat.bad


class ExfatDeleted(ExfatFile):
    """A deleted file: what is in a cluster that is in use cannot be read."""

    __slots__ = ("_free",)

    def __init__(self, volume: ExfatVolume, place: int, entry: Entry, free: FreeSpace) -> None:
        super().__init__(volume, place, entry.file, entry.stream)
        self._free = free

    @property
    def guess(self) -> str:
        return _clusters(self._volume, self._free, self._stream, 0)[1]

    def _stored(self, _flags: int, _first: int, size: int) -> BlockDevice:
        return _clusters(self._volume, self._free, self._stream, size)[0]
