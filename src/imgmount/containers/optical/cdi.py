"""DiscJuggler images, versions 2, 3 and 3.5 and later.

Tracks, each with its pregap, lie one after the other from the start of the file; the last eight bytes say
where the description of sessions and tracks is. It was never published: the layout is known from the files
themselves, and so are the parts skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.header import one_of, within
from imgmount.core.slices import Slice
from imgmount.errors import FormatError
from imgmount.families.optical.disc import MAX_TRACKS, Disc, Track
from imgmount.families.optical.sectors import RAW, SUBCHANNEL, USER_DATA, XA_SECTOR, Layout, Mode

V2: Final = 0x8000_0004
V3: Final = 0x8000_0005
V35: Final = 0x8000_0006  # the description's place is counted from the end
MAX_DESCRIPTION: Final = 1 << 20  # 99 tracks with file names and CD-TEXT are a tenth of that
TRACK_MARK: Final = bytes.fromhex("000001000000ffffffff") * 2

_TAIL: Final = struct.Struct("<II")  # version, place of the description
_EXTENT: Final = struct.Struct("<2xII6xI12xII16xI")  # pregap, length, mode, LBA, sectors stored, sector size
_MODES: Final = (Mode.AUDIO, Mode.MODE1, Mode.MODE2)
_SIZES: Final = ((USER_DATA, 0), (XA_SECTOR, 0), (RAW, 0), (RAW, 16), (RAW, SUBCHANNEL))


class _Entry(NamedTuple):
    """A track's description. All in sectors; ``total`` includes the pregap, which is stored."""

    session: int
    layout: Layout
    lba: int
    pregap: int
    total: int


class _Reader:
    """Walks the description."""

    def __init__(self, file: BlockDevice, start: int, version: int) -> None:
        self._start = start
        self._data = file.read_exactly(start, min(file.size - start, MAX_DESCRIPTION), "cdi")
        self._version = version
        self._at = 0

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise FormatError("cdi", "the description ends too early", offset=self._start + len(self._data))
        data = self._data[self._at : end]
        self._at = end
        return data

    def _count(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def entries(self) -> Iterator[_Entry]:
        """All tracks, in the order of their bytes in the file.

        Raises ``FormatError`` where one makes no sense.
        """
        room = MAX_TRACKS
        for session in range(1, self._count(2) + 1):
            at = self._start + self._at
            count = within(
                "cdi", f"number of tracks in session {session}", self._count(2), 0, room, offset=at
            )
            room -= count
            for _ in range(count):
                yield self._track(session)
            self._take(12 if self._version == V2 else 13)

    def _track(self, session: int) -> _Entry:
        if self._count(4):
            self._take(8)  # DiscJuggler 3.00.780 and later
        if self._take(len(TRACK_MARK)) != TRACK_MARK:
            raise FormatError(
                "cdi",
                "no track begins where the one before it ends",
                offset=self._start + self._at - len(TRACK_MARK),
            )
        self._take(4)
        self._take(self._count(1))  # the name of the file that was made
        self._take(19)
        if self._count(4) == 0x8000_0000:
            self._take(8)  # DiscJuggler 4
        at = self._start + self._at
        pregap, _, mode, lba, total, size = _EXTENT.unpack(self._take(_EXTENT.size))
        within("cdi", "mode", mode, 0, len(_MODES) - 1, offset=at)
        within("cdi", "code of the sector size", size, 0, len(_SIZES) - 1, offset=at)
        within("cdi", "pregap in sectors", pregap, 0, total, offset=at)
        self._take(29)
        if self._version != V2:
            self._take(5)
            if self._count(4) == 0xFFFF_FFFF:
                self._take(78)  # DiscJuggler 3.00.780 and later
        return _Entry(session, Layout(_MODES[mode], *_SIZES[size]), lba, pregap, total)


def _description(file: BlockDevice) -> tuple[int, int]:
    """(version, place of the description). Raises ``FormatError``."""
    version, place = _TAIL.unpack(file.read_exactly(file.size - _TAIL.size, _TAIL.size, "cdi"))
    start = file.size - place if version == V35 else place
    at = file.size - _TAIL.size
    one_of("cdi", "version", version, (V2, V3, V35), offset=at)
    return version, within("cdi", "place of the description", start, 1, at - 1, offset=at)


def probe(file: BlockDevice) -> Match:
    """The version at the end, and a first track where it says; four bytes alone are no proof."""
    _, start = _description(file)
    head = file.pread(start, 16 + len(TRACK_MARK))
    return Match.CERTAIN if TRACK_MARK in head else Match.LIKELY


def open_cdi(file: BlockDevice, _: Context) -> Disc:
    """The disc inside a CDI file."""
    version, start = _description(file)
    tracks: list[Track] = []
    problems: list[str] = []
    offset = 0
    try:
        for number, entry in enumerate(_Reader(file, start, version).entries(), 1):
            tracks.append(_placed(file, number, entry, (offset, start)))
            offset += entry.total * entry.layout.stride
    except FormatError as exc:
        if not tracks:
            raise
        problems.append(f"track {len(tracks) + 1} and what follows: {exc.reason}")
    return Disc("cdi", tracks, {"version": {V2: "2", V3: "3", V35: "3.5"}[version]}, problems)


def _placed(file: BlockDevice, number: int, entry: _Entry, room: tuple[int, int]) -> Track:
    """The track whose bytes begin and must end in ``room``."""
    offset, limit = room
    size = entry.total * entry.layout.stride
    if offset + size > limit:
        text = f"track {number} ends at {offset + size:#x}, inside the description at {limit:#x}"
        fault = FormatError("cdi", text)
        sectors = entry.total - entry.pregap
        return Track.lost(number, entry.session, entry.lba, entry.layout, fault, sectors=sectors)
    return Track(number, entry.session, entry.lba, entry.layout, Slice(file, offset, size), entry.pregap)


FORMAT: Final = ContainerFormat(
    name="cdi", title="DiscJuggler disc image", extensions=(".cdi",), open=open_cdi, probe=probe
)
