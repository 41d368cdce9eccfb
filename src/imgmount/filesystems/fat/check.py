"""Checks a FAT volume: copies of the FAT, chains, sizes, clusters that two files share or none owns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.errors import ImageError
from imgmount.families.fat.chains import PAGE, Chain
from imgmount.filesystems.fat import records

if TYPE_CHECKING:
    from imgmount.filesystems.fat.volume import FatDirectory, FatVolume

_COMPARED: Final = 1 << 20  # bytes of two FATs at once


class _Bitmap:
    """One bit a cluster: 32 MiB for the largest volume there can be."""

    def __init__(self, size: int) -> None:
        self._bits = bytearray(-(-size // 8))

    def __contains__(self, index: int) -> bool:
        return bool(self._bits[index >> 3] >> (index & 7) & 1)

    def add(self, first: int, count: int) -> bool:
        """Set ``count`` bits from ``first``; whether one of them was set before."""
        start, shift = divmod(first, 8)
        length = -(-(shift + count) // 8)
        wanted = ((1 << count) - 1) << shift
        found = int.from_bytes(self._bits[start : start + length], "little")
        self._bits[start : start + length] = (found | wanted).to_bytes(length, "little")
        return bool(found & wanted)


def check(volume: FatVolume) -> Iterator[str]:
    """Each problem, in one line."""
    if volume.bpb.source and volume.bpb.bits == 32:
        yield f"the boot sector is damaged, {volume.bpb.source} is used"
    yield from _copies(volume)
    if volume.dirty:
        yield "the volume was not unmounted properly"
    used = _Bitmap(volume.fat.end)
    yield from _tree(volume, used)
    yield from _lost(volume, used)


def _copies(volume: FatVolume) -> Iterator[str]:
    bpb = volume.bpb
    if bpb.only_fat is not None:
        return
    length = -(-volume.fat.end * bpb.bits // 8)
    for copy in range(1, bpb.fats):
        for start in range(0, length, _COMPARED):
            size = min(_COMPARED, length - start)
            try:
                first = volume.device.read_exactly(bpb.fat_offset + start, size, "fat")
                other = volume.device.read_exactly(bpb.fat_offset + copy * bpb.fat_size + start, size, "fat")
            except ImageError as exc:
                yield str(exc)
                break
            if first != other:
                at = start + next(index for index in range(size) if first[index] != other[index])
                yield f"FAT 0 and FAT {copy} differ, first about cluster {at * 8 // bpb.bits}"
                break


def _tree(volume: FatVolume, used: _Bitmap) -> Iterator[str]:
    """Chains and directories, by a walk that needs no recursion: an image may nest as deep as it likes."""
    if volume.bpb.bits == 32:
        yield from _mark("/", volume.fat.chain(volume.bpb.root_cluster, volume.fat.end), used)
    pending: list[tuple[str, FatDirectory]] = [("", volume.root)]
    while pending:
        path, directory = pending.pop()
        listing = directory.listing()
        if listing.damage is not None:
            yield f"{path or '/'}: {listing.damage}"
        for name, node in listing.nodes.items():
            where = f"{path}/{name}"
            record: bytes = node.record  # type: ignore[attr-defined]  # every node of this volume has one
            yield from _record(volume, where, record, used)
            if records.attributes(record) & records.DIRECTORY:
                pending.append((where, node))  # type: ignore[arg-type]


def _record(volume: FatVolume, path: str, record: bytes, used: _Bitmap) -> Iterator[str]:
    first = records.first_cluster(record, volume.bpb.bits)
    size = records.file_size(record)
    if first == 0 and size == 0:
        return
    if 2 <= first < volume.fat.end and first in used:
        yield f"{path}: begins in cluster {first} of another file"
        return
    chain = volume.fat.chain(first, volume.fat.end)  # all of it, not only what the size needs
    yield from _mark(path, chain, used)
    if records.attributes(record) & records.DIRECTORY:
        return
    need = -(-size // volume.bpb.cluster_size)
    if chain.clusters != need and chain.damage is None:
        yield f"{path}: {size} bytes need {need} clusters, the chain has {chain.clusters}"


def _mark(path: str, chain: Chain, used: _Bitmap) -> Iterator[str]:
    if chain.damage is not None:
        yield f"{path}: {chain.damage}"
    if sum(used.add(first, count) for first, count in zip(chain.firsts, chain.counts, strict=True)):
        yield f"{path}: shares clusters with another file"


def _lost(volume: FatVolume, used: _Bitmap) -> Iterator[str]:
    fat = volume.fat
    lost, first = 0, 0
    for number in range(-(-fat.end // PAGE)):
        try:
            page = fat.read(number, fat.copy)
        except ImageError as exc:
            yield str(exc)
            return
        if not any(page):
            continue
        for cluster, entry in enumerate(page, number * PAGE):
            link = entry & fat.mask
            if link and link != fat.bad and cluster >= 2 and cluster not in used:
                first = first or cluster
                lost += 1
    if lost:
        yield f"{lost} clusters are in use by no file, the first is {first}"
