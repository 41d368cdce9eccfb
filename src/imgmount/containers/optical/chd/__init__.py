"""MAME's compressed hunks of data (CHD): hard disks, DVDs and compact discs.

Laserdiscs are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from imgmount.containers.optical.chd.device import Chd
from imgmount.containers.optical.chd.tracks import LITTLE_ENDIAN_TAG, describe, place
from imgmount.core.checks import Finding
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.slices import Slice
from imgmount.families.optical.disc import Disc, Track


class ChdDisk(Slice):
    """A hard disk, a DVD, or anything else that is its own logical stream."""

    def __init__(self, chd: Chd) -> None:
        super().__init__(chd.stream, 0, chd.stream.size)
        self._chd = chd

    def info(self) -> Mapping[str, str]:
        return self._chd.info()

    def verify(self) -> Iterator[Finding]:
        """Compare the digests."""
        return self._chd.verify()


class ChdDisc(Disc):
    """A compact disc. Its own bytes are those of ``chdman extractcd``; digests are of the frames below."""

    settles = False  # frames have one size, and a look at each track would decode a hunk of each

    def __init__(self, chd: Chd, tracks: Sequence[Track]) -> None:
        super().__init__("chd", tracks, chd.info())
        self._chd = chd

    def verify(self) -> Iterator[Finding]:
        """Compare the digests."""
        yield from super().verify()
        yield from self._chd.verify()


def open_chd(file: BlockDevice, context: Context) -> BlockDevice:
    """What ``file`` holds: a disc with tracks, or a disk. Raises ``ImageError``."""
    chd = Chd.open(file, context)
    described = describe(chd.metadata)
    if not described:
        return ChdDisk(chd)
    little_endian = any(entry.tag == LITTLE_ENDIAN_TAG for entry in chd.metadata)
    return ChdDisc(chd, place(chd.stream, described, little_endian=little_endian))


FORMAT: Final = ContainerFormat(
    name="chd",
    title="MAME compressed hunks of data",
    extensions=(".chd",),
    checks="CRC-16 of the map, CRC of each hunk, SHA-1 or MD5 of the disc",
    open=open_chd,
    limits="no laserdiscs (avhu); FLAC is slow without libFLAC",
)
