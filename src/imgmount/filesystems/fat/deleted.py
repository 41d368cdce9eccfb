"""Deleted files: records whose first byte is 0xE5. Their clusters are free, and their links are gone.

Certain are the size, the times and the first cluster, and the name where the pieces of its long name are
there and match the checksum; else its first letter is lost and shown as "_". A guess is that the clusters of
a file follow each other, as they do on a disk that is not fragmented.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from imgmount.core.deleted import DeletedFolder, Found, FreeSpace, walk
from imgmount.core.device import BlockDevice
from imgmount.core.node import Node
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ImageError
from imgmount.families.fat.chains import STRAIGHT, ClusterDevice
from imgmount.filesystems.fat import records
from imgmount.filesystems.fat.remnants import Remnant, is_plausible, remnants
from imgmount.filesystems.fat.volume import FatDirectory, FatFile

if TYPE_CHECKING:
    from imgmount.filesystems.fat.volume import FatVolume

HALF: Final = "the upper half of its first cluster may be lost, as Windows deletes"
MAX_FOLDER: Final = 1 << 20  # bytes of a deleted one


class _Folder(NamedTuple):
    """A folder by its first cluster. ``place`` is where its record is."""

    first: int
    place: int
    record: bytes
    is_deleted: bool


def deleted(volume: FatVolume) -> Iterator[tuple[str, Node]]:
    """(path, node) of each deleted file and folder whose record has not been used again."""
    free = FreeSpace(
        volume.device,
        "fat",
        "cluster",
        volume.bpb.cluster_size,
        first_used=volume.fat.first_used,
        base=volume.offset(0),
    )
    first = volume.bpb.root_cluster if volume.bpb.bits == 32 else 0
    top = _below("", None, _Folder(first, 0, b"", is_deleted=False))
    return walk(top, partial(_look, volume, free))


def _below(name: str, node: Node | None, folder: _Folder) -> Found:
    return Found(name, node, folder, (folder.first, folder.is_deleted))


def _look(volume: FatVolume, free: FreeSpace, folder: _Folder) -> Iterator[Found]:
    """What is in a folder: of a deleted one everything is deleted."""
    bits = volume.bpb.bits
    if folder.is_deleted:
        data, pieces = _content(volume, free, folder), [(volume.offset(folder.first), MAX_FOLDER)]
    else:
        data, pieces, _ = volume.content(FatDirectory(volume, folder.place, folder.record))
    place = _places(pieces)
    for at, name, record in records.scan(data, volume.encoding):
        if folder.is_deleted:
            yield _found(volume, free, place(at), Remnant(at, name, record, ""))
        elif record[11] & records.DIRECTORY:
            first = records.first_cluster(record, bits)
            yield _below(name, None, _Folder(first, place(at), record, is_deleted=False))
    for remnant in remnants(data, volume.encoding):
        yield _found(volume, free, place(remnant.at), remnant)


def _places(pieces: list[tuple[int, int]]) -> Callable[[int], int]:
    """Where byte n of a folder is in the volume: it lies in ``pieces``, (offset, size) of each."""
    starts = list(accumulate((size for _, size in pieces), initial=0))

    def place(at: int) -> int:
        index = bisect_right(starts, at) - 1
        return pieces[index][0] + at - starts[index]

    return place


def _found(volume: FatVolume, free: FreeSpace, place: int, remnant: Remnant) -> Found:
    record, guesses = remnant.record, [remnant.guess] if remnant.guess else []
    first, size = records.first_cluster(record, volume.bpb.bits), records.file_size(record)
    if (first or size) and first >> 16 == 0 and volume.fat.end > 1 << 16:
        guesses.append(HALF)
    if record[11] & records.DIRECTORY:
        node = DeletedFolder(place, records.stat_of(record), "; ".join(guesses))
        return _below(remnant.name, node, _Folder(first, place, record, is_deleted=True))
    if size > volume.bpb.cluster_size:
        guesses.append(STRAIGHT)
    return Found(remnant.name, FatDeleted(volume, place, record, free, "; ".join(guesses)))


def _content(volume: FatVolume, free: FreeSpace, folder: _Folder) -> bytes:
    """The records of a deleted folder, as far as clusters look like it. Raises ``ImageError``."""
    size, offset = volume.bpb.cluster_size, volume.offset(folder.first)
    data = free.read_exactly(offset, size, "fat") if folder.first >= 2 else b""
    own = data[: records.RECORD]
    if own[:11] != b".          " or records.first_cluster(own, volume.bpb.bits) != folder.first:
        return b""  # it has been used again, and is free again
    parts = [data]
    while len(parts) * size < MAX_FOLDER and 0 not in parts[-1][:: records.RECORD]:
        try:
            data = free.read_exactly(offset + len(parts) * size, size, "fat")
        except ImageError:
            break
        if not is_plausible(data):
            break
        parts.append(data)
    return b"".join(parts)


class FatDeleted(FatFile):
    """A deleted file: what is in a cluster that is in use cannot be read."""

    __slots__ = ("_free", "guess")
    guess: str

    def __init__(self, volume: FatVolume, place: int, record: bytes, free: FreeSpace, guess: str) -> None:
        super().__init__(volume, place, record)
        self._free = free
        self.guess = guess

    def open(self) -> BlockDevice:
        volume, size = self._volume, records.file_size(self.record)
        if size == 0:
            return MemoryDevice(b"")
        cluster = volume.bpb.cluster_size
        chain = volume.fat.straight(records.first_cluster(self.record, volume.bpb.bits), -(-size // cluster))
        return ClusterDevice(self._free, "fat", chain, size, cluster_size=cluster, base=volume.offset(0))
