"""Android sparse images: data, repeated words, and nothing.

"Don't care" reads as zeros, as simg2img writes it.

An image too large for a flash loader is cut into parts (``super.img_sparsechunk.0``...). Each is a sparse
image of the whole size that marks what is in the others as "don't care". Any part opens the set.
Source: AOSP, ``system/core/libsparse/sparse_format.h``, and ``sparse.cpp``, "sparse_file_resparse".
"""

from __future__ import annotations

import logging
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from imgmount.codecs.crc32 import Crc32
from imgmount.containers.vdisk.simg.part import FILL, FILL_SIZE, Part
from imgmount.containers.vdisk.simg.split import find_parts
from imgmount.core.checks import Finding, Seal, told_of
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.slices import Slice
from imgmount.errors import ImageError

log = logging.getLogger(__name__)

MAX_FILLS: Final = 4096  # in one extent


class SimgDevice(MappedDevice):
    """The image that ``parts`` stand for; what is in ``missing`` (start, size, device) cannot be read."""

    def __init__(self, parts: Sequence[Part], missing: Sequence[tuple[int, int, BlockDevice]] = ()) -> None:
        self.block_size = parts[0].block_size
        self.size = parts[0].size
        self._parts = parts
        self._files = [part.file for part in parts] + [device for _, _, device in missing]
        parts = [*parts, *(Part.of_data(start, size) for start, size, _ in missing)]
        self._starts, self._lengths, self._places, self._kinds = parts[0].columns()
        self._owners = array("H", bytes(2 * len(self._starts)))
        if len(parts) > 1:
            self._sort(parts)
        self._words = _Words(self)

    def _sort(self, parts: Sequence[Part]) -> None:
        """The runs of all parts in the order of the image."""
        order = [(number, run) for number, part in enumerate(parts) for run in range(len(part.starts))]
        order.sort(key=lambda place: parts[place[0]].starts[place[1]])
        self._starts = array("Q", [parts[number].starts[run] for number, run in order])
        self._lengths = array("Q", [parts[number].lengths[run] for number, run in order])
        self._places = array("Q", [parts[number].places[run] for number, run in order])
        self._kinds = array("H", [parts[number].kinds[run] for number, run in order])
        self._owners = array("H", [number for number, _ in order])

    def _map(self, offset: int) -> Extent:
        index = bisect_right(self._starts, offset) - 1
        if index >= 0 and (skip := offset - self._starts[index]) < self._lengths[index]:
            if self._kinds[index] == FILL:
                return Extent(self._end_of_fills(index) - offset, self._words, offset)
            file = self._files[self._owners[index]]
            return Extent(self._lengths[index] - skip, file, self._places[index] + skip)
        end = self._starts[index + 1] if index + 1 < len(self._starts) else self.size
        return Extent(end - offset)

    def _end_of_fills(self, first: int) -> int:
        """Where the repeated words end that follow each other from run ``first`` on, or many of them do."""
        end = self._starts[first]
        for index in range(first, min(first + MAX_FILLS, len(self._starts))):
            if self._kinds[index] != FILL or self._starts[index] != end:
                break
            end += self._lengths[index]
        return end

    def words(self, offset: int, size: int) -> bytes:
        """``size`` bytes at ``offset``, where there are only repeated words."""
        index = bisect_right(self._starts, offset) - 1
        end, pieces = offset + size, []
        while offset < end:
            stop = min(end, self._starts[index] + self._lengths[index])
            skip = offset % FILL_SIZE
            word = self._places[index].to_bytes(FILL_SIZE, "little")
            pieces.append((word * ((stop - offset) // FILL_SIZE + 2))[skip : skip + stop - offset])
            offset, index = stop, index + 1
        return b"".join(pieces)

    def info(self) -> Mapping[str, str]:
        blocks = f"{self.size // self.block_size} of {self.block_size} bytes"
        empty = sum(part.empty for part in self._parts)
        return {"blocks": blocks, "runs": f"{len(self._starts) + empty}, {empty} of them empty"}

    def verify(self) -> Iterator[Finding]:
        """The checksums of the unpacked image."""
        yield from _seals(self, self._parts[0].checksums)


class SplitDevice(SimgDevice):
    """The image in a set of parts, called ``names``."""

    def __init__(
        self, parts: Sequence[Part], missing: Sequence[tuple[int, int, BlockDevice]], names: Sequence[str]
    ) -> None:
        super().__init__(parts, missing)
        self._missing = missing
        self._names = names

    def info(self) -> Mapping[str, str]:
        facts = {**super().info(), "parts": ", ".join(self._names)}
        if self._missing:
            lost = ", ".join(f"{start:#x} to {start + size:#x}" for start, size, _ in self._missing)
            facts["warning"] = f"parts are missing: {lost} cannot be read"
        return facts

    def verify(self) -> Iterator[Finding]:
        """Compare the checksums of each part, which are of the image with zeros for the other parts."""
        for start, size, device in self._missing:
            try:
                device.pread(0, 1)
            except ImageError as exc:
                yield f"{start:#x} to {start + size:#x}: {exc}"
        for number, part in enumerate(self._parts, 1):
            yield from told_of(f"part {number}", _seals(SimgDevice([part]), part.checksums))


def _seals(device: BlockDevice, checksums: Sequence[tuple[int, int]]) -> Iterator[Seal]:
    """Each is of all bytes up to its place: as the one before it says, and of those behind that."""
    start = before = 0
    for end, stored in checksums:
        part = Slice(device, start, end - start)
        name = f"CRC-32 of bytes {start:#x} to {end:#x}"
        yield Seal(name, stored.to_bytes(4, "big"), part, partial(Crc32, before))
        start, before = end, stored


class _Words(BlockDevice):
    """The repeated words, at their places in the image."""

    def __init__(self, image: SimgDevice) -> None:
        self.size = image.size
        self._image = image

    def _pread(self, offset: int, size: int) -> bytes:
        return self._image.words(offset, size)


def open_simg(file: BlockDevice, context: Context) -> SimgDevice:
    """The image that ``file`` is, or is a part of. Raises ``ImageError``."""
    parts, missing, names = find_parts(file, context)
    for start, size, _ in missing:
        log.warning("simg: parts are missing: %#x to %#x cannot be read", start, start + size)
    return SplitDevice(parts, missing, names) if len(parts) > 1 or missing else SimgDevice(parts)


FORMAT: Final = ContainerFormat(
    name="simg",
    title="Android sparse image",
    extensions=(".simg", ".img"),
    checks="CRC-32 of the disk, where it has one",
    open=open_simg,
    guest=True,
)
