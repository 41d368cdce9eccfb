"""UDIF images in several files, as ``hdiutil segment`` cuts them: ``disk.dmg``, ``disk.002.dmgpart``...

Each has a ``koly`` block with the same identifier; offsets of runs go on from file to file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from imgmount.containers.apple.udif.trailer import Trailer
from imgmount.core.device import BlockDevice, Extent
from imgmount.core.format import Context
from imgmount.core.slices import Concat, Slice
from imgmount.errors import FormatError, ImgMountError, MissingPartError, UnsupportedError

MAX_SEGMENTS: Final = 1000
MAX_CANDIDATES: Final = 256  # files beside the image that are looked into
SUFFIXES: Final = (".dmgpart", ".dmg", ".smi", ".img")


class Segment(NamedTuple):
    """One file of the set."""

    file: BlockDevice
    trailer: Trailer


def collect(file: BlockDevice, trailer: Trailer, context: Context) -> list[Segment]:
    """The files of the set in order. Raises ``MissingPartError`` that names the one that is not there."""
    if trailer.segments > MAX_SEGMENTS:
        raise UnsupportedError(f"udif: {trailer.segments} segments, {MAX_SEGMENTS} at most are read")
    found = {trailer.segment: Segment(file, trailer)}
    for other in islice(_others(context), MAX_CANDIDATES):
        if len(found) == trailer.segments:
            break
        try:
            candidate = context.siblings.open(other)
            its = Trailer.read(candidate)
        except ImgMountError:
            continue
        if its.identifier == trailer.identifier and its.segments == trailer.segments:
            found.setdefault(its.segment, Segment(candidate, its))
    missing = [str(number) for number in range(1, trailer.segments + 1) if number not in found]
    if missing:
        which = f"segment {missing[0]} of {trailer.segments} is missing"
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        hint = "no *.dmgpart beside the image is it; --refs DIR adds a folder"
        raise MissingPartError(f"udif: {which}{more}: {hint}")
    return [found[number] for number in range(1, trailer.segments + 1)]


def _others(context: Context) -> Iterator[str]:
    """The files beside the image, those named like it first."""
    stem = context.path.name.split(".")[0].lower()
    names = [name for name in context.siblings.names() if name != context.path.name]
    alike = [name for name in names if name.lower().startswith(stem)]
    yield from alike
    yield from (name for name in names if name.lower().endswith(SUFFIXES) and name not in alike)


def joined(segments: Sequence[Segment]) -> BlockDevice:
    """The data of all segments, each where its block says."""
    runs: list[Extent] = []
    end = 0
    for file, trailer in segments:
        if trailer.running < end:
            number = trailer.segment
            raise FormatError(
                "udif", f"segment {number} begins at {trailer.running:#x}, inside the one before"
            )
        offset, size = trailer.base + trailer.data[0], trailer.data[1]
        runs += [Extent(trailer.running - end), Extent(size, Slice(file, offset, size))]
        end = trailer.running + size
    return Concat(runs)
