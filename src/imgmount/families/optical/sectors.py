"""Sectors of a compact disc as images store them, and views of them: user data, XA payload, playable audio.

A sector is 2352 bytes on the disc: all sound, or 12 bytes of sync, a header whose last byte is the mode, and
data (ECMA-130, 14-16). Images store it whole, or only its user data, or without sync and header, with or
without 96 bytes of subchannel.
"""

from __future__ import annotations

import struct
from array import array
from enum import Enum
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.slices import Concat, MemoryDevice, Slice, Strided

SYNC: Final = b"\x00" + b"\xff" * 10 + b"\x00"
RAW: Final = 2352  # a whole sector
USER_DATA: Final = 2048  # of mode 1, and of mode 2 form 1
NO_SYNC: Final = 2340  # a whole sector without its sync pattern
XA_SECTOR: Final = 2336  # mode 2 without sync and header: subheader, data, error codes
FORM2: Final = 2324  # user data of mode 2 form 2
SUBCHANNEL: Final = 96
DESCRIPTOR_SECTOR: Final = 16  # of a filesystem on a disc, from the start of its session
_MODE: Final = 3  # offset of the mode byte in a header

# Bytes stored per sector -> where user data starts. 2324 and 2328 hold only form 2, which is no block of a
# filesystem.
_DATA_OFFSETS: Final = {USER_DATA: 0, 2056: 8, 2332: 8, XA_SECTOR: 8}
_HEADERS: Final = {RAW: 12, NO_SYNC: 0}  # where the header of four bytes is: address and mode
SECTOR_SIZES: Final = (*_DATA_OFFSETS, FORM2, 2328, NO_SYNC, RAW)

_WAV: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")  # RIFF, fmt and data chunk heads of a PCM file


class Mode(Enum):
    """What a track holds."""

    AUDIO = "AUDIO"
    MODE1 = "MODE1"
    MODE2 = "MODE2"


class Layout(NamedTuple):
    """How an image stores the sectors of a track.

    ``main`` bytes of each, then ``extra`` bytes of subchannel.
    """

    mode: Mode
    main: int
    extra: int = 0
    big_endian: bool = False  # sound

    @property
    def stride(self) -> int:
        return self.main + self.extra

    def __str__(self) -> str:
        return self.mode.value if self.mode is Mode.AUDIO else f"{self.mode.value}/{self.main}"

    @property
    def header_at(self) -> int | None:
        """Where in a stored sector of data its header is; None where it is not stored."""
        return None if self.mode is Mode.AUDIO else _HEADERS.get(self.main)

    def offset_of(self, unit: int) -> int | None:
        """Where in a stored sector the view of ``unit`` bytes starts; None where it is not stored."""
        if self.mode is Mode.AUDIO:
            return None
        if unit == RAW:
            return 0 if self.main == RAW else None
        if unit == XA_SECTOR:
            return (
                self.main - XA_SECTOR
                if self.mode is Mode.MODE2 and self.main in (XA_SECTOR, *_HEADERS)
                else None
            )
        if unit == FORM2 and self.main in (FORM2, 2328):
            return 0
        if self.main in _HEADERS:
            start = _HEADERS[self.main] + (4 if self.mode is Mode.MODE1 else 12)
        else:
            start = _DATA_OFFSETS.get(self.main, self.main)
        return start if start + unit <= self.main else None

    def view(self, stored: BlockDevice, unit: int) -> BlockDevice | None:
        """``unit`` bytes of every sector of ``stored``.

        They are 2048 of user data, 2324 of form 2, or 2336 or 2352 as on the disc.
        """
        start = self.offset_of(unit)
        if start is None:
            return None
        if unit == self.stride:
            return Slice(stored, 0, stored.size // unit * unit)
        return Strided(stored, self.stride, start, unit)

    def sniffed(self, stored: BlockDevice) -> Layout:
        """The layout with the mode that a whole sector states itself.

        Descriptions are often wrong about it.
        """
        header = self.header_at
        if header is None:
            return self
        for sector in (DESCRIPTOR_SECTOR, 0):
            head = _read(stored, sector * self.stride, header + _MODE + 1)
            if head[:header] == SYNC[:header] and head[header + _MODE :] in (b"\1", b"\2"):
                return self._replace(mode=Mode.MODE1 if head[-1] == 1 else Mode.MODE2)
        return self


def _read(device: BlockDevice, offset: int, size: int) -> bytes:
    return device.pread(offset, size) if offset + size <= device.size else b""


class Swapped(BlockDevice):
    """16-bit samples with their bytes exchanged."""

    def __init__(self, device: BlockDevice) -> None:
        self.device = device
        self.size = device.size & ~1
        self.block_size = device.block_size

    def _pread(self, offset: int, size: int) -> bytes:
        start, end = offset & ~1, (offset + size + 1) & ~1
        samples = array("H", self.device.read_exactly(start, end - start, "audio"))
        samples.byteswap()
        return samples.tobytes()[offset - start : offset - start + size]


def pcm(stored: BlockDevice, layout: Layout) -> BlockDevice:
    """Little-endian 16-bit stereo samples."""
    samples = (
        Strided(stored, layout.stride, 0, layout.main) if layout.extra else Slice(stored, 0, stored.size & ~3)
    )
    return Swapped(samples) if layout.big_endian else samples


def wav(samples: BlockDevice) -> BlockDevice:
    """A playable file: a header made on the fly and ``samples`` at 44,100 Hz."""
    size = min(samples.size, 0xFFFF_FFFF - _WAV.size)
    header = _WAV.pack(
        b"RIFF", size + _WAV.size - 8, b"WAVE", b"fmt ", 16, 1, 2, 44100, 4 * 44100, 4, 16, b"data", size
    )
    return Concat.of([MemoryDevice(header), Slice(samples, 0, size)])
