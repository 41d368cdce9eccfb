"""Extended ADF images of UAE: floppies whose tracks are AmigaDOS sectors or raw MFM.

Raw tracks are decoded where they hold AmigaDOS sectors; what a copy protection put there instead is refused
track by track. Layout, big endian: magic, a word, the number of tracks; for each a word, its type, the bytes
it takes and the bits it has; then their bytes. Source: the documentation of WinUAE, "Extended ADF".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Final, NamedTuple

from imgmount.codecs.mfm import SECTOR, sectors
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import within
from imgmount.errors import FormatError, ImageError, UnsupportedError

_HEADER: Final = Struct(">8sHH")
_TRACK: Final = Struct(">HHII")  # reserved, type, bytes, bits
AMIGADOS: Final = 0  # types
RAW: Final = 1
TYPE: Final = 0xFF  # the upper byte is the number of revolutions, less one
TRACKS: Final = 160
MAX_TRACKS: Final = 2 * 84
DD: Final = 11  # sectors of a track
HD: Final = 22
LARGEST_DD: Final = 20_000  # bytes of MFM: a track of a DD disk has about 12,668
LARGEST_TRACK: Final = 1 << 20  # bytes of MFM of all revolutions: one of an HD disk is 25,336


class Track(NamedTuple):
    """A track: its type, where its bytes are, and how many bits of them count."""

    kind: int
    offset: int
    size: int
    bits: int


class UaeAdfDevice(ChunkedDevice):
    """The sectors of a floppy."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        _, _, count = _HEADER.unpack(file.read_exactly(0, _HEADER.size, "uae_adf"))
        within("uae_adf", "number of tracks", count, 1, MAX_TRACKS, offset=10)
        raw = file.read_exactly(_HEADER.size, count * _TRACK.size, "uae_adf")
        offset = _HEADER.size + len(raw)
        self._file = file
        self._tracks: list[Track] = []
        turns: list[int] = []  # bytes of a revolution
        for _, kind, size, bits in _TRACK.iter_unpack(raw):
            name = f"of track {len(self._tracks)}"
            within("uae_adf", f"size {name}", size, 0, LARGEST_TRACK, offset=_HEADER.size)
            within("uae_adf", f"number of bits {name}", bits, 0, 8 * size, offset=_HEADER.size)
            self._tracks.append(Track(kind & TYPE, offset, size, bits))
            turns.append(size // ((kind >> 8) + 1))
            offset += size
        limits = [HD * SECTOR if track.kind == AMIGADOS else LARGEST_DD for track in self._tracks]
        high = any(turn >= limit for turn, limit in zip(turns, limits, strict=True))
        self._sectors = HD if high else DD
        super().__init__(max(TRACKS, count) * self._sectors * SECTOR, self._sectors * SECTOR, context.cache)

    def _read_chunk(self, index: int) -> bytes:
        if index >= len(self._tracks):
            return bytes(self.block_size)
        track = self._tracks[index]
        if track.kind not in (AMIGADOS, RAW):
            raise UnsupportedError(f"uae_adf: track {index} of type {track.kind} (0 and 1 are read)")
        if track.size == 0:
            return bytes(self.block_size)  # not formatted
        if track.kind == AMIGADOS:
            size = min(track.size, self.block_size)
            return self._file.read_exactly(track.offset, size, "uae_adf").ljust(self.block_size, b"\0")
        found = sectors(self._file.read_exactly(track.offset, track.size, "uae_adf"), track.bits, index)
        if not found:
            raise UnsupportedError(f"uae_adf: track {index} is raw MFM without AmigaDOS sectors")
        missing = [number for number in range(self._sectors) if number not in found]
        if missing:
            raise FormatError(
                "uae_adf",
                f"sectors {missing} of raw track {index} are damaged or absent",
                offset=track.offset,
            )
        return b"".join(found[number] for number in range(self._sectors))

    def info(self) -> Mapping[str, str]:
        raw = sum(track.kind == RAW for track in self._tracks)
        return {"tracks": f"{len(self._tracks)} of {self._sectors} sectors, {raw} raw MFM"}

    def verify(self) -> Iterator[str]:
        """Decode every track; each that cannot be is one line."""
        for index in range(len(self._tracks)):
            try:
                self._read_chunk(index)
            except ImageError as exc:
                yield str(exc)


FORMAT: Final = ContainerFormat(
    name="uae_adf",
    title="Amiga floppy, extended ADF (UAE-1ADF)",
    extensions=(".adf",),
    checks="the sums of AmigaDOS sectors",
    open=UaeAdfDevice,
    limits="raw tracks with other than AmigaDOS sectors fail when they are read",
)
