"""CD-ROM XA: files in sectors of mode 2 form 2, and audio tracks that stand in the directory.

Records of the former count 2048 bytes a sector, where 2324 are stored. Only a device that knows whole sectors
can give them. ``xa=form2``, the default, gives the 2324 bytes, and of files that mix both forms 2336 with the
subheader that tells them apart; ``xa=raw`` gives whole sectors behind the RIFF header that Windows makes up;
``xa=cooked`` the first 2048 bytes, as kernels do. A record may stand for an audio track: it has the track's
samples, 2352 bytes a sector. Source: System Description CD-ROM XA, Philips and Sony 1991, II.2.7.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.node import Stat
from imgmount.core.slices import Concat, MemoryDevice, Slice
from imgmount.families.optical.disc import audio_sectors, whole_sectors
from imgmount.families.optical.options import XA
from imgmount.families.optical.sectors import FORM2, RAW, XA_SECTOR
from imgmount.filesystems.iso9660.descriptors import SECTOR
from imgmount.filesystems.iso9660.nodes import IsoFile
from imgmount.filesystems.iso9660.records import HEADER_SIZE

IN_FORM2: Final = 0x1000  # attributes
INTERLEAVED: Final = 0x2000  # with sectors of form 1
AUDIO: Final = 0x4000  # the record stands for an audio track
_ATTRIBUTES: Final = struct.Struct(">4xH2s6x")  # owner, attributes, "XA", file number
_SIGNATURE: Final = b"XA"
# heads of the file, of its format chunk with the attributes, of its data
_RIFF: Final = struct.Struct("<4sI4s4sI14s2x4sI")


class Sectors(NamedTuple):
    """The disc in units of more than 2048 bytes, as far as it has them; ``choice`` is the user's."""

    form2: BlockDevice | None
    mixed: BlockDevice | None
    whole: BlockDevice | None
    audio: BlockDevice | None
    choice: str

    def hold(self, data: bytes, position: int, name_length: int) -> bool:
        """Whether the file of the directory record at ``position`` is read from these."""
        attributes, _ = _record(data, position, name_length)
        if attributes & AUDIO:
            return self.audio is not None
        return self.form2 is not None and bool(attributes & (IN_FORM2 | INTERLEAVED))


def open_sectors(device: BlockDevice, context: Context) -> Sectors | None:
    """What files in form 2, and audio tracks, are read from.

    None if the disc has neither, or the user wants none.
    """
    choice = XA.of(context.options.extra)
    if choice == "cooked":
        return None
    form2, mixed, whole = (whole_sectors(device, unit) for unit in (FORM2, XA_SECTOR, RAW))
    audio = audio_sectors(device)
    return Sectors(form2, mixed, whole, audio, choice) if form2 or audio else None


def _record(data: bytes, position: int, name_length: int) -> tuple[int, bytes]:
    """(attributes, the whole field) of the directory record at ``position``; zero if it has none."""
    at = position + HEADER_SIZE + (name_length | 1)
    field = data[at : min(at + _ATTRIBUTES.size, position + data[position])]
    if len(field) < _ATTRIBUTES.size:
        return 0, b""
    attributes, signature = _ATTRIBUTES.unpack(field)
    return (attributes, field) if signature == _SIGNATURE else (0, b"")


class XaFile(IsoFile):
    """A file with sectors in form 2, or an audio track.

    Its record stands at the node's place in the block.
    """

    __slots__ = ()

    def stat(self) -> Stat:
        return self._stat(self._content().size)

    def open(self) -> BlockDevice:
        self._check()
        return self._content()

    def _content(self) -> BlockDevice:
        sectors = self.tree.xa
        assert sectors is not None
        data, at = self.block.data, self.id - self.block.base
        attributes, field = _record(data, at, data[at + HEADER_SIZE - 1])
        if attributes & AUDIO and sectors.audio is not None:
            return self._span(sectors.audio, RAW)
        if sectors.choice == "raw" and sectors.whole is not None:
            content = self._span(sectors.whole, RAW)
            size = content.size
            riff = _RIFF.pack(b"RIFF", size + _RIFF.size - 8, b"CDXA", b"fmt ", 16, field, b"data", size)
            return Concat.of([MemoryDevice(riff), content])
        if sectors.mixed is not None and (sectors.choice == "raw" or attributes & INTERLEAVED):
            return self._span(sectors.mixed, XA_SECTOR)
        assert sectors.form2 is not None
        return self._span(sectors.form2, FORM2)

    def _span(self, sectors: BlockDevice, unit: int) -> Slice:
        return Slice(sectors, self.start * unit, -(-self.size // SECTOR) * unit)
