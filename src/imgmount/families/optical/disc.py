"""Discs: tracks in sessions, addressed by sector from the start of the disc.

What every disc container gives back.

A disc has one address space. LBA 0 is the first sector after the 150 of the first pregap (MSF 00:02:00), and
a filesystem of session 2 names sectors of both sessions by such addresses, while its descriptors lie 16
sectors after the start of *its* session. So a filesystem is opened on a ``Session``: a device that begins
where the session does. Those that store disc addresses ask ``address_space`` for the device to apply them to.
Nothing is remapped, and a sector that no data track holds is an error.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import Partition
from imgmount.core.slices import Concat, Slice, Strided
from imgmount.errors import FormatError, ImageError
from imgmount.families.optical.sectors import (
    DESCRIPTOR_SECTOR,
    RAW,
    SUBCHANNEL,
    USER_DATA,
    Layout,
    Mode,
    pcm,
    wav,
)

MAX_TRACKS: Final = 99
MAX_LBA: Final = 1 << 31  # ECMA-167 and ISO 9660 address 32 bits; no medium has half of that
PREGAP: Final = 150  # sectors before the first track of every session
LEAD_IN: Final = 4500
LEAD_OUT: Final = 6750  # of the first session
LATER_LEAD_OUT: Final = 2250

_ROOT_RECORD: Final = slice(
    158, 162
)  # LBA of the root directory, in a primary volume descriptor (ISO 9660, 8.4.18)
_OWN_RECORD: Final = slice(
    2, 6
)  # and in the first record of that directory, which stands for the directory itself
_OWN_NAME: Final = slice(32, 34)  # length and identifier there
MAX_ROOT_SEARCH: Final = 512  # sectors that path tables may take up before a root directory


def session_gap(number: int) -> int:
    """Sectors between the last track of session ``number`` and the pregap of the next."""
    return (LEAD_OUT if number == 1 else LATER_LEAD_OUT) + LEAD_IN


@dataclass(frozen=True, slots=True)
class Track:
    """One track.

    ``area`` holds its sectors as stored: ``pregap`` of them before ``lba`` (INDEX 01), then the track itself.

    A pregap that the image does not store is not there. ``subchannel`` is 96 bytes per sector of ``body``,
    where stored apart. ``original`` is (suffix, file) of a track that is stored as compressed sound.
    """

    number: int
    session: int
    lba: int
    layout: Layout
    area: BlockDevice
    pregap: int = 0
    subchannel: BlockDevice | None = None
    original: tuple[str, BlockDevice] | None = None

    @property
    def is_data(self) -> bool:
        return self.layout.mode is not Mode.AUDIO

    @property
    def body(self) -> BlockDevice:
        """The stored sectors from INDEX 01."""
        lead = min(self.pregap * self.layout.stride, self.area.size)
        return Slice(self.area, lead, self.area.size - lead) if lead else self.area

    @property
    def sectors(self) -> int:
        """Sectors from INDEX 01; sound that ends inside a sector fills it with silence."""
        size = self.body.size
        return size // self.layout.stride if self.is_data else -(-size // self.layout.stride)

    def files(self) -> tuple[tuple[str, BlockDevice], ...]:
        """(name, content): ``.iso`` is user data, ``.bin`` the sectors as stored, ``.wav`` sound, ``.sub`` the subchannel."""
        stem = f"track{self.number:02}"
        if self.original is not None:
            return ((f"{stem}.{self.original[0]}", self.original[1]),)
        found: list[tuple[str, BlockDevice]] = []
        if not self.is_data:
            found.append((f"{stem}.wav", wav(pcm(self.body, self.layout))))
        elif (cooked := self.layout.view(self.body, USER_DATA)) is not None:
            found.append((f"{stem}.iso", cooked))
        if self.is_data and self.layout.stride != USER_DATA:
            found.append((f"{stem}.bin", self.body))
        if self.subchannel is not None:
            found.append((f"{stem}.sub", self.subchannel))
        elif self.layout.extra >= SUBCHANNEL:
            found.append(
                (f"{stem}.sub", Strided(self.body, self.layout.stride, self.layout.main, SUBCHANNEL))
            )
        return tuple(found)


class Space(MappedDevice):
    """The sectors of ``tracks``, by disc address, ``unit`` bytes of each.

    A sector that none of them holds is an error.

    A filesystem is read from a space of data tracks; ``sound`` are the tracks that its directories may name
    besides.
    """

    def __init__(self, tracks: Sequence[Track], unit: int = USER_DATA, sound: Sequence[Track] = ()) -> None:
        self.tracks = tracks
        self.sound = sound
        self.unit = unit
        self.block_size = unit
        runs = sorted((run for track in tracks if (run := self._run(track))), key=lambda run: run[0])
        self._starts = [start for start, _, _ in runs]
        following = [*self._starts[1:], MAX_LBA * RAW][: len(runs)]
        self._ends = [min(end, other) for (_, end, _), other in zip(runs, following, strict=True)]
        self._origins = [origin for _, _, origin in runs]
        self.size = max(self._ends, default=0)

    def _run(self, track: Track) -> tuple[int, int, Extent] | None:
        """(start, end, where the start is stored) in this space, in bytes; what lies before LBA 0 is left out."""
        view = track.layout.view(track.area, self.unit) if track.is_data else pcm(track.area, track.layout)
        first = track.lba - track.pregap
        skip = max(0, -first)
        if view is None or skip * self.unit >= view.size:
            return None
        start = (first + skip) * self.unit
        return start, start + view.size - skip * self.unit, Extent(0, view, skip * self.unit)

    def _map(self, offset: int) -> Extent:
        index = bisect_right(self._starts, offset) - 1
        if index < 0 or offset >= self._ends[index]:
            kind = "data" if self.tracks[0].is_data else "audio"
            raise FormatError("disc", f"sector {offset // self.unit} lies in no {kind} track")
        _, device, start = self._origins[index]
        return Extent(self._ends[index] - offset, device, start + offset - self._starts[index])


class Session(MappedDevice):
    """A disc's address space from block ``base`` on. ``disc`` is all of it."""

    def __init__(self, disc: BlockDevice, base: int) -> None:
        self.disc = disc
        self.base = base
        self.size = max(0, disc.size - base * USER_DATA)
        self.block_size = USER_DATA

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self.disc, self.base * USER_DATA + offset)


def address_space(device: BlockDevice) -> tuple[BlockDevice, int]:
    """(the device that disc addresses apply to, the block of it where ``device`` starts): for filesystems that store LBAs."""
    return (device.disc, device.base) if isinstance(device, Session) else (device, 0)


def whole_sectors(device: BlockDevice, unit: int) -> BlockDevice | None:
    """The address space of ``device`` in units of 2324 (XA form 2), 2336 or 2352 bytes: sector n starts at ``n * unit``.

    None where the image does not store that much of its sectors. Files that XA marks as form 2 are read from
    it.
    """
    space, _ = address_space(device)
    wide = Space(space.tracks, unit) if isinstance(space, Space) else None
    return wide if wide is not None and wide.size else None


def sound_sectors(device: BlockDevice) -> BlockDevice | None:
    """The samples of the audio tracks of the disc below ``device``: sector n starts at ``n * 2352``.

    None where it has none.
    """
    space, _ = address_space(device)
    return Space(space.sound, RAW) if isinstance(space, Space) and space.sound else None


class Disc(Concat):
    """A disc whose own bytes are the stored sectors of all tracks, one after the other, as the image stores them."""

    def __init__(self, fmt: str, tracks: Sequence[Track], facts: Mapping[str, str] | None = None) -> None:
        numbers = [track.number for track in tracks]
        if not tracks or len(tracks) > MAX_TRACKS:
            raise FormatError(fmt, f"{len(tracks)} tracks")
        if numbers != sorted(set(numbers)) or not 0 < numbers[0] <= numbers[-1] <= MAX_TRACKS:
            raise FormatError(fmt, f"tracks are numbered {numbers}")
        if any(not 0 <= track.lba < MAX_LBA for track in tracks):
            raise FormatError(fmt, "a track lies outside the disc")
        self.tracks = [_sniffed(track) for track in tracks]
        self._facts = facts or {}
        super().__init__([Extent(track.area.size, track.area) for track in self.tracks])
        self.block_size = self.tracks[0].layout.stride

    def partitions(self) -> Sequence[Partition]:
        return [
            Partition(
                track.number,
                str(track.layout),
                "",
                self._device(track),
                track.files(),
                track.session,
                holds_files=track.is_data,
            )
            for track in self.tracks
        ]

    def main(self, session: int | None) -> BlockDevice | None:
        """What the disc's filesystem is read from: the first data track of ``session``, or of the last session that has one."""
        data = [track for track in self.tracks if track.is_data]
        if session is None:
            session = data[-1].session if data else None
        elif session not in (known := sorted({track.session for track in data})):
            raise ImageError(
                f"session {session} has no data track; those that have: {', '.join(map(str, known)) or 'none'}"
            )
        return next((self._device(track) for track in data if track.session == session), None)

    def _device(self, track: Track) -> BlockDevice:
        """What a filesystem in ``track`` is read from.

        Of later sessions it sees nothing: its end is a landmark (UDF).
        """
        if not track.is_data:
            return track.files()[0][1]
        earlier = [other for other in self.tracks if other.is_data and other.session <= track.session]
        sound = [other for other in self.tracks if not other.is_data]
        start = _true_start(track, Space(earlier))
        if start == 0:
            return Space(earlier, sound=sound) if track.lba == 0 else Space([replace(track, lba=0)])
        if start != track.lba:
            earlier = [replace(track, lba=start) if other is track else other for other in earlier]
        return Session(Space(earlier, sound=sound), start)

    def info(self) -> Mapping[str, str]:
        sessions = len({track.session for track in self.tracks})
        return {"tracks": f"{len(self.tracks)} in {sessions} session{'s' * (sessions > 1)}", **self._facts}


def _sniffed(track: Track) -> Track:
    layout = track.layout.sniffed(track.body)
    return track if layout == track.layout else replace(track, layout=layout)


def _true_start(track: Track, space: Space) -> int:
    """The LBA of ``track``, by an ISO 9660 volume in it if there is one: its root directory says where it is itself.

    Some descriptions are wrong about the gap between sessions, and some volumes were mastered as if they were
    alone on the disc.
    """
    view = track.layout.view(track.body, USER_DATA)
    descriptor = view.pread(DESCRIPTOR_SECTOR * USER_DATA, USER_DATA) if view is not None else b""
    root = descriptor[_ROOT_RECORD]
    if view is None or descriptor[1:6] != b"CD001" or _holds(space, int.from_bytes(root, "little"), root):
        return track.lba
    for sector in range(DESCRIPTOR_SECTOR + 1, DESCRIPTOR_SECTOR + MAX_ROOT_SEARCH):
        start = int.from_bytes(root, "little") - sector
        if start >= 0 and _holds(view, sector, root):
            return start
    return track.lba


def _holds(device: BlockDevice, sector: int, root: bytes) -> bool:
    """Whether ``sector`` begins with the record of a directory for itself, at the LBA ``root``."""
    try:
        record = device.pread(sector * USER_DATA, _OWN_NAME.stop)
    except ImageError:
        return False
    return record[_OWN_RECORD] == root and record[_OWN_NAME] == b"\x01\0"
