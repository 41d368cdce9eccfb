"""The volume descriptor sequences: which descriptors prevail (ECMA-167 3/8.4.2 and 3/8.4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.udf.anchors import Anchor
from imgmount.filesystems.udf.partitions import MapEntry, parse_maps
from imgmount.filesystems.udf.structs import (
    FMT,
    LOGICAL_VOLUME,
    LOGICAL_VOLUME_DESCRIPTOR,
    MAPS_AT,
    PARTITION,
    PARTITION_DESCRIPTOR,
    POINTER_DESCRIPTOR,
    TAG,
    TAG_SIZE,
    TERMINATING,
    VOLUME_POINTER,
    read_descriptor,
)

MAX_SEQUENCE: Final = 1024  # blocks of a volume descriptor sequence
MAX_POINTERS: Final = 16  # extents of a volume descriptor sequence
VOLUME_DESCRIPTORS: Final = tuple(range(1, 9))  # tag identifiers


class Descriptors:
    """The prevailing volume descriptors of an anchor.

    Of several of a kind, that is the one with the highest sequence number.

    The reserve sequence is read where the main one is damaged or lacks something. ``damage`` says what was
    wrong.
    """

    def __init__(self, image: BlockDevice, anchor: Anchor) -> None:
        self.damage: list[str] = []
        self._image = image
        self._block_size = anchor.block_size
        self._newest: tuple[int, bytes] | None = None  # sequence number and logical volume descriptor
        self._partitions: dict[int, tuple[int, int, int]] = {}
        self.headers: dict[int, bytes] = {}  # of partitions, by number: where their bitmaps are
        for extent in (anchor.main, anchor.reserve):
            self._collect(extent)
            if self._newest and not self.damage and self._complete(self._newest[1]):
                break
        if self._newest is None:
            raise FormatError(
                FMT,
                "neither descriptor sequence has a logical volume descriptor",
                offset=anchor.main[1] * anchor.block_size,
            )
        self.volume: Any = LOGICAL_VOLUME_DESCRIPTOR.parse(self._newest[1])
        self.maps: list[MapEntry] = _maps(self._newest[1])

    @property
    def partitions(self) -> dict[int, tuple[int, int]]:
        """Start and length in blocks by partition number."""
        return {number: (start, length) for number, (_, start, length) in self._partitions.items()}

    def _complete(self, volume: bytes) -> bool:
        """Whether every partition that ``volume`` needs has been seen. Raises ``ImageError``."""
        return all(entry.number in self._partitions for entry in _maps(volume))

    def _collect(self, extent: tuple[int, int]) -> None:
        for raw in read_sequence(self._image, self._block_size, extent, self.damage):
            ident = TAG.unpack_from(raw)[0]
            if ident == LOGICAL_VOLUME:
                sequence = LOGICAL_VOLUME_DESCRIPTOR.parse(raw).sequence
                if self._newest is None or sequence > self._newest[0]:
                    self._newest = sequence, raw
            elif ident == PARTITION:
                found = PARTITION_DESCRIPTOR.parse(raw)
                known = self._partitions.get(found.number)
                if known is None or found.sequence > known[0]:
                    self._partitions[found.number] = found.sequence, found.start, found.length
                    self.headers[found.number] = found.use


def _maps(volume: bytes) -> list[MapEntry]:
    """The partition maps of a logical volume descriptor. Raises ``ImageError``."""
    found = LOGICAL_VOLUME_DESCRIPTOR.parse(volume)
    return list(parse_maps(volume[MAPS_AT : MAPS_AT + found.maps_length], found.maps_count))


def read_sequence(
    image: BlockDevice, block_size: int, extent: tuple[int, int], damage: list[str]
) -> Iterator[bytes]:
    """The descriptors of a volume descriptor sequence (3/8.4.2).

    Those that are damaged are described in ``damage``.
    """
    for _ in range(MAX_POINTERS):
        length, first = extent
        blocks = min(length // block_size, MAX_SEQUENCE)
        at, extent = 0, (0, 0)
        while at < blocks:
            offset = (first + at) * block_size
            at += 1
            try:
                if not any(image.read_exactly(offset, TAG_SIZE, FMT)):
                    break  # not recorded
                raw = read_descriptor(image, block_size, first + at - 1, *VOLUME_DESCRIPTORS)
            except ImageError as exc:
                damage.append(str(exc))
                continue
            at += len(raw) // block_size - 1
            ident = TAG.unpack_from(raw)[0]
            if ident == TERMINATING:
                break
            if ident == VOLUME_POINTER:
                following = POINTER_DESCRIPTOR.parse(raw).next
                extent = following.length, following.location
                break
            yield raw
        if not extent[0]:
            return
