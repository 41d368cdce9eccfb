"""Discs: tracks in sessions, addressed by sector from the start of the disc.

Every disc container is opened as a ``Disc``.

A disc has one address space. LBA 0 is the first sector after the 150 of the first pregap (MSF 00:02:00), and
a filesystem of session 2 names sectors of both sessions by such addresses, while its descriptors lie 16
sectors after the start of *its* session. So a filesystem is opened on a ``Session``: a device that begins
where the session does. Those that store disc addresses ask ``address_space`` for the device to apply them to.
Nothing is remapped, and a sector that no data track holds is an error.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final, NamedTuple

from imgmount.core.checks import Finding
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import Partition
from imgmount.core.slices import Concat, Slice, Strided, Unreadable
from imgmount.errors import FormatError, ImageError
from imgmount.families.optical.disc_start import start_by_contents
from imgmount.families.optical.layouts import contradiction, settled
from imgmount.families.optical.sectors import (
    RAW,
    SUBCHANNEL,
    USER_DATA,
    Layout,
    Mode,
    pcm,
    wav,
)

log = logging.getLogger(__name__)

MAX_TRACKS: Final = 99
MAX_LBA: Final = 1 << 31  # ECMA-167 and ISO 9660 address 32 bits; no medium has half of that
FRAMES_PER_SECOND: Final = 75
MAX_CD: Final = 100 * 60 * FRAMES_PER_SECOND  # sectors that a time in minutes of two digits reaches
PREGAP: Final = 150  # sectors before the first track of every session
LEAD_IN: Final = 4500
LEAD_OUT: Final = 6750  # of the first session
LATER_LEAD_OUT: Final = 2250


def session_gap(number: int) -> int:
    """Sectors between the last track of session ``number`` and the pregap of the next."""
    return (LEAD_OUT if number == 1 else LATER_LEAD_OUT) + LEAD_IN


class Track(NamedTuple):
    """One track.

    ``area`` holds its sectors as stored: ``pregap`` of them before ``lba`` (INDEX 01), then the track itself.

    A pregap that the image does not store is not there. ``subchannel`` is 96 bytes per sector of ``body``,
    where stored apart. ``original`` is (suffix, file) of a track whose samples are in a file of another form.
    ``fault`` is why the track, or some of it, cannot be read.
    """

    number: int
    session: int
    lba: int
    layout: Layout
    area: BlockDevice
    pregap: int = 0
    subchannel: BlockDevice | None = None
    original: tuple[str, BlockDevice] | None = None
    fault: ImageError | None = None

    @classmethod
    def lost(
        cls, number: int, session: int, lba: int, layout: Layout, fault: ImageError, *, sectors: int = 1
    ) -> Track:
        """A track that is not there: each read says why.

        It is shown with one sector if its size is unknown.
        """
        area = Unreadable(min(max(1, sectors), MAX_CD) * layout.stride, fault)
        return cls(number, session, lba, layout, area, fault=fault)

    @property
    def is_lost(self) -> bool:
        return isinstance(self.area, Unreadable)

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
        """(name, content) of what the raw view shows of the track.

        ``.iso`` is user data, ``.bin`` the sectors as stored, ``.wav`` sound, ``.sub`` the subchannel.
        """
        stem = f"track{self.number:02}"
        if self.is_lost:
            return ((f"{stem}.bin" if self.is_data else f"{stem}.wav", self.area),)
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


class DiscSpace(MappedDevice):
    """The sectors of ``tracks``, by disc address, ``unit`` bytes of each.

    A sector that none of them holds is an error.

    A filesystem is read from a space of data tracks; ``audio`` are the tracks that its directories may name
    besides.
    """

    def __init__(self, tracks: Sequence[Track], unit: int = USER_DATA, audio: Sequence[Track] = ()) -> None:
        self.tracks = tracks
        self.audio = audio
        self.unit = unit
        self.block_size = unit
        runs = sorted((run for track in tracks if (run := self._run(track))), key=lambda run: run[0])
        self._starts = [start for start, _, _ in runs]
        following = [*self._starts[1:], MAX_LBA * RAW][: len(runs)]
        self._ends = [min(end, other) for (_, end, _), other in zip(runs, following, strict=True)]
        self._origins = [origin for _, _, origin in runs]
        self.size = max(self._ends, default=0)

    def _run(self, track: Track) -> tuple[int, int, Extent] | None:
        """(start, end, where the start is stored) of a track in this space, in bytes.

        What lies before LBA 0 is left out.
        """
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
    """(the device that disc addresses apply to, the block of it where ``device`` starts).

    Filesystems that store LBAs ask for it.
    """
    return (device.disc, device.base) if isinstance(device, Session) else (device, 0)


def whole_sectors(device: BlockDevice, unit: int) -> BlockDevice | None:
    """The address space of ``device`` in units of 2324 (XA form 2), 2336 or 2352 bytes.

    Sector n starts at ``n * unit``.

    None where the image does not store that much of its sectors. Files that XA marks as form 2 are read from
    it.
    """
    space, _ = address_space(device)
    wide = DiscSpace(space.tracks, unit) if isinstance(space, DiscSpace) else None
    return wide if wide is not None and wide.size else None


def audio_sectors(device: BlockDevice) -> BlockDevice | None:
    """The samples of the audio tracks of the disc below ``device``: sector n starts at ``n * 2352``.

    None where it has none.
    """
    space, _ = address_space(device)
    return DiscSpace(space.audio, RAW) if isinstance(space, DiscSpace) and space.audio else None


class Disc(Concat):
    """A disc. Its own bytes are the sectors of all tracks as the image stores them, one after the other."""

    settles: ClassVar = True  # whether the bytes may prove that a track's sectors are of another size

    def __init__(
        self,
        fmt: str,
        tracks: Sequence[Track],
        facts: Mapping[str, str] | None = None,
        problems: Sequence[str] = (),
    ) -> None:
        """``problems`` are what is wrong with the description, one line each.

        They are told, now and by ``verify``.
        """
        if not 0 < len(tracks) <= MAX_TRACKS:
            counted = f"the disc has {len(tracks)} tracks, not 1 to {MAX_TRACKS}"
            raise FormatError(fmt, ": ".join([counted, *problems[:1]]))
        self._problems = list(problems)
        placed = [self._settled(_on_disc(fmt, track)) for track in tracks]
        faults = [track.fault for track in placed if track.fault is not None]
        if all(track.is_lost for track in placed):
            raise faults[0].again()
        self.tracks = self._numbered(placed)
        self._facts = facts or {}
        for text in (*(f"{fmt}: {problem}" for problem in self._problems), *faults):
            log.warning("%s", text)
        super().__init__([Extent(track.area.size, track.area) for track in self.tracks])
        self.block_size = self.tracks[0].layout.stride

    def _settled(self, track: Track) -> Track:
        """``track`` with the layout that its bytes have: descriptions are wrong about sizes and modes.

        Only the start of a file is looked at for data that is said to be sound: in a compressed file the rest
        may be far away.
        """
        stated = track.layout
        if track.is_lost or not (track.is_data or _starts_file(track.area)):
            return track
        layout = settled(track.area, 0, stated, pregap=track.pregap, alone=True) if self.settles else stated
        layout = layout.sniffed(track._replace(layout=layout).body)
        if (layout.main, layout.extra) != (
            stated.main,
            stated.extra,
        ) or layout.mode is not stated.mode is Mode.AUDIO:
            self._problems.append(contradiction(track.number, stated, layout))
        return track if layout == stated else track._replace(layout=layout)

    def _numbered(self, tracks: list[Track]) -> list[Track]:
        """The tracks, counted through from 1 where their numbers do not rise."""
        numbers = [track.number for track in tracks]
        if numbers == sorted(set(numbers)) and 0 < numbers[0] <= numbers[-1] <= MAX_TRACKS:
            return tracks
        listed = ", ".join(map(str, numbers))
        self._problems.append(f"tracks are numbered {listed}: they are counted from 1 to {len(tracks)}")
        return [track._replace(number=number) for number, track in enumerate(tracks, 1)]

    def partitions(self) -> Sequence[Partition]:
        return [
            Partition(
                track.number,
                str(track.layout),
                "",
                self._device(track),
                track.files(),
                track.session,
                fault=track.fault,
                holds_files=track.is_data,
            )
            for track in self.tracks
        ]

    def main(self, session: int | None) -> BlockDevice | None:
        """What the disc's filesystem is read from.

        It is the first data track of ``session``, or of the last session that has one.
        """
        data = [track for track in self.tracks if track.is_data and not track.is_lost]
        if session is None:
            session = data[-1].session if data else None
        elif session not in (known := sorted({track.session for track in data})):
            listed = ", ".join(map(str, known)) or "none"
            raise ImageError(f"session {session} has no data track; those that have: {listed}")
        return next((self._device(track) for track in data if track.session == session), None)

    def _device(self, track: Track) -> BlockDevice:
        """The device that a filesystem in ``track`` is read from.

        It ends with the session, because UDF looks for descriptors at the end.
        """
        if track.is_lost or not track.is_data:
            return track.files()[0][1]
        kept = [other for other in self.tracks if not other.is_lost]
        earlier = [other for other in kept if other.is_data and other.session <= track.session]
        audio = [other for other in kept if not other.is_data]
        view = track.layout.view(track.body, USER_DATA)
        start = track.lba if view is None else start_by_contents(view, track.lba, DiscSpace(earlier))
        if start == 0:
            return DiscSpace(earlier, audio=audio) if track.lba == 0 else DiscSpace([track._replace(lba=0)])
        if start != track.lba:
            earlier = [track._replace(lba=start) if other is track else other for other in earlier]
        return Session(DiscSpace(earlier, audio=audio), start)

    def info(self) -> Mapping[str, str]:
        sessions = len({track.session for track in self.tracks})
        return {"tracks": f"{len(self.tracks)} in {sessions} session{'s' * (sessions > 1)}", **self._facts}

    def verify(self) -> Iterator[Finding]:
        """What is wrong with the description; each track says itself what is wrong with it."""
        yield from self._problems


def _starts_file(area: BlockDevice) -> bool:
    return not isinstance(area, Slice) or area.offset == 0


def _on_disc(fmt: str, track: Track) -> Track:
    if 0 <= track.lba < MAX_LBA:
        return track
    fault = FormatError(
        fmt, f"track {track.number} starts at sector {track.lba}, not from 0 to {MAX_LBA - 1}"
    )
    return Track.lost(track.number, track.session, 0, track.layout, fault)
