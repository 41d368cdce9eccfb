"""The files of a Wii U partition: ``code/``, ``content/``, ``meta/`` of a title, or a system's folders."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, FilesystemFormat
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, KeyRequiredError
from imgmount.families.nintendo.wiiu import ContentKey, KeyedPart, PartHeader, read_fst
from imgmount.filesystems.wiiufst.volume import Source, WiiuVolume


class PartSource(Source):
    """The clusters of a partition: places in it."""

    def __init__(self, part: BlockDevice) -> None:
        if not isinstance(part, KeyedPart):
            raise KeyRequiredError("wiiufst: the key of a single partition is not known: open the whole disc")
        self._part: BlockDevice = part
        self._key = part.content_key()
        self._header = PartHeader.read(self._part, "wiiufst")
        self.tmd = part.tmd
        self.fst = read_fst(self._part, self._header.fst, self._header.fst_size, self._key, "wiiufst")
        # 0 is the table of files itself
        self._places = [cluster.offset or self._header.fst for cluster in self.fst.clusters]
        self._starts = sorted(set(self._places))

    def stored(self, index: int) -> tuple[BlockDevice, ContentKey | None]:
        """A cluster reaches to the next; the size in the table leaves out hashes (NUSPacker, ``Content``)."""
        start = self._places[index]
        if start >= self._part.size:
            raise FormatError(
                "wiiufst", f"cluster {index} is said to lie past the end of the partition", offset=start
            )
        following = bisect_right(self._starts, start)
        end = self._starts[following] if following < len(self._starts) else self._part.size
        return Slice(self._part, start, min(end, self._part.size) - start), self._key

    def h3(self, index: int) -> bytes:
        return self._header.h3(index)


def open_volume(part: BlockDevice, context: Context) -> WiiuVolume:
    """The volume in ``part``."""
    return WiiuVolume(PartSource(part), context)


FORMAT: Final = FilesystemFormat(
    name="wiiufst",
    title="Wii U partition",
    checks="SHA-1 trees, SHA-1 of metadata",
    open=open_volume,
    needs="crypto",
)
