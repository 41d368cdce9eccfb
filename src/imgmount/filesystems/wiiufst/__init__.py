"""The contents of a Wii U partition: ``code/``, ``content/``, ``meta/`` of a title, and the folders of the system partitions."""

from __future__ import annotations

from typing import Final

from imgmount.codecs.wiiu import UNIT, KeyedPart, read_fst
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Format, Kind
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, KeyRequiredError
from imgmount.filesystems.wiiufst.volume import Source, WiiuVolume

HEADER: Final = 0x40
FST_SIZE: Final = 0x14
FST_PLACE: Final = 0x18


class PartSource(Source):
    """The clusters of a partition: places in it."""

    def __init__(self, part: BlockDevice) -> None:
        self._part = part
        self.key = _key(part)
        header = part.read_exactly(0, HEADER, "wiiufst")
        size, unit = (int.from_bytes(header[at : at + 4], "big") for at in (FST_SIZE, FST_PLACE))
        self.fst = read_fst(part, unit * UNIT, size, self.key, "wiiufst")

    def stored(self, index: int) -> tuple[BlockDevice, bytes | None]:
        place, size, _ = self.fst.clusters[index]
        start = place * UNIT
        if start >= self._part.size:
            raise FormatError("wiiufst", f"cluster {index} lies past the end", offset=start)
        return Slice(self._part, start, min(size * UNIT, self._part.size - start)), self.key


def _key(part: BlockDevice) -> bytes | None:
    if not isinstance(part, KeyedPart):
        raise KeyRequiredError("wiiufst: the key of a single partition is not known: open the whole disc")
    return part.content_key()


def open_volume(part: BlockDevice, context: Context) -> WiiuVolume:
    """The volume in ``part``."""
    return WiiuVolume(PartSource(part), context)


FORMAT: Final = Format(name="wiiufst", title="Wii U partition", kind=Kind.FILESYSTEM, open=open_volume, extra="crypto")
