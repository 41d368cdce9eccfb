"""Nero Burning ROM images, versions 1 and 2, disc at once and track at once.

The end of the file points at chunks: four letters and a big-endian length, up to END!. CUES/CUEX places
tracks on the disc, DAOI/DAOX or ETNF/ETN2 in the file, SINF counts the tracks of a session. Of tracks written
at once (ETNF, ETN2) the pregaps of 150 sectors are not stored, nor counted by the address in their entries.
No specification was ever published: the layout is known from the files themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.optical.disc import MAX_LBA, MAX_TRACKS, PREGAP, Disc, Track, session_gap
from imgmount.families.optical.sectors import RAW, SUBCHANNEL, USER_DATA, XA_SECTOR, Layout, Mode

MAX_CHUNKS: Final = 4096
MAX_CHUNK: Final = 1 << 20  # CD-TEXT and file names; tracks take 5 KB
LEAD_OUT: Final = 0xAA

_HEAD: Final = struct.Struct(">4sI")
_DAO_HEAD: Final = 22  # length, catalogue number, type, first and last track
_DAOI: Final = struct.Struct(">12xHB3x3I")  # ISRC, sector size, mode, start of INDEX 00 and of INDEX 01, end
_DAOX: Final = struct.Struct(">12xHB3x3Q")
_ETNF: Final = struct.Struct(">4I4x")  # start, length, mode, LBA
_ETN2: Final = struct.Struct(">QQII8x")
_CUE: Final = struct.Struct(">xBBxI")  # control, track as BCD, index, place
_LAYOUTS: Final = {
    0x00: Layout(Mode.MODE1, USER_DATA),
    0x02: Layout(Mode.MODE2, USER_DATA),
    0x03: Layout(Mode.MODE2, XA_SECTOR),
    0x05: Layout(Mode.MODE1, RAW),
    0x06: Layout(Mode.MODE2, RAW),
    0x07: Layout(Mode.AUDIO, RAW),
    0x0F: Layout(Mode.MODE1, RAW, SUBCHANNEL),
    0x10: Layout(Mode.AUDIO, RAW, SUBCHANNEL),
    0x11: Layout(Mode.MODE2, RAW, SUBCHANNEL),
}


class _Stored(NamedTuple):
    """A track in the file: bytes, half-open; INDEX 01 is at ``start``.

    ``silent`` are sectors of a pregap before it that are not stored. ``lba`` is what its own entry says, 0
    for nothing. ``fault`` is what makes no sense in it.
    """

    layout: Layout
    pregap: int
    start: int
    end: int
    silent: int = 0
    lba: int = 0
    fault: ImageError | None = None


class _Contents:
    """What the chunks say, up to the first that makes no sense."""

    def __init__(self, file: BlockDevice) -> None:
        self.tracks: list[_Stored] = []
        self.problems: list[str] = []
        self.places: dict[int, int] = {}  # track -> LBA of INDEX 01
        self.sets: list[int] = []  # tracks of each DAO or ETN chunk
        self.sessions: list[int] = []  # tracks of each session
        try:
            self._read(file)
        except FormatError as exc:
            if not self.tracks:
                raise
            self.problems.append(exc.reason)

    def _read(self, file: BlockDevice) -> None:
        for kind, data, offset in _chunks(file):
            if kind in (b"CUES", b"CUEX"):
                self._places(data, bcd=kind == b"CUES")
            elif kind in (b"DAOI", b"DAOX"):
                self._dao(data, _DAOX if kind == b"DAOX" else _DAOI, offset)
            elif kind in (b"ETNF", b"ETN2"):
                self._tao(data, _ETN2 if kind == b"ETN2" else _ETNF)
            elif kind == b"SINF" and len(data) >= 4:
                self.sessions.append(int.from_bytes(data[:4], "big"))

    def _places(self, data: bytes, *, bcd: bool) -> None:
        for track, index, place in _CUE.iter_unpack(data[: len(data) // _CUE.size * _CUE.size]):
            if index == 1 and track != LEAD_OUT:
                lba = _from_msf(place) if bcd else place - (place >> 31 << 32)
                self.places[_from_bcd(track)] = lba

    def _dao(self, data: bytes, entry: struct.Struct, offset: int) -> None:
        count = (len(data) - _DAO_HEAD) // entry.size
        for number in range(count):
            at = _DAO_HEAD + number * entry.size
            size, mode, pregap, start, end = entry.unpack_from(data, at)
            fault: ImageError | None = None
            track = len(self.tracks) + 1
            layout = self._layout(track, mode, size)
            if layout is None:
                known = ", ".join(map(hex, _LAYOUTS))
                fault = UnsupportedError(
                    f"nrg: track {track} has mode {mode:#x} and {size} bytes a sector; the modes are {known}"
                )
            if not 0 <= pregap <= start <= end:
                places = ", ".join(map(hex, (pregap, start, end)))
                text = f"track {track} has its pregap, start and end at {places}, which do not rise"
                fault = FormatError("nrg", text, offset=offset)
            self.tracks.append(_Stored(layout or Layout(Mode.MODE1, RAW), pregap, start, end, fault=fault))
        self.sets.append(max(0, count))

    def _layout(self, track: int, mode: int, size: int) -> Layout | None:
        """The layout of a mode, or else the one of that sector size; the disc compares it with the bytes."""
        layout = _LAYOUTS.get(mode)
        if layout is not None and layout.stride == size:
            return layout
        if layout is not None:
            self.problems.append(
                f"track {track} has mode {mode:#x}, of {layout.stride} bytes a sector, and says {size}"
            )
        return next((one for one in _LAYOUTS.values() if one.stride == size), layout)

    def _tao(self, data: bytes, entry: struct.Struct) -> None:
        count = len(data) // entry.size
        for start, length, mode, lba in entry.iter_unpack(data[: count * entry.size]):
            layout = _LAYOUTS.get(mode, Layout(Mode.MODE1, RAW))
            self.tracks.append(_Stored(layout, start, start, start + length, PREGAP, lba))
        self.sets.append(count)


def _chunks(file: BlockDevice) -> Iterator[tuple[bytes, bytes, int]]:
    """(letters, data, offset). Big ones, none of which is about tracks, are passed over."""
    tail = file.read_exactly(file.size - 12, 12, "nrg")
    if tail.startswith(b"NER5"):
        offset = int.from_bytes(tail[4:], "big")
    elif tail[4:8] == b"NERO":
        offset = int.from_bytes(tail[8:], "big")
    else:
        raise FormatError(
            "nrg", "the file does not end with a footer, NER5 or NERO and an offset", offset=file.size - 12
        )
    for _ in range(MAX_CHUNKS):
        kind, length = _HEAD.unpack(file.read_exactly(offset, _HEAD.size, "nrg"))
        if kind == b"END!":
            return
        if length > file.size - offset - _HEAD.size:
            name, left = kind.decode("ascii", "replace"), file.size - offset - _HEAD.size
            raise FormatError(
                "nrg", f"chunk {name!r} has {length} bytes, more than the {left} left", offset=offset
            )
        if length <= MAX_CHUNK:
            yield kind, file.pread(offset + _HEAD.size, length), offset
        offset += _HEAD.size + length
    raise FormatError("nrg", f"more than {MAX_CHUNKS} chunks", offset=offset)


def _from_bcd(value: int) -> int:
    return (value >> 4) * 10 + (value & 15)


def _from_msf(place: int) -> int:
    minutes, seconds, rest = (_from_bcd(place >> shift & 255) for shift in (16, 8, 0))
    return (minutes * 60 + seconds) * 75 + rest - PREGAP


def open_nrg(file: BlockDevice, _: Context) -> Disc:
    """The disc inside an NRG file."""
    contents = _Contents(file)
    if len(contents.tracks) > MAX_TRACKS:
        raise FormatError("nrg", f"the disc has {len(contents.tracks)} tracks, not 1 to {MAX_TRACKS}")
    counts = contents.sessions if sum(contents.sessions) == len(contents.tracks) else contents.sets
    ends = list(accumulate(counts))
    found: list[Track] = []
    following = 0
    for number, stored in enumerate(contents.tracks, 1):
        session = 1 + sum(end < number for end in ends)
        following += _lead(stored, session, found)
        lba = contents.places.get(number, max(stored.lba, following))
        found.append(_track(file, number, session, lba, stored))
        following = lba + found[-1].sectors
    return Disc("nrg", found, problems=contents.problems)


def _lead(stored: _Stored, session: int, before: list[Track]) -> int:
    """Sectors between the end of the track before and INDEX 01 of this one."""
    pregap = stored.silent + max(0, stored.start - stored.pregap) // stored.layout.stride
    if not before:
        return max(0, pregap - PREGAP)
    if session == before[-1].session:
        return pregap
    return session_gap(session - 1) + max(PREGAP, pregap)


def _track(file: BlockDevice, number: int, session: int, lba: int, stored: _Stored) -> Track:
    layout, fault = stored.layout, stored.fault
    sectors = max(0, stored.end - stored.start) // layout.stride
    if fault is None and stored.end > file.size:
        text = f"track {number} ends at {stored.end:#x}, past the end of the file at {file.size:#x}"
        fault = FormatError("nrg", text)
    if stored.fault is not None or (stored.start >= file.size > 0 and sectors):
        assert fault is not None
        return Track.lost(number, session, lba, layout, fault, sectors=min(sectors, MAX_LBA))
    area = Slice(file, stored.pregap, min(stored.end, file.size) - stored.pregap)
    pregap = (stored.start - stored.pregap) // layout.stride
    return Track(number, session, lba, layout, area, pregap, fault=fault)


FORMAT: Final = ContainerFormat(name="nrg", title="Nero disc image", extensions=(".nrg",), open=open_nrg)
