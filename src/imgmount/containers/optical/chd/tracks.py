"""Compact discs in CHDs: what the metadata say of tracks, and where their frames are.

Source: MAME, src/lib/util/cdrom.cpp.

A frame is 2448 bytes whatever the track holds: the stored part of the sector from byte 0, then 96 bytes of
subcode if there are any. Tracks begin at multiples of four frames. The disc's own bytes are those of ``chdman
extractcd``: the stored parts of all tracks, sound little endian.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from imgmount.containers.optical.chd.header import Metadata
from imgmount.containers.optical.gdi import HIGH_DENSITY
from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.core.slices import Slice, Strided
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.optical.disc import MAX_TRACKS, PREGAP, Track
from imgmount.families.optical.sectors import SUBCHANNEL, Layout, Mode, Swapped

FRAME: Final = 2448
ALIGNMENT: Final = 4  # frames
MAX_FRAMES: Final = 1 << 24
TEXT_TAGS: Final = (b"CHTR", b"CHT2", b"CHGT", b"CHGD")
BINARY_TAG: Final = b"CHCD"
LITTLE_ENDIAN_TAG: Final = b"CHGT"  # early GD-ROM images keep sound as it was
GD_TAGS: Final = (b"CHGT", b"CHGD")

_PAIR: Final = re.compile(r"(\w+):(\S+)")
_LAYOUTS: Final = {
    "MODE1": (Mode.MODE1, 2048),
    "MODE1/2048": (Mode.MODE1, 2048),
    "MODE1_RAW": (Mode.MODE1, 2352),
    "MODE1/2352": (Mode.MODE1, 2352),
    "MODE2": (Mode.MODE2, 2336),
    "MODE2/2336": (Mode.MODE2, 2336),
    "MODE2_FORM1": (Mode.MODE2, 2048),
    "MODE2/2048": (Mode.MODE2, 2048),
    "MODE2_FORM2": (Mode.MODE2, 2324),
    "MODE2/2324": (Mode.MODE2, 2324),
    "MODE2_FORM_MIX": (Mode.MODE2, 2336),
    "MODE2_RAW": (Mode.MODE2, 2352),
    "MODE2/2352": (Mode.MODE2, 2352),
    "CDI/2352": (Mode.MODE2, 2352),
    "AUDIO": (Mode.AUDIO, 2352),
}
_NUMBERED: Final = (
    "MODE1",
    "MODE1_RAW",
    "MODE2",
    "MODE2_FORM1",
    "MODE2_FORM2",
    "MODE2_FORM_MIX",
    "MODE2_RAW",
    "AUDIO",
)
UNKNOWN: Final = (Mode.MODE1, 2352)  # of a track whose type is none of these
NO_SUBCODE: Final = 2  # of CHCD
CHCD_FIELDS: Final = 6  # type, subcode type, bytes of data and subcode, frames, frames of padding


class DescribedTrack(NamedTuple):
    """A track as the metadata describe it.

    ``frames`` counts the stored pregap, and ``pad`` zeros that no dump had.

    ``fault`` is why it cannot be read.

    ``gd`` tells GD-ROMs: their tracks from LBA 45,000 on are the high-density area, a second session (see
    ``gdi``).
    """

    number: int
    layout: Layout
    subcode: bool
    frames: int
    pad: int = 0
    stored_pregap: int = 0
    silent_pregap: int = 0
    postgap: int = 0
    gd: bool = False
    fault: ImageError | None = None


def describe(metadata: Sequence[Metadata]) -> list[DescribedTrack]:
    """The tracks, in order; none where this is no compact disc.

    Raises ``FormatError``, ``UnsupportedError``.
    """
    tracks = [_parse(entry) for entry in metadata if entry.tag in TEXT_TAGS]
    if not tracks:
        tracks = [
            track for entry in metadata if entry.tag == BINARY_TAG for track in _parse_binary(entry.data)
        ]
    tracks.sort(key=lambda track: track.number)
    if len(tracks) > MAX_TRACKS:
        raise FormatError("chd", f"the disc has {len(tracks)} tracks, more than {MAX_TRACKS}")
    for track in tracks:
        if (
            not 0 <= track.pad <= track.frames <= MAX_FRAMES
            or not 0 <= track.silent_pregap + track.postgap <= MAX_FRAMES
        ):
            raise FormatError(
                "chd",
                f"track {track.number} has {track.frames} frames, {track.pad} of padding, gaps of "
                f"{track.silent_pregap + track.postgap}: not from 0 to {MAX_FRAMES}",
            )
    return tracks


def _parse(entry: Metadata) -> DescribedTrack:
    fields = dict(_PAIR.findall(entry.text))
    name = fields.get("TYPE", "")
    fault = None
    if name not in _LAYOUTS:
        fault = UnsupportedError(f"chd: track type {name[:20]!r} is not one of {', '.join(_LAYOUTS)}")
    try:
        frames, pregap = int(fields["FRAMES"]), int(fields.get("PREGAP", 0))
        stored = fields.get("PGTYPE", "").startswith("V")
        return DescribedTrack(
            number=int(fields["TRACK"]),
            layout=Layout(*_LAYOUTS.get(name, UNKNOWN)),
            subcode=fields.get("SUBTYPE", "NONE") != "NONE",
            frames=frames,
            pad=int(fields.get("PAD", 0)),
            stored_pregap=min(pregap, frames) if stored else 0,
            silent_pregap=0 if stored else pregap,
            postgap=int(fields.get("POSTGAP", 0)),
            gd=entry.tag in GD_TAGS,
            fault=fault,
        )
    except (KeyError, ValueError) as exc:
        raise FormatError(
            "chd", f"track metadata {entry.text[:80]!r} lacks a number for TRACK or FRAMES"
        ) from exc


def _parse_binary(data: bytes) -> Iterator[DescribedTrack]:
    """CHCD: a count and six words a track, in the byte order of the machine that wrote them."""
    words = table(data, 4, "big")
    if words and words[0] > MAX_TRACKS:
        words = table(data, 4, "little")
    if not words or not 0 < words[0] <= MAX_TRACKS or len(words) < 1 + CHCD_FIELDS * words[0]:
        raise FormatError("chd", f"CHCD metadata do not begin with a count of tracks from 1 to {MAX_TRACKS}")
    for number in range(words[0]):
        kind, subcode, _, _, frames, _ = words[1 + CHCD_FIELDS * number : 1 + CHCD_FIELDS * (number + 1)]
        layout, fault = UNKNOWN, None
        if kind < len(_NUMBERED):
            layout = _LAYOUTS[_NUMBERED[kind]]
        else:
            fault = UnsupportedError(f"chd: track type {kind} is not from 0 to {len(_NUMBERED) - 1}")
        yield DescribedTrack(number + 1, Layout(*layout), subcode != NO_SUBCODE, frames, fault=fault)


def place(stream: BlockDevice, described: Sequence[DescribedTrack], *, little_endian: bool) -> list[Track]:
    """The tracks on the disc. One that the stream ends before, or whose type is not known, is lost."""
    tracks = []
    first = end = 0  # frame of the stream, sector of the disc
    for track in described:
        silent = track.silent_pregap if end else max(0, track.silent_pregap - PREGAP)
        lba = end + silent + track.stored_pregap
        tracks.append(_track(stream, track, first, lba, little_endian=little_endian))
        first += -(-track.frames // ALIGNMENT) * ALIGNMENT
        end += silent + track.frames + track.postgap
    return tracks


def _track(stream: BlockDevice, track: DescribedTrack, first: int, lba: int, *, little_endian: bool) -> Track:
    main = track.layout.main
    session = 2 if track.gd and lba >= HIGH_DENSITY else 1
    fault = track.fault
    if (first + track.frames) * FRAME > stream.size:
        end, frames_there = first + track.frames, stream.size // FRAME
        text = f"track {track.number} ends at frame {end}, past the end of the disc at {frames_there}"
        fault = FormatError("chd", text)
    if fault is not None:
        sectors = track.frames - track.stored_pregap
        return Track.lost(track.number, session, lba, track.layout, fault, sectors=sectors)
    frames = Slice(stream, first * FRAME, (track.frames - track.pad) * FRAME)
    area: BlockDevice = Strided(frames, FRAME, 0, main)
    if track.layout.mode is Mode.AUDIO and not little_endian:
        area = Swapped(area)
    subchannel = None
    if track.subcode:
        lead = min(track.stored_pregap * FRAME, frames.size)
        subchannel = Strided(Slice(frames, lead, frames.size - lead), FRAME, main, SUBCHANNEL)
    return Track(track.number, session, lba, track.layout, area, track.stored_pregap, subchannel)
